"""One line a request: what it says, at which level, and which requests get one."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
import trio.testing

from fanout.observe.log import Logs, Mask
from fanout.observe.log_writer import LogWriter, sink_of
from fanout.observe.observers import Receipts
from fanout.observe.receipt import CallReceipt, Receipt, make_receipt
from fanout.observe.request_log import RequestLog
from fanout.observe.request_row import RequestRows
from fanout.race.events import RequestEnded
from fanout.race.outcome import Failure, Success
from fanout.race.timings import CallTimings
from fanout.testing import ScriptedCall, answers, crashes, fails, hangs, run_scenario

NOON_S = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp() + 0.000_25


def logs_to(writer: LogWriter, level: str) -> Logs:
    """JSON lines."""
    return Logs(writer, level, as_text=False, has_colour=False, mask=Mask())


def entry_of(receipt: Receipt, upstreams: Sequence[str] = ("a",)) -> dict[str, Any]:
    """What is logged of one receipt, without its time."""
    stream = io.StringIO()
    writer = LogWriter(sink_of(stream))
    RequestLog(logs_to(writer, "info"), "all", upstreams, lambda: NOON_S)(receipt)
    writer.close()
    entry: dict[str, Any] = json.loads(stream.getvalue())
    del entry["time"]
    return entry


def line_of(
    target: str,
    calls: list[ScriptedCall],
    *,
    which: str = "all",
    level: str = "info",
    as_text: bool = False,
    has_colour: bool = False,
    upstreams: Sequence[str] = ("a.test:80", "a.test:80"),
    **options: Any,
) -> str:
    """What is logged of one request through the real application."""
    stream = io.StringIO()
    writer = LogWriter(sink_of(stream))
    logs = Logs(writer, level, as_text, has_colour, Mask())
    receipts = Receipts([RequestLog(logs, which, upstreams, lambda: NOON_S)])
    for event in run_scenario(target, calls, reserve_ms=20, **options).events:
        receipts.notify(event)
    writer.close()
    return stream.getvalue()


def test_a_line_has_the_essence_of_the_receipt() -> None:
    calls = [fails(10, "bad_status", 503), hangs()]
    line = line_of("/api/first?timeout=300", calls, upstreams=("a.test:80", "b.test:80"))
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "time": "2026-11-24T12:00:00.280250Z",
        "level": "warning",
        "message": "request",
        "request_id": "scenario-1",
        "method": "GET",
        "path": "/api/first",
        "client": "192.0.2.1:1",
        "endpoint": "first",
        "status": 500,
        "reason": "deadline",
        "timeout_ms": 300,
        "used_ms": 280.0,
        "timeout_from": "parameter",
        "calls": [
            {
                "upstream": "a.test:80",
                "outcome": "failed",
                "error": "bad_status",
                "status": 503,
                "ended_ms": 10.0,
            },
            {
                "upstream": "b.test:80",
                "outcome": "cancelled",
                "ended_ms": 280.0,
                "cancelled_by": "deadline",
                "exit_ms": 0.0,
            },
        ],
    }


class LeavesATask(ScriptedCall):
    """As a call over the asyncio bridge may."""

    async def __call__(self, timings: CallTimings) -> Success | Failure:
        timings.left = ("fetch (shop/client.py:42)",)
        return await super().__call__(timings)


class SendsTheTimeLeft(ScriptedCall):
    async def __call__(self, timings: CallTimings) -> Success | Failure:
        assert timings.headers_to_send() == ((b"X-Left", b"480"),)
        return await super().__call__(timings)


def test_what_a_call_was_sent_is_in_its_line() -> None:
    """Other calls have no such field."""
    calls = [answers(10), SendsTheTimeLeft(math.inf, Failure("broken"))]
    line = json.loads(line_of("/api/first?timeout=500", calls, deadline_header="X-Left"))
    assert [call.get("time_left_ms") for call in line["calls"]] == [None, 480]


def test_what_a_call_over_asyncio_left_is_named_in_both_forms() -> None:
    """Other calls have no such field."""
    calls = [answers(10), LeavesATask(math.inf, Failure("broken"))]
    kept, left = json.loads(line_of("/api/first", calls))["calls"]
    assert (kept.get("left"), left["left"]) == (None, ["fetch (shop/client.py:42)"])
    row = line_of("/api/first", calls, as_text=True)
    assert "cancelled after 10 ms (call 0 settled the race) and left fetch (shop/client.py:42) (192" in row


def test_a_cancelled_loser_says_why() -> None:
    (_, loser) = json.loads(line_of("/api/first", [answers(10), hangs()]))["calls"]
    assert (loser["cancelled_by"], loser["because"]) == ("explicit", "call 0 settled the race")


def test_what_a_call_says_cannot_end_its_line() -> None:
    """Words are those of whoever wrote the call."""
    line = line_of("/api/first", [fails(10, 'it said "no"\n{', 503)])
    assert line.count("\n") == 1
    assert json.loads(line)["calls"][0]["error"] == 'it said "no"\n{'


ROWS: list[tuple[str, list[ScriptedCall], dict[str, Any], str]] = [
    (
        "/api/first",
        [hangs(), answers(10)],
        {},
        "INFO    …:00.010 GET /api/first 200 10 ms  call 0 was cancelled after 10 ms "
        "(call 1 settled the race), call 1 won after 10 ms (192.0.2.1:1, id scenario-1)\n",
    ),
    (
        "/api/all?timeout=300",
        [fails(10, "bad_status", 503), hangs()],
        {},
        "WARNING …:00.280 GET /api/all 500 280 ms  the deadline of 300 ms came: call 0 failed after 10 ms "
        "(bad_status 503), call 1 was cancelled after 280 ms (deadline) (192.0.2.1:1, id scenario-1)\n",
    ),
    (
        "/api/all",
        [answers(7), fails(10, "unreachable")],
        {"upstreams": ("a.test:80", "b.test:80"), "method": "HEAD"},
        "INFO    …:00.010 HEAD /api/all 200 10 ms  call 0 to a.test:80 succeeded after 7 ms, "
        "call 1 to b.test:80 failed after 10 ms (unreachable) (192.0.2.1:1, id scenario-1)\n",
    ),
    (
        "/api/first",
        [hangs(), hangs()],
        {"hang_up_after_ms": 5},
        "INFO    …:00.005 GET /api/first --- 5 ms  the client disconnected: call 0 was cancelled after 5 ms "
        "(the client disconnected), call 1 was cancelled after 5 ms (the client disconnected) "
        "(192.0.2.1:1, id scenario-1)\n",
    ),
    (
        "/nowhere?timeout=1",
        [],
        {},
        "INFO    …:00.000 GET /nowhere 404 0 ms  not found (192.0.2.1:1, id scenario-1)\n",
    ),
    (
        "/docs",
        [],
        {},
        "INFO    …:00.000 GET /docs 200 0 ms  answered (192.0.2.1:1, id scenario-1)\n",
    ),
]


@pytest.mark.parametrize(("target", "calls", "options", "row"), ROWS)
def test_on_a_terminal_it_is_a_row_that_ends_with_the_story(
    target: str, calls: list[ScriptedCall], options: dict[str, Any], row: str
) -> None:
    """Level, time, method, path, status, duration, and then words."""
    line = line_of(target, calls, as_text=True, **options)
    assert re.sub(r"\d\d:\d\d(?=:00)", "…", line) == row


@pytest.mark.parametrize(
    ("target", "calls", "level", "status"),
    [
        ("/api/first", [answers(1)], "1mINFO   ", "32m200"),
        ("/nowhere", [], "1mINFO   ", "33m404"),
        ("/api/first", [fails(1)], "33m\x1b[1mWARNING", "31m500"),
        ("/api/first", [crashes(1)], "31m\x1b[1mERROR  ", "31m500"),
    ],
)
def test_the_level_and_the_status_have_a_colour(
    target: str, calls: list[ScriptedCall], level: str, status: str
) -> None:
    row = line_of(target, calls, as_text=True, has_colour=True)
    assert row.startswith(f"\x1b[{level}\x1b[0m ")
    assert f" \x1b[{status}\x1b[0m " in row


def test_a_client_who_disconnected_has_no_status_in_json() -> None:
    assert "status" not in json.loads(line_of("/api/first", [hangs()], hang_up_after_ms=5))


def test_a_path_is_cut_and_a_client_may_be_unknown() -> None:
    ended = RequestEnded(
        "r", None, 0, 404, "not_found", 0.0, None, None, 0, "GET", b"/" * 1000, ("2001:db8::1", 7)
    )
    lines = []
    for event in (ended, ended._replace(client=None)):
        lines.append(entry_of(make_receipt(event)))
    assert lines[0]["path"] == "/" * 256
    assert lines[0]["client"] == "[2001:db8::1]:7"
    assert "client" not in lines[1]


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


def test_each_member_of_a_line_is_the_receipts_in_its_unit() -> None:
    call = CallReceipt(
        call=1,
        outcome="cancelled",
        error="broken",
        status=299,
        started_at=10.1,
        ended_at=10.23456,
        phases=(),
        reused=True,
        kept=False,
        cancel_source="explicit",
        cancel_reason="why",
        cancel_to_exit_ms=0.98765,
        left=("a place",),
    )
    receipt = Receipt(
        *("id-1", "ab" * 16, "first", 10.0, 1100, 22.5, 11.23456, 1234.56, 201, "deadline", 345.67, (call,)),
        method="GET",
        path="/api/first",
        client=("192.0.2.1", 77),
    )
    assert entry_of(receipt, ["a.test", "b.test"]) == {
        "level": "warning",
        "message": "request",
        "request_id": "id-1",
        "trace_id": "ab" * 16,
        "method": "GET",
        "path": "/api/first",
        "client": "192.0.2.1:77",
        "endpoint": "first",
        "status": 201,
        "reason": "deadline",
        "timeout_ms": 1100,
        "used_ms": 1234.6,
        "late_by_ms": 345.7,
        "calls": [
            {
                "upstream": "b.test",
                "outcome": "cancelled",
                "error": "broken",
                "status": 299,
                "ended_ms": 234.6,
                "reused": True,
                "kept": False,
                "cancelled_by": "explicit",
                "because": "why",
                "exit_ms": 0.988,
                "left": ["a place"],
            }
        ],
    }


def test_a_call_whose_end_is_not_known_has_none_in_its_line() -> None:
    (call,) = entry_of(SEEN._replace(calls=(LATE._replace(ended_at=None),)))["calls"]
    assert call == {"upstream": "a", "outcome": "won", "reused": True, "kept": True}


def test_what_a_receipt_does_not_know_is_not_made_up() -> None:
    receipt = Receipt("id-1", None, "other", 10.0, None, None, 10.25, 250.0, 404, "not_found", 0.0, ())
    assert entry_of(receipt) == {
        "level": "info",
        "message": "request",
        "request_id": "id-1",
        "method": "",
        "path": "",
        "endpoint": "other",
        "status": 404,
        "reason": "not_found",
        "used_ms": 250.0,
    }


def test_a_late_answer_is_a_warning_and_counts_as_failed() -> None:
    careless = answers(90)
    careless.cleanup_ms = 50
    line = line_of("/api/first?timeout=120", [careless], which="failed", level="warning")
    assert json.loads(line)["late_by_ms"] == 20.0
    row = line_of("/api/first?timeout=120", [careless], which="failed", level="warning", as_text=True)
    assert "GET /api/first 200 140 ms  late by 20.0 ms: call 0 won after 140 ms" in row


def test_what_a_client_sends_cannot_forge_a_line_or_command_a_terminal() -> None:
    """The id is sane or replaced. The head parser takes no control character, and a row shows it as text."""
    line = line_of("/api/x\n{}\x1b", [], headers=[(b"x-request-id", b"a\x1b[2Jb")], as_text=True)
    assert " GET /api/x\\x0a{}\\x1b 404 0 ms  not found (192.0.2.1:1, id scenario-1)\n" in line
    assert (line.count("\n"), line.count("\x1b")) == (1, 0)


def test_a_line_has_the_time_of_the_end_of_its_request_and_follows_a_clock_that_is_set() -> None:
    """Whenever it is told of: that is a moment later."""
    stream = io.StringIO()
    writer = LogWriter(sink_of(stream))
    offsets = iter([NOON_S, NOON_S + 60])
    log = RequestLog(logs_to(writer, "info"), "all", [], lambda: next(offsets))
    for ended_at in (1.0, 1.5, 1.75, 2.0, 2.5):
        log(make_receipt(RequestEnded("r", None, 0.5, 200, None, 0.0, None, None, ended_at)))
    writer.close()
    times = [json.loads(line)["time"][11:23] for line in stream.getvalue().splitlines()]
    assert times == ["12:00:01.000", "12:00:01.500", "12:00:01.750", "12:01:02.000", "12:01:02.500"]


LATE = CallReceipt(0, "won", None, None, 10.0, 10.25, (), True, True, None, None, None)
SEEN = Receipt("id-1", None, "first", 10.0, 1000, 20.0, 10.251, 251.6, 200, "success", 0.0, (LATE,))
SEEN = SEEN._replace(method="GET", path="/api/first", client=("192.0.2.1", 7))


def row_of(receipt: Receipt, *, upstreams: Sequence[str] = ("a", "a"), has_colour: bool = False) -> str:
    return RequestRows(upstreams, has_colour).row((receipt, NOON_S + 0.123_75))


@pytest.mark.parametrize(
    ("changes", "row"),
    [
        ({}, "INFO    {} GET /api/first 200 252 ms  call 0 won after 250 ms (192.0.2.1:7, id id-1)"),
        ({"calls": ()}, "INFO    {} GET /api/first 200 252 ms  answered (192.0.2.1:7, id id-1)"),
        (
            {"client": None, "calls": ()},
            "INFO    {} GET /api/first 200 252 ms  answered (no address, id id-1)",
        ),
        (
            {"client": ("::1", 7), "calls": ()},
            "INFO    {} GET /api/first 200 252 ms  answered ([::1]:7, id id-1)",
        ),
        (
            {"status": 500, "reason": "internal", "calls": ()},
            "ERROR   {} GET /api/first 500 252 ms  a bug of this server (192.0.2.1:7, id id-1)",
        ),
        (
            {"status": None, "reason": "internal", "calls": ()},
            "ERROR   {} GET /api/first --- 252 ms  a bug of this server (192.0.2.1:7, id id-1)",
        ),
        (
            {"status": 503, "reason": "no_room_left", "late_by_ms": 1.25, "calls": ()},
            "WARNING {} GET /api/first 503 252 ms  no room left: late by 1.2 ms (192.0.2.1:7, id id-1)",
        ),
        (
            {"late_by_ms": 1.25, "calls": ()},
            "WARNING {} GET /api/first 200 252 ms  late by 1.2 ms (192.0.2.1:7, id id-1)",
        ),
        (
            {"status": 499, "reason": "odd", "calls": ()},
            "INFO    {} GET /api/first 499 252 ms  odd (192.0.2.1:7, id id-1)",
        ),
        (
            {"status": 500, "reason": "deadline", "calls": ()},
            "WARNING {} GET /api/first 500 252 ms  the deadline of 1000 ms came (192.0.2.1:7, id id-1)",
        ),
        (
            {"path": "/a\nb", "calls": ()},
            "INFO    {} GET /a\\x0ab 200 252 ms  answered (192.0.2.1:7, id id-1)",
        ),
    ],
)
def test_a_row_says_what_was_asked_and_what_came_of_it(changes: dict[str, Any], row: str) -> None:
    found = row_of(SEEN._replace(**changes))
    time = datetime.fromtimestamp(NOON_S + 0.123_75, UTC).astimezone().strftime("%H:%M:%S.124")
    assert found == row.format(time) + "\n"


@pytest.mark.parametrize(
    ("changes", "story"),
    [
        ({}, "call 0 won after 250 ms"),
        ({"outcome": "ok"}, "call 0 succeeded after 250 ms"),
        ({"outcome": "odd"}, "call 0 odd after 250 ms"),
        ({"outcome": "internal"}, "call 0 ended with a bug after 250 ms"),
        ({"outcome": "not_started", "started_at": None}, "call 0 was not started"),
        ({"outcome": "not_started", "ended_at": None}, "call 0 was not started"),
        ({"outcome": "failed", "error": "broken"}, "call 0 failed after 250 ms (broken)"),
        ({"outcome": "failed", "error": "bad", "status": 503}, "call 0 failed after 250 ms (bad 503)"),
        (
            {"outcome": "cancelled", "cancel_source": "deadline"},
            "call 0 was cancelled after 250 ms (deadline)",
        ),
        (
            {"outcome": "cancelled", "cancel_source": "explicit", "cancel_reason": "why"},
            "call 0 was cancelled after 250 ms (why)",
        ),
        ({"left": ("a", "b")}, "call 0 won after 250 ms and left a; b"),
        ({"error": "e", "left": ("a",)}, "call 0 won after 250 ms (e) and left a"),
        ({"started_at": 10.125}, "call 0 won after 250 ms"),  # of the request's arrival
        ({"ended_at": 15.0}, "call 0 won after 5000 ms"),
    ],
)
def test_a_row_ends_with_the_story_of_each_call(changes: dict[str, Any], story: str) -> None:
    call = LATE._replace(**changes)
    assert f"252 ms  {story} (192.0.2.1:7" in row_of(SEEN._replace(calls=(call,)))
    named = story.replace("call 0", "call 0 to a")
    assert f"252 ms  {named} (192.0.2.1:7" in row_of(SEEN._replace(calls=(call,)), upstreams=("a", "b"))


def test_a_row_is_coloured_where_it_helps_to_find_something() -> None:
    dim, bold, end = "\x1b[2m", "\x1b[1m", "\x1b[0m"
    calls = SEEN._replace(calls=())
    assert row_of(calls, has_colour=True).startswith(f"{bold}INFO   {end} {dim}")
    for status, colour in ((200, "32"), (404, "33"), (500, "31")):
        assert f" \x1b[{colour}m{status}{end} " in row_of(calls._replace(status=status), has_colour=True)
    for receipt, shown in ((calls._replace(status=302), "302"), (calls._replace(status=None), "---")):
        assert f" {shown}{end} " in row_of(receipt, has_colour=True)
        assert f"m{shown}{end}" not in row_of(receipt, has_colour=True)
    assert f" {dim}(192.0.2.1:7, id id-1){end}\n" in row_of(calls, has_colour=True)
    assert "\x1b" not in row_of(calls)


@pytest.mark.parametrize(
    ("which", "level", "changes", "is_logged"),
    [
        ("all", "debug", {}, True),
        ("failed", "info", {"late_by_ms": 0.1}, True),
        ("failed", "info", {"reason": "odd"}, True),
        ("failed", "info", {}, False),
        ("all", "warning", {"late_by_ms": 0.1}, True),
        ("all", "warning", {"status": 499}, False),
        ("all", "warning", {"status": 500}, True),
        ("all", "warning", {"status": None}, False),
        ("all", "error", {"status": 500}, False),
        ("all", "error", {"reason": "internal"}, True),
        ("none", "debug", {"reason": "internal"}, False),
    ],
)
def test_a_request_is_logged_by_its_level_and_by_what_is_wanted(
    which: str, level: str, changes: dict[str, Any], is_logged: bool
) -> None:
    stream = io.StringIO()
    writer = LogWriter(sink_of(stream))
    RequestLog(logs_to(writer, level), which, ["a"], lambda: NOON_S)(SEEN._replace(**changes))
    writer.close()
    assert bool(stream.getvalue()) is is_logged


async def test_the_time_of_a_line_is_that_of_the_day(autojump_clock: trio.testing.MockClock) -> None:
    stream = io.StringIO()
    writer = LogWriter(sink_of(stream))
    before = datetime.now(UTC)
    autojump_clock.jump(5000)  # the loop's clock does not begin with the day
    log = RequestLog(logs_to(writer, "info"), "all", ["a"])
    log(SEEN._replace(ended_at=trio.current_time()))
    writer.close()
    found = datetime.fromisoformat(json.loads(stream.getvalue())["time"].replace("Z", "+00:00"))
    assert before - timedelta(seconds=1) <= found <= datetime.now(UTC) + timedelta(seconds=1)
