"""The long form: resident memory over 20,000 requests of each kind, with the collector off.

    make garbage                              every kind, about an hour; exit code 1 if one is not flat
    make garbage ARGS='--requests 2000 404'   the kinds whose names contain one of these words

Each kind has a process of its own. A kind that takes long is asked for as often as goes into a minute.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import trio
from loguru import logger

from fanout.observe.observers import KEPT_RECEIPTS
from tests.garbage.kinds import KINDS, Kind
from tests.garbage.measure import ROOT, measure, start_peers

MAX_GROWN_BYTES = 10 * 1024 * 1024
WITHIN_S = 60.0
AT_ONCE_WHILE_DRAINING = 50


def main() -> int:
    parser = argparse.ArgumentParser(prog="make garbage", description=__doc__)
    parser.add_argument("words", nargs="*", help="kinds whose names contain one of these; none: every kind")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        (kind,) = [kind for kind in KINDS if kind.name == arguments.one]
        return 0 if _is_flat(kind, arguments.requests) else 1
    kinds = [
        kind for kind in KINDS if not arguments.words or any(word in kind.name for word in arguments.words)
    ]
    print(f"{'kind':<68}{'requests':>10}{'objects each':>14}{'grown, MiB':>12}")  # noqa: T201 - a program's table
    codes = [
        subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.garbage",
                "--one",
                kind.name,
                "--requests",
                str(arguments.requests),
            ],
            cwd=ROOT,
            check=False,
        ).returncode
        for kind in kinds
    ]
    return max(codes, default=2)


def _is_flat(kind: Kind, requests: int) -> bool:
    logger.remove()
    with tempfile.TemporaryDirectory() as folder:
        peers = start_peers(Path(folder))
        try:
            requests = AT_ONCE_WHILE_DRAINING if kind.drains else requests
            warm_up = min(requests, KEPT_RECEIPTS + 100)  # as many receipts are kept, which is no growth
            found = trio.run(partial(measure, kind, peers, requests, warm_up=warm_up, within_s=WITHIN_S))
        finally:
            peers.close()
    each, grown = found.objects.total() / found.times, found.grown_bytes / 1024 / 1024
    may_grow = kind.drains or kind.leaves[0] > 0  # so many at once, or for the collector
    is_flat = (
        each <= kind.leaves[0]
        and (may_grow or found.grown_bytes < MAX_GROWN_BYTES)
        and found.seen == {kind.sees: found.times}
    )
    verdict = "" if is_flat else f"  NOT FLAT, seen {found.seen}"
    print(f"{kind.name:<68}{found.times:>10}{each:>14.2f}{grown:>12.1f}{verdict}", flush=True)  # noqa: T201 - a program's table
    return is_flat


if __name__ == "__main__":
    sys.exit(main())
