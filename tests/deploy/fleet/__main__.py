"""`make fleet`: HAProxy with the shipped configuration before three replicas, restarted, killed, overloaded.

    python -m tests.deploy.fleet                       everything, about 15 minutes
    python -m tests.deploy.fleet --scenario kill       one of them
    python -m tests.deploy.fleet --short --json        what `make test` runs, for a machine

Exit code: 0 when every verdict holds, 1 when one does not or a signal ended the run, 3 when no run is
possible here. Progress is on standard error. No process outlives a run, whatever ends it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from subprocess import SubprocessError
from textwrap import indent

from tests.deploy.fleet.fleet import BALANCER, REPLICAS, Fleet
from tests.deploy.fleet.namespace import add_addresses, is_inside, run_inside, why_not
from tests.deploy.fleet.row import FULL, SHORT, Row, Size
from tests.deploy.fleet.scenarios import IN_SHORT, SCENARIOS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="only this one; repeatable")
    parser.add_argument("--short", action="store_true", help="a few seconds each, without the comparisons")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    options = parser.parse_args()
    if not is_inside():
        return _run_inside()
    add_addresses(BALANCER, *REPLICAS)
    names = options.scenario or list(IN_SHORT if options.short else SCENARIOS)
    rows = list(_rows(names, SHORT if options.short else FULL))
    sys.stdout.write(json.dumps(list(map(asdict, rows)), indent=2) if options.json else _table(rows))
    sys.stdout.write("\n")
    return 1 if any(row.holds is False for row in rows) else 0


def _run_inside() -> int:
    reason = why_not("haproxy")
    if reason is not None:
        sys.stderr.write(f"skipped: {reason}\n")
        return 3
    code = run_inside("tests.deploy.fleet", sys.argv[1:])
    if code is None:
        sys.stderr.write("ended by a signal; nothing is left\n")
        return 1
    return code


def _rows(names: list[str], size: Size) -> Iterator[Row]:
    """Of these scenarios, each said as soon as it is there. One that cannot go on is broken."""
    began_at = time.monotonic()

    def say(line: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began_at:6.1f} s  {line}\n")
        sys.stderr.flush()

    for options, group in groupby(names, lambda name: SCENARIOS[name].fleet):
        say("a fleet starts")
        try:
            with Fleet(**options, is_quick=size.is_short) as fleet:
                for name in group:
                    say(name)
                    for row in SCENARIOS[name].rows(fleet, size, say):
                        say(f"{name}: {row.variant}: {_figures(row)}{_verdict(row)}")
                        yield row
        except (RuntimeError, OSError, SubprocessError) as error:
            say(f"BROKEN: {error}")
            yield Row("the fleet", "", {}, "runs to the end", holds=False, why=str(error))


def _table(rows: list[Row]) -> str:
    cells = [("scenario", "variant", "figures", "must", "verdict")]
    cells += [(row.scenario, row.variant, _figures(row), row.must, _verdict(row).strip(" :")) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    for row in rows:
        if row.why:
            lines += ["", f"{row.scenario}: {row.variant}:", indent(row.why, "  ")]
    return "\n".join(lines)


def _figures(row: Row) -> str:
    return ", ".join(f"{name} {value:,}" for name, value in row.figures.items())


def _verdict(row: Row) -> str:
    return {None: "", True: ": holds", False: ": BROKEN"}[row.holds]


if __name__ == "__main__":
    sys.exit(main())
