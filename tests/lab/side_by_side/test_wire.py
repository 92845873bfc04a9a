"""The rows *Wire*: some cells on real sockets, and that nothing of it stays after Ctrl-C."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fanout.lab.client import Answer
from fanout.lab.side_by_side import wire
from fanout.lab.side_by_side.cells import Section
from fanout.lab.side_by_side.wire import INSTALL, LATE_MS, SITUATIONS, WINNER_MS, Look, verdict_of
from tests.lab.side_by_side.cells import cell

SLOW_LOSER = next(each for each in SITUATIONS if each.name == "slow loser")
DISCONNECT = next(each for each in SITUATIONS if each.name == "disconnect")
NOTHING = Look(0, 0, 0)
RIGHT = Answer(200, body=b'{"time": %d}' % WINNER_MS, took_ms=WINNER_MS + 10)


@pytest.mark.long
def test_real_sockets_come_to_the_verdicts_of_virtual_time(task_rows: Section) -> None:
    """Left for `wait`, nothing left for asyncio's best practice and for ours."""
    names = {"wait": "wait", "taskgroup": "TaskGroup + timeout", "ours": "fanout"}
    rows = wire.section(list(names), ["slow loser"])
    seen = {title: cell(rows, title, "slow loser") for title in names.values()}
    verdicts = {title: each.verdict for title, each in seen.items()}
    assert verdicts == {"wait": "broken", "TaskGroup + timeout": "kept", "fanout": "kept"}
    assert verdicts == {title: cell(task_rows, title, "slow loser").verdict for title in seen}
    assert seen["wait"].counts["calls_left"] >= 1  # one for each time that a busy machine had it measured
    assert [lane.end for lane in seen["fanout"].timeline] == ["success", "cancelled"]
    assert seen["fanout"].timeline[1].was_reset
    assert sum(seen["fanout"].counts.values()) == 0


@pytest.mark.parametrize(
    ("answer", "left", "verdict"),
    [
        (RIGHT, NOTHING, ("kept", "ok")),
        (RIGHT, Look(1, 0, 0), ("broken", "1 left")),
        (RIGHT, Look(0, 0, 0, calls=2), ("broken", "2 left")),
        (RIGHT, Look(0, 1, 0), ("broken", "1 slots left")),
        (RIGHT, Look(0, 0, 3), ("broken", "3 tasks left")),
        (Answer(missing="nothing in 2.4 s"), NOTHING, ("broken", "never")),
        (Answer(500, body=b"{}"), NOTHING, ("broken", "wrong")),
        (
            Answer(200, body=RIGHT.body, took_ms=WINNER_MS + LATE_MS + 1),
            NOTHING,
            ("late", f"+{LATE_MS + 1} ms"),
        ),
    ],
)
def test_a_verdict_follows_from_the_answer_and_from_what_is_left(
    answer: Answer | None, left: Look, verdict: tuple[str, str]
) -> None:
    assert verdict_of(SLOW_LOSER, answer, left) == verdict
    assert verdict_of(DISCONNECT, None, NOTHING) == ("kept", "ok")


@pytest.mark.parametrize(
    ("variant", "lacks", "needs"),
    [("taskgroup", "aiohttp", "aiohttp"), ("bridge", "trio_asyncio", "trio-asyncio")],
)
def test_a_missing_extra_is_not_measured_and_names_the_command(
    monkeypatch: pytest.MonkeyPatch, variant: str, lacks: str, needs: str
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == lacks else found(name))
    cells = [row.cells[0] for row in wire.section([variant]).rows]
    assert len(cells) == len(SITUATIONS)
    assert {(each.verdict, each.text) for each in cells} == {("not measured", f"needs {needs}")}
    assert INSTALL in cells[0].source


def test_ctrl_c_leaves_no_process() -> None:
    """While the servers start, which is when a process could be lost."""
    code = "from fanout.lab.side_by_side import wire; wire.section(['wait', 'ours'])"
    lab = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.DEVNULL, preexec_fn=_default_interrupt
    )
    try:
        started: set[int] = set()
        while len(started) < 3:  # two upstreams, and the first server
            started |= children_of(lab.pid)
            assert lab.poll() is None
            time.sleep(0.01)
        lab.send_signal(signal.SIGINT)
        lab.wait(10)
    finally:
        lab.kill()
        lab.wait()
        left = [pid for pid in started if Path(f"/proc/{pid}").exists()]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
    assert not left


def _default_interrupt() -> None:
    """A shell ignores SIGINT for what it runs in the background, and a child inherits that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def children_of(pid: int) -> set[int]:
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = Path(f"/proc/{name}/stat").read_text()
            except OSError:  # it has ended
                continue
            if int(stat.rpartition(")")[2].split()[1]) == pid:
                found.add(int(name))
    return found
