"""The figures of docs/guarantees.md: docs/figures/guarantees.json has the samples, the document the tables.

    make figures                      what there is to measure, how long each takes, and how old its figure is
    make figures ARGS="sweep lab"     measure these, and publish them
    make documents                    write the tables again, from the samples

    make figures ARGS=mutants         these are sections of their own, such as mutants-race, in one table

Only a command that has ended well publishes, and only as a whole: a run that is cut off leaves the figures of
the run before. A table stands between `<!-- figures: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from benchmarks import history
from benchmarks.provenance import (
    PRODUCT,
    Entry,
    Measuring,
    changes_since,
    has_history,
    is_in_history,
    load,
    sealed,
)
from tests.project.figure_sections import SECTIONS, TOGETHER, Section

ROOT: Final = Path(__file__).parents[2]
DOCUMENT: Final = ROOT / "docs/guarantees.md"
FIGURES: Final = ROOT / "docs/figures/guarantees.json"
_TABLE: Final = re.compile(r"(?<=<!-- figures: )(\S+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
_JSON: Final = re.compile(r"^[{\[]", re.MULTILINE)

Entries = dict[str, Entry]
"""By the name of their section."""


def shown(document: str, entries: Entries) -> str:
    """The document with the tables of these figures between their marks. `KeyError`: an unknown mark."""
    return _TABLE.sub(lambda mark: f"{mark[1]}{mark[2]}{_markdown(mark[1], entries)}", document)


def marks(document: str) -> list[str]:
    return [name for name, _ in _TABLE.findall(document)]


def measure(name: str) -> Entry:
    """Run the command of a section. Raises `click.ClickException` when it has not ended well."""
    section = SECTIONS[name]
    measuring = Measuring(section.command, paths_of(section))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        shlex.split(section.command),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    begins = _JSON.search(done.stdout)
    if done.returncode or begins is None:
        click.echo(done.stdout[: begins.start() if begins else None], err=True)  # such as what has survived
        with tempfile.NamedTemporaryFile("w", prefix=f"{name}-", suffix=".txt", delete=False) as kept:
            kept.write(done.stdout)  # with the samples: such as which simulation runs were broken
        raise click.ClickException(
            f"{section.command} has ended with {done.returncode}: nothing is published, and {kept.name} has "
            "what it has printed"
        )
    samples, _ = json.JSONDecoder().raw_decode(done.stdout[begins.start() :])
    if wrong := section.wrong(samples):
        raise click.ClickException(f"{section.command}: {'; '.join(wrong)}: nothing is published")
    return sealed({"measured": measuring.done(), "samples": samples})


def paths_of(section: Section) -> list[str]:
    return [*PRODUCT, *section.paths]


def problems(name: str, entry: Entry) -> list[str]:
    """What does not hold of an entry of this section: of its samples, its command, and what was measured."""
    section, measured = SECTIONS[name], entry["measured"]
    found = section.wrong(entry["samples"])
    if measured["command"] != section.command:
        found.append(f"measured by another command: {measured['command']}")
    added = [path for path in paths_of(section) if path not in measured["paths"]]
    if added and is_in_history(measured["commit"]) and changes_since(measured["commit"], added):
        found.append(f"measured without {', '.join(added)}, which has changed since")
    return found


def tables() -> list[str]:
    """The marks that the document has to have."""
    shown_together = {name for names in TOGETHER.values() for name in names}
    return [*(name for name in SECTIONS if name not in shown_together), *TOGETHER]


def _markdown(mark: str, entries: Mapping[str, Entry]) -> str:
    measured = [name for name in TOGETHER.get(mark, ()) if name in entries]
    if measured:
        title = SECTIONS[measured[0]].title
        columns, rows, how = _in_one_table(measured, entries)
        if missing := [name for name in TOGETHER[mark] if name not in entries]:
            how += f"\n\nNot measured yet: {', '.join(missing)}."
    else:
        title = SECTIONS[mark].title
        columns, rows = SECTIONS[mark].table(entries[mark]["samples"])
        how = _how(entries[mark]["measured"])
    lines = [columns, ["---"] * len(columns), *rows]
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    return f"\n{title}:\n\n{table}\n{how}\n\n"


def _in_one_table(
    names: Sequence[str], entries: Mapping[str, Entry]
) -> tuple[Sequence[str], list[list[str]], str]:
    """Columns, rows, and how they were measured."""
    columns: Sequence[str] = ()
    rows = []
    for name in names:
        measured = entries[name]["measured"]
        columns, its_rows = SECTIONS[name].table(entries[name]["samples"])
        took = f"{measured['took_s']:,} s at a load of {measured['load_before']:.1f}"
        rows += [[*row, f"{measured['date']}, commit {measured['commit']}, {took}"] for row in its_rows]
    commands = f"{SECTIONS[names[0]].command}`, and so on for each row"
    where = {(entries[name]["measured"]["python"], entries[name]["measured"]["machine"]) for name in names}
    machines = "; ".join(f"Python {python}; {machine}" for python, machine in sorted(where))
    return (*columns, "measured"), rows, f"*`{commands};\n{machines}.*"


def _how(measured: Mapping[str, Any]) -> str:
    return (
        f"*`{measured['command']}`, {measured['date']}, commit {measured['commit']}; took "
        f"{measured['took_s']:,} s;\nPython {measured['python']}; {measured['machine']}; load average "
        f"{measured['load_before']:.1f} before and {measured['load_after']:.1f} after.*"
    )


def _overview(entries: Entries) -> str:
    lines = ["section            about     changes since   command"]
    for name, section in SECTIONS.items():
        age = _changes(section, entries[name]) if name in entries else "never measured"
        lines.append(f"{name:18} {section.minutes:>3g} min {age:>15}   {section.command}")
    return "\n".join(lines)


def _changes(section: Section, entry: Entry) -> str:
    """How many there were to what it measures, in words."""
    commit = entry["measured"]["commit"]
    known = has_history() and is_in_history(commit)
    return str(changes_since(commit, paths_of(section))) if known else "unknown"


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*SECTIONS, *TOGETHER]))
@click.option("--render", is_flag=True, help="Measure nothing: write the tables from the samples.")
def main(names: tuple[str, ...], render: bool) -> None:
    """NAMES: the sections to measure and publish, in turn. Without any, what there is to measure.

    One that fails publishes nothing, and the next begins.
    """
    failed = False
    for name in [each for chosen in names for each in TOGETHER.get(chosen, (chosen,))]:
        try:
            _publish(name, measure(name))
        except click.ClickException as error:
            error.show()
            failed = True
        else:
            click.echo(f"{name}: published")
    entries = load(FIGURES)
    if render:
        DOCUMENT.write_text(shown(DOCUMENT.read_text("utf-8"), entries), "utf-8")
    elif not names:
        click.echo(_overview(entries))
    sys.exit(failed)


def _publish(name: str, entry: Entry) -> None:
    entries = {**load(FIGURES), name: entry}
    ordered = {each: entries[each] for each in SECTIONS if each in entries}
    document = shown(DOCUMENT.read_text("utf-8"), ordered)  # before anything is written: it may fail
    history.publish(FIGURES, ordered, name, SECTIONS[name].main(entry["samples"]))
    DOCUMENT.write_text(document, "utf-8")


if __name__ == "__main__":
    main()
