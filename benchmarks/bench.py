"""fanout beside its peers, in one run: measures, and writes docs/performance.md with its plots.

    make bench                          all of it, on a machine that does nothing else
    make bench ARGS=--short             all of it, about 7 minutes; shows that it works, not how fast
    make bench ARGS="--only cpu,peak"   some of it; what the others found last is kept
    make bench ARGS=--render            only write the page and the plots anew

Needs two cores: the server has one, the generator and the upstream have the other. What can be done without
nginx, Go or a peer is done without them.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sysconfig
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from benchmarks import page, plots
from benchmarks.section import OTHER_CORE, WHERE, Section, Settings
from benchmarks.sections import SECTIONS


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
            entry = measured(SECTIONS[name], options)
            page.save(
                {**page.load(options.json), name: entry}, options.json
            )  # at once: a run that is ended keeps what it has
    if options.json == page.FIGURES:
        write()


def _left(names: list[str], short: bool) -> str:
    """How much longer these sections will take, if each has been measured before in the same way."""
    before = [page.load().get(name, {"measured": {"short": None}})["measured"] for name in names]
    if any(how["short"] is not short for how in before):
        return ""
    return f", about {sum(how['took_s'] for how in before) / 60:.0f} min left"


def measured(section: Section, options: argparse.Namespace) -> dict[str, Any]:
    """What the section found, and when, where and with what."""
    began, before = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # nginx's worker is another user
        found = section.run(Settings(options.short, options.repeats, Path(folder), say))
    took_s = time.monotonic() - began
    say(f"    took {took_s:.0f} s")
    return {
        "measured": {
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "commit": _git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*") or "unknown",
            "python": f"{platform.python_version()} ({_build()})",
            "machine": machine(),
            "where": getattr(section, "WHERE", WHERE),
            "load_before": before,
            "load_after": os.getloadavg()[0],
            "took_s": round(took_s),
            "short": options.short,
        },
        "found": rounded(found),
    }


def write() -> None:
    figures = page.load()
    for name, entry in figures.items():
        if draw := getattr(SECTIONS[name], "plot", None):
            plots.draw(draw, entry["found"], page.image(name))
    page.write(figures)


def machine() -> str:
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    model = models[0].partition(":")[2].strip() if models else platform.machine()
    return f"{os.cpu_count()} cores ({model}), Linux {platform.release()}"


def _build() -> str:
    """How this Python was built. With the help of a profile it takes 5 to 10 % less, measured."""
    options = str(sysconfig.get_config_var("CONFIG_ARGS"))
    found = [
        word
        for option, word in (("--enable-optimizations", "PGO"), ("--with-lto", "LTO"))
        if option in options
    ]
    return f"built with {' and '.join(found)}" if found else "a plain build, without PGO"


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


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, cwd=page.ROOT, check=False)
    return done.stdout.strip()


def say(line: str) -> None:
    click.echo(f"{datetime.now(UTC):%H:%M:%S} {line}", err=True)


if __name__ == "__main__":
    main()
