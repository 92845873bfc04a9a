"""`make fuzz`: fanout's parsers against three others, h2, and RFC 9113 as a table.

Each find is made small and kept in tests/fuzz/corpus, where `make test` finds it from then on. Exit code 1 if
there was one.
"""

import os
import secrets
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Final

import click
import coverage
import trio
import trio.testing

from tests.fuzz import corpus, worker
from tests.fuzz.entries import ENTRIES
from tests.fuzz.search import Find
from tests.fuzz.targets import Difference, Target, targets

_SLICE_S: Final = 10.0
_SAY_EVERY_S: Final = 30.0


@click.command(help=__doc__)
@click.option("--seconds", default=3600, show_default=True, help="How long, all targets together.")
@click.option("--seed", default=None, help="Of all chance; drawn and printed by default.")
@click.option(
    "--only",
    default="",
    help="One target, or those whose name begins with this: head, stream, answer, http2_head, http2.",
)
@click.option("--processes", default=os.cpu_count() or 1, show_default="one per core")
@click.option(
    "--replay", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Look at one kept input."
)
def main(seconds: int, seed: str | None, only: str, processes: int, replay: Path | None) -> None:
    if replay is not None:
        raise SystemExit(_replay(replay))
    chosen = list(targets(only))
    if not chosen:
        raise click.BadParameter(f"--only {only}: use one of {', '.join(each.name for each in targets())}")
    seed = seed or secrets.token_hex(4)
    click.echo(f"seed {seed}, {processes} processes, {seconds} s: {', '.join(each.name for each in chosen)}")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        raise SystemExit(_fuzz(chosen, seed, seconds, processes, folder))


def _fuzz(chosen: list[Target], seed: str, seconds: int, processes: int, folder: str) -> int:
    began = said = time.monotonic()
    inputs, used, kept = Counter[str](), Counter[str](), dict[str, int]()
    spent = defaultdict[str, float](float)
    found: dict[tuple[str, Difference], Path] = {}
    number = 0
    pool = ProcessPoolExecutor(processes, get_context("spawn"), worker.begin, (folder,))
    with pool:
        running: set[Future[worker.Slice]] = set()
        while (left := seconds - (time.monotonic() - began)) > 0 or running:
            while left > 0 and len(running) < processes:
                target = chosen[number % len(chosen)]
                slice_s = min(_SLICE_S, left, seconds * processes / len(chosen))
                running.add(pool.submit(worker.run, target.name, f"{seed}/{number}", slice_s))
                number += 1
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                each = future.result()
                inputs[each.target] += each.inputs
                spent[each.target] += each.seconds
                kept[each.target] = each.kept
                used += each.used
                for who, what, data in each.finds:
                    find = Find(each.target, Difference(who, what), data)
                    if (each.target, find.difference) not in found:
                        found[each.target, find.difference] = path = corpus.write(find)
                        _say(find, path)
            if time.monotonic() - said > _SAY_EVERY_S:
                said = time.monotonic()
                _say_progress(said - began, inputs, spent, kept, len(found))
    _say_progress(time.monotonic() - began, inputs, spent, kept, len(found))
    _say_coverage(chosen, folder)
    if {each.name for each in chosen} >= {"head", "stream", "answer"}:
        stale = [entry.key for entry in ENTRIES if not used[entry.key]]
        click.echo(f"entries that explained nothing in this run: {', '.join(stale) or 'none'}")
    return 1 if found else 0


def _say(find: Find, path: Path) -> None:
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    click.echo(f"\n{find.target}: {find.difference.who} {find.difference.what}\n{corpus.as_text(find.data)}")
    click.echo(f'again: make fuzz ARGS="--replay {shown}"\n')


def _say_progress(
    seconds: float, inputs: Counter[str], spent: defaultdict[str, float], kept: dict[str, int], finds: int
) -> None:
    each = [
        f"{name} {inputs[name]:,} ({inputs[name] / (spent[name] or 1):,.0f}/s, {kept[name]} kept)"
        for name in inputs
    ]
    click.echo(f"{seconds:.0f} s: {', '.join(each)}; {finds} differences")


def _say_coverage(chosen: list[Target], folder: str) -> None:
    files = sorted({file for target in chosen for file in target.files})
    data_file = str(Path(folder) / "coverage")
    measured = coverage.Coverage(data_file=data_file, branch=True, config_file=False)
    measured.combine([folder])
    measured.report(include=files, show_missing=True, skip_empty=True, file=sys.stdout)


def _replay(path: Path) -> int:
    """Look at one input in every way; who differs."""
    target = next(targets(path.parent.name))
    clock = trio.testing.MockClock(autojump_threshold=0)
    look = trio.run(lambda: target.look(corpus.read(path), Random(0), every_cut=True), clock=clock)
    for difference in look.differences:
        click.echo(f"{target.name}: {difference.who} {difference.what}")
    click.echo(f"explained by: {', '.join(target.used) or 'nothing'}")
    return 1 if look.differences else 0


if __name__ == "__main__":
    main()
