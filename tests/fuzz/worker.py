"""Slices of fuzzing, in a process of their own. Coverage begins before anything of fanout is imported."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from multiprocessing import connection, parent_process
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import coverage
import trio
import trio.testing

_BATCH: Final = 200  # inputs between two looks at the clock
_COVERED: Final = 0.1  # of the time: to trace takes twice as long

_coverage: coverage.Coverage | None = None
_searches: dict[str, Any] = {}  # by target, for all slices of this process


class Slice(NamedTuple):
    """What one has done: the inputs per second are those without coverage."""

    target: str
    inputs: int
    seconds: float
    kept: int
    finds: list[tuple[str, str, bytes]]
    used: Counter[str]


def begin(folder: str) -> None:
    """Begin a process. folder: where it leaves the coverage of the parsers."""
    global _coverage
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _coverage = coverage.Coverage(
        data_file=str(Path(folder) / "coverage"),
        data_suffix=True,
        branch=True,
        source_pkgs=["fanout"],
        config_file=False,
    )
    _coverage.start()
    from tests.fuzz.search import Search
    from tests.fuzz.targets import targets

    _coverage.stop()
    _searches.update({target.name: Search(target) for target in targets()})


def _end_with_parent() -> None:
    """End this process when the command ends. If that was killed, nothing else would stop the slices."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def run(target: str, seed: str, seconds: float) -> Slice:
    """Fuzz one target for so long."""
    search = _searches[target]
    chance = Random(seed)
    assert _coverage is not None

    async def some(seconds: float) -> tuple[int, float]:
        began, before = time.perf_counter(), search.inputs
        while (took := time.perf_counter() - began) < seconds:
            await search.run(_BATCH, chance)
        return search.inputs - before, took

    async def both() -> tuple[int, float]:
        assert _coverage is not None
        _coverage.start()
        await some(seconds * _COVERED)
        _coverage.stop()
        return await some(seconds * (1 - _COVERED))

    before = search.inputs
    inputs, took = trio.run(both, clock=trio.testing.MockClock(autojump_threshold=0))
    _coverage.save()
    finds = [(find.difference.who, find.difference.what, find.data) for find in search.finds]
    search.finds.clear()
    used, search.target.used = search.target.used, Counter()
    return Slice(
        target,
        search.inputs - before,
        took * (search.inputs - before) / max(1, inputs),
        len(search.kept),
        finds,
        used,
    )
