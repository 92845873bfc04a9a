"""`make balancers`: nginx, Envoy, Caddy and Traefik with the shipped configurations before three replicas.

    python -m tests.deploy.balancers                all, about 10 minutes: the table of docs/discussion.md
    python -m tests.deploy.balancers nginx envoy    only these; `haproxy`, when it is installed, to compare
    python -m tests.deploy.balancers --short        a few seconds for each figure
    python -m tests.deploy.balancers --changes      with one line changed: what it is for
    python -m tests.deploy.balancers --check        only start each of them, without replicas

Exit code: 0 when every figure is as it has to be, 1 when one is not or a signal ended the run, 3 when no run
is possible here. Progress is on standard error. Nothing is left behind, whatever ends the run.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from tests.deploy.balancers import compare, shipped
from tests.deploy.balancers.compare import HAPROXY, MEASUREMENTS, Cell
from tests.deploy.balancers.shipped import KINDS
from tests.deploy.fleet import namespace
from tests.deploy.fleet.fleet import BALANCER, RATE_PER_S, REPLICAS, Balancer, Fleet
from tests.deploy.fleet.measure import Say
from tests.deploy.fleet.row import FULL, SHORT, Size


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="nginx, envoy, caddy, traefik, haproxy")
    parser.add_argument("--rate", type=int, default=RATE_PER_S, help="requests per second")
    modes = parser.add_mutually_exclusive_group()
    for mode in ("--short", "--changes", "--check"):
        modes.add_argument(mode, action="store_true")
    options = parser.parse_args()
    unknown = set(options.names) - {*KINDS, HAPROXY}
    if unknown:
        parser.error(f"{min(unknown)}: use {', '.join(KINDS)} or {HAPROXY}")
    if not namespace.is_inside():
        return _run_inside(HAPROXY in options.names)
    namespace.add_addresses(BALANCER, *REPLICAS)
    names = options.names or [*KINDS]
    size = SHORT if options.short else replace(FULL, rate_per_s=options.rate)
    if options.check:
        rows = list(_checks(names))
    elif options.changes:
        rows = list(_changes(names, size))
    else:
        rows = list(_figures(names, size))
    sys.stdout.write(_table(rows))
    return 1 if any(cell.holds is False for _, cells in rows for cell in cells.values()) else 0


Row = tuple[str, dict[str, Cell]]


def _run_inside(with_haproxy: bool) -> int:
    reason = shipped.why_not() or namespace.why_not(*([HAPROXY] if with_haproxy else []))
    if reason is not None:
        sys.stderr.write(f"skipped: {reason}\n")
        return 3
    code = namespace.run_inside("tests.deploy.balancers", sys.argv[1:])
    if code is None:
        sys.stderr.write("ended by a signal; nothing is left\n")
        return 1
    return code


def _checks(names: Sequence[str]) -> Iterator[Row]:
    """Each accepts its file, starts, and has an answer of its own."""
    for name in names:
        yield name, {"without replicas": _measured(name, partial(compare.own_503, name))}


def _figures(names: Sequence[str], size: Size) -> Iterator[Row]:
    """A balancer that cannot go on has no more figures, and the next one gets replicas of its own."""
    say = _sayer()
    for name in names:
        cells: dict[str, Cell] = {}
        with Fleet(lame_duck_ms=compare.LAME_DUCK_MS, is_quick=True) as fleet:
            for title, measurement in MEASUREMENTS.items():
                cells[title] = _measured(name, partial(measurement, fleet, size, say))
                say(f"{name}: {title}: {_shown(cells[title])}")
                if cells[title].is_error:
                    break
        yield name, cells


def _changes(names: Sequence[str], size: Size) -> Iterator[Row]:
    say = _sayer()
    with Fleet(lame_duck_ms=0, is_quick=True) as fleet:
        for variant in compare.VARIANTS:
            if variant.name in names:
                with compare.start(variant.name, variant.change) as balancer:
                    cell = MEASUREMENTS[variant.measurement](fleet, size, say, balancer)
                say(f"{variant.title}: {variant.measurement}: {cell.text}")
                yield variant.title, {variant.measurement: Cell(cell.text)}


def _measured(name: str, measurement: Callable[[Balancer], Cell]) -> Cell:
    """With this balancer, as shipped. One that cannot start or go on has no figure."""
    try:
        with compare.start(name) as balancer:
            return measurement(balancer)
    except (RuntimeError, OSError) as error:
        return Cell(str(error), holds=False, is_error=True)


def _sayer() -> Say:
    began_at = time.monotonic()

    def say(line: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began_at:6.1f} s  {line}\n")
        sys.stderr.flush()

    return say


def _table(rows: Sequence[Row]) -> str:
    """In Markdown."""
    titles = list(dict.fromkeys(title for _, cells in rows for title in cells))
    lines = [["", *titles], ["---"] * (1 + len(titles))]
    lines += [[name, *(_shown(cells.get(title, Cell(""))) for title in titles)] for name, cells in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _shown(cell: Cell) -> str:
    return f"{cell.text}{' BROKEN' if cell.holds is False else ''}"


if __name__ == "__main__":
    sys.exit(main())
