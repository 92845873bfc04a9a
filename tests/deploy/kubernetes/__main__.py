"""deploy/kubernetes against the schemas, our rules and checkov, and which of the three notices which mistake.

    make kubernetes

The exit code is 1 if one of them has a complaint, or if a mistake is not noticed by the rule that it is for.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import click
import yaml

from tests.deploy.kubernetes.documents import Documents
from tests.deploy.kubernetes.mutants import LEFT_TO_SCHEMAS, MUTANTS
from tests.deploy.kubernetes.rules import violations
from tests.deploy.kubernetes.schema import OVERLAY, RENDERED, complaints, rendered

# What checkov asks for and does not get. One that it no longer asks for has to go from here.
EXCEPTIONS: Final = {
    "CKV_K8S_11": "a limit of cpu stops the event loop in the middle of answers (base/deployment.yaml)",
    "CKV_K8S_15": "a pinned image is the same at every start, and pods start while the registry is down",
    "CKV_K8S_43": "a digest is made by a registry, and ours is an example: the overlay says where it goes",
}
IN_CHECKOV: Final = Path(__file__).with_name("in_checkov.py")


@click.command(help=__doc__)
@click.argument("checkov", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(checkov: Path) -> None:
    documents = rendered(OVERLAY)
    found = [line for folder in RENDERED for line in complaints(rendered(folder))]
    found += [line for lines in violations(documents).values() for line in lines]
    found += exceptions(command(checkov, documents))
    mutants = [*MUTANTS, *LEFT_TO_SCHEMAS]
    mistaken = [mutant.of(documents) for mutant in mutants]
    totals = [0, 0]
    click.echo("| mistake | our rule | schemas | checkov |\n| --- | --- | --- | --- |")
    for mutant, made, failed in zip(mutants, mistaken, checks(checkov, mistaken), strict=True):
        if mutant in MUTANTS and list(violations(made)) != [mutant.rule]:
            found.append(f"{mutant}: noticed by {list(violations(made))}, and it is for {mutant.rule}")
        by_schemas = bool(complaints([each for each in made if each not in documents]))
        by_checkov = sorted(failed - set(EXCEPTIONS))
        totals = [totals[0] + by_schemas, totals[1] + bool(by_checkov)]
        row = (f"`{mutant}`", mutant.rule, "yes" if by_schemas else "", " ".join(by_checkov))
        click.echo(f"| {' | '.join(row)} |")
    click.echo(
        f"\n{len(mutants)} mistakes: our rules notice {len(MUTANTS)}, the schemas {totals[0]}, "
        f"checkov {totals[1]}."
    )
    if found:
        raise click.ClickException("\n".join(found))


def exceptions(failed: set[str]) -> list[str]:
    """What checkov complains of beyond `EXCEPTIONS`, and which of these it no longer complains of."""
    return [f"checkov: {each} fails" for each in sorted(failed - set(EXCEPTIONS))] + [
        f"checkov: {each} passes: it is no exception any more" for each in sorted(set(EXCEPTIONS) - failed)
    ]


def command(checkov: Path, documents: Documents) -> set[str]:
    """The checks that fail, as checkov's command says. It asks nobody on the network."""
    with tempfile.TemporaryDirectory() as folder:
        (file := Path(folder) / "rendered.yaml").write_text(yaml.safe_dump_all(documents))
        options = ["--skip-download", "--framework", "kubernetes", "--output", "json", "--file", str(file)]
        ran = subprocess.run([checkov / "bin/checkov", *options], stdout=subprocess.PIPE, check=False)
    results = json.loads(ran.stdout)["results"]
    assert results["passed_checks"], "checkov has checked nothing"
    return {check["check_id"] for check in results["failed_checks"]}


def checks(checkov: Path, renderings: list[Documents]) -> list[set[str]]:
    """The checks that fail in each rendering by itself."""
    with tempfile.TemporaryDirectory() as folder:
        for index, documents in enumerate(renderings):
            (Path(folder) / str(index)).with_suffix(".yaml").write_text(yaml.safe_dump_all(documents))
        # -P: our module `schema` is not the library of this name that checkov imports.
        program = [str(checkov / "bin/python"), "-P", str(IN_CHECKOV), folder]
        failed = json.loads(subprocess.run(program, stdout=subprocess.PIPE, check=True).stdout)
    return [set(failed[f"{index}.yaml"]) for index in range(len(renderings))]


if __name__ == "__main__":
    main(prog_name="make kubernetes")
