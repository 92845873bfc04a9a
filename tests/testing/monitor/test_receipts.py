"""`fanout check-trace` over a server's log: each formula that a log can show is seen kept, and broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from click.testing import CliRunner, Result
from loguru import logger

from fanout.cli import cli
from fanout.observe.leak_check import LeakCheck
from fanout.observe.log import LogObserver, configure_logging
from fanout.race.events import BugFound
from fanout.race.outcome import TOO_LATE
from tests.testing.monitor.logs import Entry, line_of_receipt

Entries = list[Entry]
FIRST, ALL, FAILS, LATE, LEAVES, REJECTED, BUG, OTHER = range(1, 9)  # the requests of `SOUND`


def request(number: int, at: str, endpoint: str, used_ms: float, **more: Any) -> Entry:
    """A line of the log. at: when it ended. calls: outcome, end, and what else is known of each."""
    calls = [
        {"upstream": "u:80", "outcome": outcome, "ended_ms": ended_ms, **rest}
        for outcome, ended_ms, rest in more.pop("calls", ())
    ]
    return {
        "time": f"2026-11-28T12:00:{at}Z",
        "level": "info",
        "message": "request",
        "request_id": f"r-{number}",
        "method": "GET",
        "path": f"/api/{endpoint}",
        "endpoint": endpoint,
        "used_ms": used_ms,
        **more,
        **({"calls": calls} if calls else {}),
    }


def said(at: str, message: str, **more: str) -> Entry:
    return {"time": f"2026-11-28T12:00:{at}+00:00", "level": "info", "message": message, **more}


CANCELLED: Final = {"kept": False, "reused": False, "cancelled_by": "explicit", "exit_ms": 0.2}
KEPT: Final = {"kept": True, "reused": True}
FAILED: Final = {"kept": True, "reused": True, "error": "bad_status", "status": 503}
SOUND: Final[Entries] = [
    said("00.000000", "ready", api="http://127.0.0.1:8080/api/first"),
    request(
        FIRST, "01.000000", "first", 153.2, status=200, reason="success", timeout_ms=300,
        calls=[("cancelled", 152.8, CANCELLED), ("won", 152.6, KEPT)],
    ),
    request(
        ALL, "02.000000", "all", 240.1, status=200, reason="success", timeout_ms=1000,
        calls=[("ok", 239.9, KEPT), ("failed", 100.0, FAILED)],
    ),
    request(
        FAILS, "03.000000", "first", 80.4, status=500, reason="no_success", timeout_ms=1000,
        calls=[("failed", 80.0, FAILED), ("failed", 10.0, FAILED)],
    ),
    request(
        LATE, "04.000000", "all", 280.6, status=500, reason="deadline", timeout_ms=300,
        calls=[
            ("ok", 100.0, KEPT),
            ("cancelled", 280.3, {**CANCELLED, "cancelled_by": "deadline", "exit_ms": 0.3}),
        ],
    ),
    request(
        LEAVES, "05.000000", "first", 50.3, reason="client_disconnected", timeout_ms=1000,
        calls=[("cancelled", 50.2, CANCELLED), ("cancelled", 50.1, CANCELLED)],
    ),
    request(REJECTED, "06.000000", "other", 0.1, status=503, reason="overloaded"),
    request(
        BUG, "07.000000", "first", 30.0, status=500, reason="internal", timeout_ms=1000,
        calls=[("internal", 29.9, {"kept": False}), ("cancelled", 29.9, CANCELLED)],
    ),
    said("07.000000", "bug in call 0", request_id=f"r-{BUG}", traceback="Traceback ..."),
    request(OTHER, "08.000000", "other", 0.2, status=404, reason="not_found"),
    said("09.000000", "draining: 0 requests in flight"),
    said("09.500000", "stopped"),
]  # fmt: skip


def check(entries: Entries, tmp_path: Path, *options: str) -> Result:
    path = tmp_path / "fanout.log"
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    return CliRunner().invoke(cli, ["check-trace", str(path), *options])


def results(entries: Entries, tmp_path: Path, *options: str) -> dict[str, str]:
    run = check(entries, tmp_path, "--json", *options)
    return {name: found["result"] for name, found in json.loads(run.stdout)["formulas"].items()}


def test_what_a_sound_log_shows_and_what_it_does_not(tmp_path: Path) -> None:
    run = check(SOUND, tmp_path)
    assert run.exit_code == 0, run.output
    assert results(SOUND, tmp_path) == {
        **dict.fromkeys(("G1", "G2", "G3", "G4", "G5", "G7", "G8", "G9", "G11"), "kept in part"),
        "G6": "kept",
        "G10": "not visible",
        "G12": "not visible",
    }
    assert run.output.startswith("8 requests in 12 lines\n")
    assert "\nG12  not visible                -  not visible without threads_started\n" in run.output


def changed(number: int, *, call: int | None = None, **fields: Any) -> Callable[[Entries], Entries]:
    """The log, with one request, or a call of it, changed. `None`: the field is left out."""

    def of(entries: Entries) -> Entries:
        entries = json.loads(json.dumps(entries))
        (entry,) = [
            entry for entry in entries if entry.get("request_id") == f"r-{number}" and "used_ms" in entry
        ]
        entry = entry if call is None else entry["calls"][call]
        entry.update(fields)
        for name in [name for name, value in fields.items() if value is None]:
            del entry[name]
        return sorted(entries, key=lambda entry: str(entry["time"]))

    return of


def without(message: str) -> Callable[[Entries], Entries]:
    return lambda entries: [entry for entry in entries if not entry["message"].startswith(message)]


def with_line(entry: Entry) -> Callable[[Entries], Entries]:
    """Behind all others but the last."""
    return lambda entries: [*entries[:-1], entry, entries[-1]]


TAMPERINGS: Final[tuple[tuple[str, str, Callable[[Entries], Entries]], ...]] = (
    ("G1", "no answer, and no disconnect", changed(ALL, status=None)),
    ("G2", "a late answer", changed(FIRST, used_ms=300.5)),
    ("G2", "an answer late by a fraction", changed(LATE, used_ms=300.3)),
    ("G2", "a race that ends late", changed(LATE, used_ms=900.0, timeout_ms=5000)),
    ("G3", "a call that outlives its answer", changed(FIRST, call=0, ended_ms=153.9)),
    ("G3", "a call that never ends", changed(FIRST, call=0, ended_ms=None)),
    ("G3", "an asyncio task is left", changed(FIRST, call=0, left=["work at a.py:1"])),
    (
        "G3",
        "the leak check finds a permit",
        with_line(said("09.1", "1 admission tokens are taken by requests that have been answered")),
    ),
    ("G4", "the loser is waited for", changed(FIRST, used_ms=290.0)),
    ("G4", "a failure wins", changed(FIRST, call=1, outcome="failed")),
    ("G4", "the second success wins", changed(FIRST, call=0, outcome="ok", ended_ms=100.0)),
    ("G4", "a failure that waits for the deadline", changed(FAILS, used_ms=900.0)),
    ("G4", "a success at the deadline is discarded", changed(FAILS, call=0, outcome="ok")),
    ("G5", "a call was cancelled", changed(ALL, call=1, outcome="cancelled")),
    ("G5", "nothing has succeeded", changed(ALL, call=0, outcome="failed")),
    ("G5", "the answer waits", changed(ALL, used_ms=900.0)),
    ("G5", "all had ended before the deadline", changed(LATE, call=1, outcome="failed")),
    ("G6", "a call runs on", changed(LEAVES, call=0, ended_ms=450.0)),
    ("G7", "a cancelled call's connection is kept", changed(FIRST, call=0, kept=True)),
    ("G8", "a rejection waits", changed(REJECTED, used_ms=400.0)),
    ("G8", "a rejection for no reason", changed(REJECTED, reason="success")),
    ("G9", "a request is served in the shutdown", changed(ALL, time="2026-11-28T12:00:09.4Z", used_ms=0.0)),
    ("G9", "a rejection before the shutdown", changed(REJECTED, reason="draining")),
    ("G9", "the server does not end", lambda entries: [*entries[:-1], said("11.0", "stopped")]),
    (
        "G9",
        "a request in flight gets no answer",
        changed(ALL, time="2026-11-28T12:00:09.2Z", status=None, reason="success", used_ms=1000.0),
    ),
    ("G11", "a bug without a report", without("bug in")),
    ("G11", "a bug that is answered 200", changed(BUG, status=200)),
)  # fmt: skip


@pytest.mark.parametrize(
    ("guarantee", "what", "tamper"), TAMPERINGS, ids=[f"{name}: {what}" for name, what, _ in TAMPERINGS]
)
def test_a_log_that_was_tampered_with_is_red(
    guarantee: str, what: str, tamper: Callable[[Entries], Entries], tmp_path: Path
) -> None:
    run = check(tamper(SOUND), tmp_path)
    assert run.exit_code == 1, run.output
    assert results(tamper(SOUND), tmp_path)[guarantee] == "broken", run.output


def test_every_formula_that_a_log_shows_was_seen_broken(tmp_path: Path) -> None:
    visible = {name for name, word in results(SOUND, tmp_path).items() if word != "not visible"}
    assert {guarantee for guarantee, *_ in TAMPERINGS} == visible


def test_the_allowance_is_for_what_happens_at_once_and_not_for_a_late_answer(tmp_path: Path) -> None:
    waits = changed(ALL, used_ms=900.0)(SOUND)
    assert check(waits, tmp_path, "--allowance-ms", "1000").exit_code == 0
    late = changed(FIRST, used_ms=300.5)(SOUND)
    assert check(late, tmp_path, "--allowance-ms", "1000").exit_code == 1


def test_a_bug_may_be_reported_behind_its_request_and_in_another_server_it_is_another(tmp_path: Path) -> None:
    report = next(entry for entry in SOUND if entry["message"].startswith("bug"))
    others = [entry for entry in SOUND if entry is not report]
    assert check([report, *others], tmp_path).exit_code == 0
    too_late = [*others[:-2], {**request(99, "59.0", "other", 0.1, status=404, reason="not_found")}, report]
    assert results(too_late, tmp_path)["G11"] == "broken"


def test_with_workers_nothing_is_said_about_the_shutdown(tmp_path: Path) -> None:
    """The lines about requests do not say which worker had them, and each begins its shutdown by itself."""
    entries = [entry | {"worker": 1} if entry["message"].startswith("draining") else entry for entry in SOUND]
    entries = [entries[0], said("00.1", "worker 1 is ready") | {"worker": 1}, *entries[1:]]
    served = changed(ALL, time="2026-11-28T12:00:09.4Z", used_ms=0.0)(entries)
    assert results(served, tmp_path)["G9"] == "not visible"


def test_a_second_start_in_one_log_is_a_new_run(tmp_path: Path) -> None:
    later = [json.loads(json.dumps(entry).replace("T12:", "T13:")) for entry in SOUND]
    assert check([*SOUND, *later], tmp_path).exit_code == 0


def test_receipts_as_the_server_gives_them_show_more(tmp_path: Path) -> None:
    """With `X-Fanout-Receipt`, and on the live page: they have the reserve and the starts of calls."""
    receipt = line_of_receipt()
    found = results([receipt], tmp_path)
    assert (found["G4"], found["G10"]) == ("kept in part", "kept in part")
    receipt["calls"][0]["phases"][0][1] += 500.0
    assert results([receipt], tmp_path)["G10"] == "broken"


async def test_what_the_log_says_of_leaks_and_bugs_is_what_the_monitor_knows(tmp_path: Path) -> None:
    """The sentences are those that the server logs: each is made by the code that says it."""
    path = tmp_path / "server.log"
    with path.open("w") as stream:
        logs = configure_logging("info", "json", stream)
        check_ = LeakCheck(permits_taken=lambda: 5, connections_in_use=lambda: 5)
        trio.lowlevel.add_instrument(check_)
        request_ = check_.begin("r-1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 0)
            check_.end(request_)
        trio.lowlevel.remove_instrument(check_)
        LogObserver().notify(BugFound("r-2", "call 0", ValueError("for the test"), 0.0))
        logs.writer.close()
        logger.remove()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 4
    crashed = changed(BUG, request_id="r-2")(SOUND)
    found = json.loads(check([*lines, *without("bug in")(crashed)], tmp_path, "--json").stdout)
    assert found["formulas"]["G3"]["broken"] == 3
    assert found["formulas"]["G11"]["result"] == "kept in part"


@pytest.mark.parametrize(
    ("time_left_ms", "result"),
    [(970, "kept in part"), (969, "kept in part"), (None, "kept in part"), (968, "broken"), (1500, "broken")],
)
def test_what_an_upstream_was_sent_is_compared_with_the_receipts_clock(
    time_left_ms: int | None, result: str, tmp_path: Path
) -> None:
    """Its request was sent 10 ms after the arrival, and its race had 980 ms."""
    entry = line_of_receipt()
    for call in entry["calls"]:
        call["time_left_ms"] = time_left_ms
    assert results([entry], tmp_path)["G2"] == result


@pytest.mark.parametrize(
    ("outcome", "because", "result"),
    [
        ("cancelled", TOO_LATE.reason, "kept in part"),
        ("not_started", TOO_LATE.reason, "kept in part"),
        ("cancelled", None, "broken"),
        ("cancelled", "another reason", "broken"),
    ],
)
def test_a_race_ends_early_only_when_there_is_too_little_time_for_a_call(
    outcome: str, because: str | None, result: str, tmp_path: Path
) -> None:
    """The answer comes 200 ms before the end of the race."""
    entry = line_of_receipt() | {"status": 500, "reason": "deadline", "used_ms": 780.0}
    entry["calls"] = [
        call | {"outcome": outcome, "cancel_source": "deadline", "cancel_reason": because, "ended_ms": 779.0}
        for call in entry["calls"]
    ]
    assert results([entry], tmp_path)["G2"] == result
