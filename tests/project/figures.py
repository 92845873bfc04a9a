"""The figures of docs/guarantees.md: docs/figures/guarantees.json has the samples, the document the tables.

    make figures                      what there is to measure, how long each takes, and how old its figure is
    make figures ARGS="sweep lab"     measure these, and publish them
    make documents                    write the tables again, from the samples

Only a command that has ended well publishes, and only as a whole: a run that is cut off leaves the figures of
the run before. A table stands between `<!-- figures: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Mapping
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
from tests.project.figure_sections import SECTIONS, Section

ROOT: Final = Path(__file__).parents[2]
DOCUMENT: Final = ROOT / "docs/guarantees.md"
FIGURES: Final = ROOT / "docs/figures/guarantees.json"
_TABLE: Final = re.compile(r"(?<=<!-- figures: )(\S+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
_JSON: Final = re.compile(r"^[{\[]", re.MULTILINE)

Entries = dict[str, Entry]
"""By the name of their section. One of before there were samples has its table: "columns" and "rows"."""


def shown(document: str, entries: Entries) -> str:
    """The document with the tables of these figures between their marks. `KeyError`: an unknown mark."""
    return _TABLE.sub(lambda mark: f"{mark[1]}{mark[2]}{_markdown(mark[1], entries[mark[1]])}", document)


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
        raise click.ClickException(
            f"{section.command} has ended with {done.returncode}: nothing is published"
        )
    samples, _ = json.JSONDecoder().raw_decode(done.stdout[begins.start() :])
    if wrong := section.wrong(samples):
        raise click.ClickException(f"{section.command}: {'; '.join(wrong)}: nothing is published")
    return sealed({"measured": measuring.done(), "samples": samples})


def paths_of(section: Section) -> list[str]:
    return [*PRODUCT, *section.paths]


def problems(name: str, entry: Entry) -> list[str]:
    """What does not hold of the samples: what `measure` asks as well."""
    return SECTIONS[name].wrong(entry["samples"])


def _markdown(name: str, entry: Entry) -> str:
    if "rows" in entry:
        columns, rows = entry["columns"], entry["rows"]
        when = entry.get("measured", "on a day that was not noted")
        how = f"*`{entry['command']}`, {when}, without samples.*"
    else:
        columns, rows = SECTIONS[name].table(entry["samples"])
        how = _how(entry["measured"])
    lines = [columns, ["---"] * len(columns), *rows]
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    return f"\n{SECTIONS[name].title}:\n\n{table}\n{how}\n\n"


def _how(measured: Mapping[str, Any]) -> str:
    return (
        f"*`{measured['command']}`, {measured['date']}, commit {measured['commit']}; took "
        f"{measured['took_s']:,} s;\nPython {measured['python']}; {measured['machine']}; load average "
        f"{measured['load_before']:.1f} before and {measured['load_after']:.1f} after.*"
    )


def _overview(entries: Entries) -> str:
    lines = ["section      about     changes since   command"]
    for name, section in SECTIONS.items():
        age = _changes(section, entries[name]) if name in entries else "never measured"
        lines.append(f"{name:12} {section.minutes:>3g} min {age:>15}   {section.command}")
    return "\n".join(lines)


def _changes(section: Section, entry: Entry) -> str:
    """How many there were to what it measures, in words."""
    if "digest" not in entry:
        return "without samples"
    commit = entry["measured"]["commit"]
    known = has_history() and is_in_history(commit)
    return str(changes_since(commit, paths_of(section))) if known else "unknown"


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(SECTIONS)))
@click.option("--render", is_flag=True, help="Measure nothing: write the tables from the samples.")
def main(names: tuple[str, ...], render: bool) -> None:
    """NAMES: the sections to measure and publish, in turn. Without any, what there is to measure."""
    for name in names:
        entry = measure(name)
        entries = {**load(FIGURES), name: entry}
        ordered = {each: entries[each] for each in SECTIONS if each in entries}
        history.publish(FIGURES, ordered, name, SECTIONS[name].main(entry["samples"]))
        click.echo(f"{name}: published")
    entries = load(FIGURES)
    if names or render:
        DOCUMENT.write_text(shown(DOCUMENT.read_text("utf-8"), entries), "utf-8")
    else:
        click.echo(_overview(entries))


if __name__ == "__main__":
    main()
