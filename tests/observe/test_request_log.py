"""One line a request: what it says, at which level, and which requests get one."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from fanout.observe.log import Logs
from fanout.observe.log_writer import LogWriter, sink_of
from fanout.observe.observers import Receipts
from fanout.observe.receipt import make_receipt
from fanout.observe.request_log import RequestLog
from fanout.race.events import RequestEnded
from fanout.testing import ScriptedCall, answers, crashes, fails, hangs, run_scenario

NOON_S = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp() + 0.000_25


def line_of(
    target: str,
    calls: list[ScriptedCall],
    *,
    which: str = "all",
    level: str = "info",
    as_text: bool = False,
    **options: Any,
) -> str:
    """What is logged of one request through the real application."""
    stream = io.StringIO()
    writer = LogWriter(sink_of(stream))
    receipts = Receipts([RequestLog(Logs(writer, level, as_text), which, lambda: NOON_S)])
    for event in run_scenario(target, calls, reserve_ms=20, **options).events:
        receipts.notify(event)
    writer.close()
    return stream.getvalue()


def test_a_line_has_the_essence_of_the_receipt() -> None:
    line = line_of("/api/first?timeout=300", [fails(10, "bad_status", 503), hangs()])
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "time": "2026-11-24T12:00:00.280250Z",
        "level": "warning",
        "message": "request",
        "request_id": "scenario-1",
        "endpoint": "first",
        "status": 500,
        "reason": "deadline",
        "timeout_ms": 300,
        "used_ms": 280.0,
        "calls": [
            {"outcome": "failed", "error": "bad_status", "status": 503, "ended_ms": 10.0},
            {"outcome": "cancelled", "ended_ms": 280.0, "cancelled_by": "deadline", "exit_ms": 0.0},
        ],
    }


def test_a_cancelled_loser_says_why() -> None:
    (_, loser) = json.loads(line_of("/api/first", [answers(10), hangs()]))["calls"]
    assert (loser["cancelled_by"], loser["because"]) == ("explicit", "call 0 settled the race")


def test_what_a_call_says_cannot_end_its_line() -> None:
    """Words are those of whoever wrote the call."""
    line = line_of("/api/first", [fails(10, 'it said "no"\n{', 503)])
    assert line.count("\n") == 1
    assert json.loads(line)["calls"][0]["error"] == 'it said "no"\n{'


def test_on_a_terminal_it_is_a_row() -> None:
    line = line_of("/api/all?timeout=300", [fails(10, "bad_status", 503), hangs()], as_text=True)
    told = (
        r"\d\d:\d\d:00.280 all 500 deadline 280/300 ms "
        r"\[failed bad_status 503 10 ms, cancelled 280 ms by deadline\] id=scenario-1\n"
    )
    assert re.fullmatch(told, line)


def test_a_caller_who_left_has_no_status_in_it() -> None:
    line = line_of("/api/first", [hangs(), hangs()], as_text=True, hang_up_after_ms=5)
    assert " first --- caller_left 5/1000 ms [cancelled 5 ms by the client disconnected, " in line
    assert "status" not in json.loads(line_of("/api/first", [hangs()], hang_up_after_ms=5))


SUCCESS: tuple[str, list[ScriptedCall]] = ("/api/first", [answers(1)])
FAILURE: tuple[str, list[ScriptedCall]] = ("/api/first", [fails(1)])


@pytest.mark.parametrize(
    ("which", "level", "request_", "is_logged"),
    [
        ("all", "info", SUCCESS, True),
        ("all", "info", FAILURE, True),
        ("failed", "info", SUCCESS, False),
        ("failed", "info", FAILURE, True),
        ("failed", "info", ("/nowhere", []), True),
        ("none", "info", SUCCESS, False),
        ("none", "info", FAILURE, False),
        ("all", "warning", SUCCESS, False),
        ("all", "warning", ("/nowhere", []), False),
        ("all", "warning", FAILURE, True),
        ("all", "error", FAILURE, False),
        ("all", "error", ("/api/first", [crashes(1)]), True),
    ],
)
def test_which_requests_get_a_line(
    which: str, level: str, request_: tuple[str, list[ScriptedCall]], is_logged: bool
) -> None:
    assert bool(line_of(*request_, which=which, level=level)) is is_logged


def test_a_late_answer_is_a_warning_and_counts_as_failed() -> None:
    careless = answers(90)
    careless.cleanup_ms = 50
    line = line_of("/api/first?timeout=120", [careless], which="failed", level="warning")
    assert json.loads(line)["late_by_ms"] == 20.0


def test_what_a_caller_sends_cannot_forge_a_line() -> None:
    """The id is sane or replaced, and the path is not in it."""
    line = line_of("/api/x\n{}\x1b", [], headers=[(b"x-request-id", b"a\x1b[2Jb")], as_text=True)
    assert line.endswith(" other 404 not_found 0 ms id=scenario-1\n")
    assert (line.count("\n"), line.count("\x1b")) == (1, 0)


def test_a_line_has_the_time_of_the_end_of_its_request_and_follows_a_clock_that_is_set() -> None:
    """Whenever it is told of: that is a moment later."""
    stream = io.StringIO()
    writer = LogWriter(sink_of(stream))
    offsets = iter([NOON_S, NOON_S + 60])
    log = RequestLog(Logs(writer, "info", False), "all", lambda: next(offsets))
    for ended_at in (1.0, 1.5, 1.75, 2.0, 2.5):
        log(make_receipt(RequestEnded("r", None, 0.5, 200, None, 0.0, None, None, ended_at)))
    writer.close()
    times = [json.loads(line)["time"][11:23] for line in stream.getvalue().splitlines()]
    assert times == ["12:00:01.000", "12:00:01.500", "12:00:01.750", "12:01:02.000", "12:01:02.500"]
