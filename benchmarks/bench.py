"""fanout and its peers, in one run: measures, and writes docs/performance.md with its plots.

    make bench                          all of it, on a machine that does nothing else
    make bench ARGS=--short             all of it, about 9 minutes; shows that it works, not how fast
    make bench ARGS="--only cpu,peak"   some of it; what the others found last is kept
    make bench ARGS=--render            only write the page and the plots again

Needs two cores: the server has one, the generator and the upstream have the other. What can be done without
nginx, Go or a peer is done without them.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from benchmarks import history, page, plots
from benchmarks.provenance import PRODUCT, Measuring, sealed
from benchmarks.provenance import write as write_figures
from benchmarks.section import OTHER_CORE, WHERE, Section, Settings
from benchmarks.sections import SECTIONS

# What every section measures, as git names it: not what only shows figures, or what no section runs.
MEASURED = (
    *PRODUCT,
    "fanout/tools/load",
    "benchmarks",
    *(
        f":!benchmarks/{name}"
        for name in ("*.md", "comparison.py", "page.py", "plots.py", "history.py", "provenance.py", "results")
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(page.USUAL), help="sections, a comma between two")
    parser.add_argument("--short", action="store_true", help="seconds, one round: not to be quoted")
    parser.add_argument("--repeats", type=int, help="rounds of every section that has any")
    parser.add_argument(
        "--json", type=Path, default=page.FIGURES, metavar="FILE", help="merge the figures into that; no page"
    )
    parser.add_argument("--render", action="store_true", help="measure nothing")
    options = parser.parse_args()
    wanted = options.only.split(",")
    if unknown := set(wanted) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    if not options.render:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started is ended with it
        os.sched_setaffinity(0, {OTHER_CORE})
        for number, name in enumerate(wanted):
            say(f"--- {name}: {number + 1} of {len(wanted)}{_left(wanted[number:], options.short)}")
            try:
                entry = measured(SECTIONS[name], options)
            except click.ClickException as wrong:
                parser.exit(1, f"{wrong.message}\n")
            save(name, entry, options)  # at once: a run that is ended keeps what it has
    if options.json == page.FIGURES:
        write()


def _left(names: list[str], short: bool) -> str:
    """How much longer these sections will take, if each has been measured before in the same way."""
    before = [page.load().get(name, {"measured": {"short": None}})["measured"] for name in names]
    if any(how["short"] is not short for how in before):
        return ""
    return f", about {sum(how['took_s'] for how in before) / 60:.0f} min left"


def measured(section: Section, options: argparse.Namespace) -> dict[str, Any]:
    """What the section found, and when, where and with what.

    Raises `click.ClickException` as `Measuring` does: a figure is published of what is committed.
    """
    measuring = Measuring(_command(section, options), MEASURED, published=_is_published(options))
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # nginx's worker is another user
        found = section.run(Settings(options.short, options.repeats, Path(folder), say))
    how = measuring.done()
    say(f"    took {how['took_s']} s")
    how |= {"where": getattr(section, "WHERE", WHERE), "short": options.short}
    return sealed({"measured": how, "found": rounded(found)})


def save(name: str, entry: dict[str, Any], options: argparse.Namespace) -> None:
    """Among the other figures; with a record of it, if it is published."""
    figures = page.in_order({**page.load(options.json), name: entry})
    if _is_published(options):
        history.publish(options.json, figures, name, history.main_figures(SECTIONS[name], entry["found"]))
    else:
        write_figures(options.json, figures)


def _is_published(options: argparse.Namespace) -> bool:
    return options.json == page.FIGURES and not options.short


def _command(section: Section, options: argparse.Namespace) -> str:
    """What somebody types to measure this section in the same way."""
    words = [f"--only {section.NAME}"]
    words += ["--short"] * options.short
    words += [f"--repeats {options.repeats}"] * (options.repeats is not None)
    python = getattr(section, "PYTHON", "")
    return f'make bench {python and f"PYTHON={python} "}ARGS="{" ".join(words)}"'


def write() -> None:
    figures = page.load()
    for name, entry in figures.items():
        if draw := getattr(SECTIONS[name], "plot", None):
            plots.draw(draw, entry["found"], page.image(name))
    page.write(figures)


def rounded(value: Any) -> Any:
    """The same with at most six digits a figure: what is kept is read by people, too."""
    match value:
        case float():
            return float(f"{value:.6g}")
        case dict():
            return {key: rounded(each) for key, each in value.items()}
        case list() | tuple():
            return [rounded(each) for each in value]
        case _:
            return value


def say(line: str) -> None:
    click.echo(f"{datetime.now(UTC):%H:%M:%S} {line}", err=True)


if __name__ == "__main__":
    main()
