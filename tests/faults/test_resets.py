"""Resets everywhere: whatever a client or an upstream does, at whatever moment, only its own connection ends.

Over real sockets and real TLS, through the real event loop (`server.py`). The points are all system calls
that the server makes in one situation (`calls.py`); before each of them the peer resets its connection,
closes it, or does nothing any more. Time stands still in between (`clock.py`), so each timeout of `limits.py`
has its real length and the peer can act in the very event-loop iteration that notices it.

Here every situation is swept at some of its points, and those that once ended the server at all of them.
`make faults` sweeps all.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from fanout.server.statistics import End
from tests.breakages.tree import apply, copy_of_tree
from tests.faults.resets import RESETS
from tests.faults.situations import SITUATIONS, Situation, named
from tests.faults.sweep import sweep

ONCE_FATAL: Final = ("a slow head", "over the limit", "over the limit, TLS")
SHARE: Final = 0.02


@pytest.mark.parametrize("situation", SITUATIONS, ids=str)
def test_a_peer_that_resets_closes_or_falls_silent_costs_nobody_else_anything(situation: Situation) -> None:
    """G1, G7, G9, G10, G11: the others are served, the client of such an upstream gets its answers, nothing
    is left, every connection is counted once, and nothing is reported as a bug."""
    swept = sweep(situation, RESETS, share=1.0 if situation.name in ONCE_FATAL else SHARE)
    assert swept.wrong == []
    assert len(swept.points) > 10


def test_connections_end_in_every_way_that_a_timeout_or_a_limit_has() -> None:
    """G10. That each situation ends as it says is part of its sweep."""
    assert {situation.end for situation in SITUATIONS} >= set(End) - {End.FLOODING, End.CRASHED, End.STOPPED}


def test_the_sweep_reaches_the_moment_between_a_timeout_and_its_answer() -> None:
    """It must not go quiet: a peer is struck at each point, the first write after the wait among them."""
    swept = sweep(named("a slow head"), RESETS, share=0.3)
    assert sum(swept.runs.values()) > 10
    assert swept.points[-1].name in ("socket.close", "epoll.poll")
    assert {"epoll.poll", "posix.write"} <= {point.name for point in swept.points[-8:]}


@pytest.mark.long
def test_it_finds_last_words_outside_of_the_guard(tmp_path: Path) -> None:
    """G10: the bug that this net was made for, put in again: a reset while a timeout is being answered ended
    the server, and with it every other connection."""
    found = _broken(tmp_path, "unguarded_last_words.patch", "a slow head")
    assert "a slow head, reset at" in found
    assert "the server has ended: BrokenStream" in found


def _broken(tmp_path: Path, name: str, situation: str) -> str:
    """What `make faults` says of a copy of the tree that is broken in this way."""
    tree = copy_of_tree(tmp_path)
    apply(Path(__file__).with_name(name).read_text("utf-8"), tree)
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--net", "resets", "--first", situation],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 1, done.stderr
    return done.stdout
