"""From what the core tells to a receipt: one a request, whatever becomes of the request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import trio

from fanout.observe.observers import Receipts
from fanout.observe.receipt import CallReceipt, Receipt, make_receipt
from fanout.race.budget import Budget
from fanout.race.events import RaceRecord, RequestEnded
from fanout.race.ledger import CallRecord
from fanout.race.outcome import Cancelled, Failure, NotStarted, Outcome, Success
from fanout.race.timings import CallTimings, Headers
from fanout.race.verdict import Crashed, DeadlineReached, Every, NoSuccess, One, Verdict
from fanout.testing import ScriptedCall, answers, crashes, fails, hangs, run_scenario
from fanout.testing.scenario import Replay

GOOD = Success(b'{"time": 1}')


@dataclass(eq=False, slots=True)
class MarkedCall(ScriptedCall):
    """It marks what it is told to, and then does what a scripted call does."""

    names: tuple[str, ...] = ()

    async def __call__(self, timings: CallTimings) -> Success | Failure:
        for name in self.names:
            timings.mark(name)
            await trio.sleep(0.001)
        return await ScriptedCall.__call__(self, timings)


def receipts_of(replay: Replay) -> list[Receipt]:
    receipts = Receipts()
    for event in replay.events:
        receipts.notify(event)
    return list(receipts.latest)


def receipt_of(target: str, calls: list[ScriptedCall], **options: object) -> Receipt:
    (receipt,) = receipts_of(run_scenario(target, calls, **options))  # type: ignore[arg-type]  # each test's
    return receipt


def test_a_won_race_tells_who_won_and_how_soon_the_loser_was_gone() -> None:
    receipt = receipt_of("/api/first?timeout=700", [answers(100), hangs()], reserve_ms=20)
    assert (receipt.endpoint, receipt.status, receipt.reason) == ("first", 200, "success")
    assert (receipt.timeout_ms, receipt.reserve_ms) == (700, 20)
    assert receipt.used_ms == pytest.approx(100)
    winner, loser = receipt.calls
    assert (winner.outcome, winner.cancel_source, winner.cancel_to_exit_ms) == ("won", None, None)
    assert (loser.outcome, loser.cancel_source) == ("cancelled", "explicit")
    assert loser.cancel_reason == "call 0 settled the race"
    assert loser.cancel_to_exit_ms == 0


def test_the_time_from_cancel_to_exit_is_that_of_the_clean_up() -> None:
    careless = hangs()
    careless.cleanup_ms = 50
    receipt = receipt_of("/api/first", [answers(100), careless])
    assert receipt.calls[1].cancel_to_exit_ms == pytest.approx(50)


def test_at_the_deadline_it_counts_from_the_deadline() -> None:
    careless = hangs()
    careless.cleanup_ms = 7
    receipt = receipt_of("/api/all?timeout=200", [fails(10, "broken"), careless], reserve_ms=20)
    failed, cancelled = receipt.calls
    assert (receipt.endpoint, receipt.status, receipt.reason) == ("all", 500, "deadline")
    assert (failed.outcome, failed.error, failed.status) == ("failed", "broken", None)
    assert cancelled.cancel_source == "deadline"
    assert cancelled.cancel_to_exit_ms == pytest.approx(7)


def test_a_client_that_leaves_leaves_a_receipt() -> None:
    """G6: when the server learnt it, and how long the calls then took to be gone."""
    careless = hangs()
    careless.cleanup_ms = 30
    receipt = receipt_of("/api/all", [answers(50), careless], hang_up_after_ms=100)
    ok, cancelled = receipt.calls
    assert (receipt.status, receipt.reason) == (None, "client_disconnected")
    assert receipt.used_ms == pytest.approx(130)
    assert (ok.outcome, ok.cancel_to_exit_ms) == ("ok", None)
    assert cancelled.cancel_source == "explicit"
    assert cancelled.cancel_to_exit_ms == pytest.approx(30)
    assert cancelled.cancel_reason == "the client disconnected"


@pytest.mark.parametrize(
    ("target", "options", "status", "reason"),
    [
        ("/nowhere", {}, 404, "not_found"),
        ("/api/first?timeout=x", {}, 400, "invalid_timeout"),
        ("/api/first", {"method": "POST"}, 405, "method_not_allowed"),
        ("/openapi.json", {}, 200, "success"),
        ("/api/first", {"max_in_flight": 0}, 503, "overloaded"),
        ("/api/first", {"headers": [(b"content-length", b"1")]}, 413, "unexpected_body"),
    ],
)
def test_a_request_without_a_race_has_a_receipt_without_calls(
    target: str, options: dict[str, object], status: int, reason: str
) -> None:
    receipt = receipt_of(target, [answers(1)], **options)
    assert (receipt.endpoint, receipt.status, receipt.reason) == ("other", status, reason)
    assert (receipt.timeout_ms, receipt.calls) == (None, ())


def test_a_bug_is_internal_for_the_call_and_for_the_request() -> None:
    receipt = receipt_of("/api/first", [crashes(10), hangs()])
    assert (receipt.status, receipt.reason) == (500, "internal")
    assert [call.outcome for call in receipt.calls] == ["internal", "cancelled"]


def test_a_call_whose_time_was_over_was_not_started() -> None:
    receipt = receipt_of("/api/all?timeout=10", [hangs(), hangs()], reserve_ms=20)
    assert [call.outcome for call in receipt.calls] == ["not_started", "not_started"]
    assert [call.cancel_to_exit_ms for call in receipt.calls] == [None, None]


def test_a_late_answer_says_by_how_much() -> None:
    careless = hangs()
    careless.cleanup_ms = 50
    assert receipt_of("/api/first?timeout=100", [careless]).late_by_ms == pytest.approx(50)


@pytest.mark.parametrize(
    ("names", "reused", "kept"),
    [
        (("connect", "wait", "receive", "done", "kept"), False, True),
        (("reused", "wait", "receive", "done", "kept"), True, True),
        (("reused", "wait", "receive", "done"), True, False),
        (("reused", "wait", "retry", "connect", "wait"), False, False),
        ((), None, None),
    ],
)
def test_the_marks_tell_the_phases_and_what_became_of_the_connection(
    names: tuple[str, ...], reused: bool | None, kept: bool | None
) -> None:
    receipt = receipt_of("/api/first", [MarkedCall(0, GOOD, names=names)])
    (call,) = receipt.calls
    assert tuple(name for name, _ in call.phases) == names
    assert [at for _, at in call.phases] == pytest.approx([i / 1000 for i in range(len(names))])
    assert (call.reused, call.kept) == (reused, kept)


class Trace:
    trace_id = "0af7651916cd43dd8448eb211c80319c"

    def headers(self, call: int) -> Headers:
        return ()


def ended(
    outcome: Outcome,
    *,
    ended_at: float = 2.0,
    left_at: float | None = None,
    settled_at: float | None = None,
) -> RequestEnded:
    """A request of one call that ran from second 1, with a race that ends at second 3."""
    call = CallRecord(0, 1.0, ended_at, outcome)
    race = RaceRecord("quorum", Budget(1.0, 2000, 0), None, (call,), settled_at)
    return RequestEnded("r", Trace(), 1.0, None, "client_disconnected", 0.0, left_at, race, ended_at)


def test_when_nobody_says_when_it_was_cancelled_nothing_is_made_up() -> None:
    """A process that is told to stop at once, say."""
    receipts = Receipts()
    receipts.notify(ended(Cancelled("shutdown")))
    receipts.notify(ended(Cancelled("deadline")))  # before the race's own: another deadline
    assert [receipt.calls[0].cancel_to_exit_ms for receipt in receipts.latest] == [None, None]


@pytest.mark.parametrize(("left_at", "exit_ms"), [(1.25, 750), (1.75, 500)])
def test_of_two_cancellations_the_first_one_counts(left_at: float, exit_ms: float) -> None:
    """The race was settled at second 1.5, and the client left before it, or while the loser cleaned up."""
    receipts = Receipts()
    receipts.notify(ended(Cancelled("explicit", "why"), left_at=left_at, settled_at=1.5))
    assert receipts.latest[0].calls[0].cancel_to_exit_ms == exit_ms


def test_a_traced_request_has_its_trace_and_a_new_strategy_its_name() -> None:
    receipts = Receipts()
    receipts.notify(event := ended(Cancelled("explicit"), left_at=1.75))
    (receipt,) = receipts.latest
    assert (receipt.trace_id, receipt.endpoint) == (Trace.trace_id, "quorum")
    assert receipt.trace is event.trace
    assert (receipt.calls[0].cancel_reason, receipt.calls[0].cancel_to_exit_ms) == (
        "the client disconnected",
        250,
    )


def test_only_the_latest_are_kept_and_every_one_is_handed_on() -> None:
    seen: list[Receipt] = []
    receipts = Receipts([seen.append], kept=2)
    for second in (1.5, 1.6, 1.7):
        receipts.notify(ended(Cancelled("explicit"), ended_at=second))
    assert [receipt.ended_at for receipt in receipts.latest] == [1.6, 1.7]
    assert len(seen) == 3


def test_a_consumer_that_raises_costs_the_next_one_nothing() -> None:
    def broken(receipt: Receipt) -> None:
        raise ZeroDivisionError

    seen: list[Receipt] = []
    Receipts([broken, seen.append]).notify(ended(Cancelled("explicit")))
    assert len(seen) == 1


def test_two_requests_with_one_id_are_two_receipts() -> None:
    """The id is the client's to choose: a hostile one cannot mix up what belongs to whom."""
    headers = [(b"x-request-id", b"same")]
    first = receipt_of("/api/first", [answers(1)], headers=headers)
    second = receipt_of("/api/all", [fails(1)], headers=headers)
    assert (first.request_id, second.request_id) == ("same", "same")
    assert (first.reason, second.reason) == ("success", "no_success")


def test_in_json_times_count_from_the_arrival() -> None:
    receipts = Receipts()
    receipts.notify(ended(Cancelled("explicit"), left_at=1.75))
    said = receipts.latest[0].to_json()
    assert said["used_ms"] == 1000
    (call,) = said["calls"]
    assert (call["started_ms"], call["ended_ms"], call["cancel_to_exit_ms"]) == (0, 1000, 250)


CALL = CallReceipt(
    call=1,
    outcome="cancelled",
    error="broken",
    status=299,
    started_at=10.1,
    ended_at=10.23456789,
    phases=(("connect", 10.1), ("wait", 10.2)),
    reused=True,
    kept=False,
    cancel_source="explicit",
    cancel_reason="why",
    cancel_to_exit_ms=0.98765,
    left=("a place",),
    time_left_ms=77,
)
CALL_IN_JSON = {
    "upstream": 1,
    "outcome": "cancelled",
    "error": "broken",
    "status": 299,
    "started_ms": 100.0,
    "ended_ms": 234.568,
    "phases": [["connect", 100.0], ["wait", 200.0]],
    "reused": True,
    "kept": False,
    "cancel_source": "explicit",
    "cancel_reason": "why",
    "cancel_to_exit_ms": 0.988,
    "left": ["a place"],
    "time_left_ms": 77,
}
WHOLE = Receipt(
    request_id="id-1",
    trace_id="ab" * 16,
    endpoint="first",
    arrived_at=10.0,
    timeout_ms=1100,
    reserve_ms=22.56789,
    ended_at=11.2345,
    used_ms=1234.56789,
    status=201,
    reason="deadline",
    late_by_ms=345.67891,
    calls=(CALL,),
    timeout_from="header",
)
WHOLE_IN_JSON = {
    "request_id": "id-1",
    "trace_id": "ab" * 16,
    "endpoint": "first",
    "timeout_ms": 1100,
    "timeout_from": "header",
    "reserve_ms": 22.568,
    "used_ms": 1234.568,
    "status": 201,
    "reason": "deadline",
    "late_by_ms": 345.679,
    "calls": [CALL_IN_JSON],
}


def test_each_member_in_json_is_the_receipts() -> None:
    assert WHOLE.to_json() == WHOLE_IN_JSON
    nothing = CALL._replace(started_at=None, ended_at=None, phases=(), cancel_to_exit_ms=None, left=())
    assert nothing.to_json(10.0) == {
        **CALL_IN_JSON,
        "started_ms": None,
        "ended_ms": None,
        "phases": [],
        "cancel_to_exit_ms": None,
        "left": [],
    }
    ordinary = CallReceipt(*CALL[:12])
    assert ordinary.to_json(10.0) == {**CALL_IN_JSON, "left": [], "time_left_ms": None}
    assert WHOLE._replace(reserve_ms=None).to_json()["reserve_ms"] is None


def recorded(*calls: CallRecord, **changes: Any) -> RequestEnded:
    race = RaceRecord("first_success", Budget(1.0, 2000, 12.5, "header"), NoSuccess(), calls, None)
    event = RequestEnded(
        *("r", Trace(), 1.0, 500, None, 0.25, None, race, 3.5),
        method="PUT",
        raw_path=b"/\xe4" + b"/" * 300,
        client=("192.0.2.1", 7),
    )
    return event._replace(**changes)


def test_a_receipt_is_made_of_every_member_of_its_event() -> None:
    receipt = make_receipt(event := recorded())
    assert receipt == Receipt(
        request_id="r",
        trace_id=Trace.trace_id,
        endpoint="first",
        arrived_at=1.0,
        timeout_ms=2000,
        reserve_ms=12.5,
        ended_at=3.5,
        used_ms=2500.0,
        status=500,
        reason="no_success",
        late_by_ms=250.0,
        calls=(),
        trace=event.trace,
        method="PUT",
        path="/ä" + "/" * 254,
        client=("192.0.2.1", 7),
        timeout_from="header",
    )
    assert make_receipt(recorded(trace=None)).trace_id is None
    assert make_receipt(recorded(reason="internal")).reason == "internal"
    other = make_receipt(recorded(race=None))
    assert (other.endpoint, other.reason, other.timeout_ms, other.reserve_ms) == (
        "other",
        "success",
        None,
        None,
    )


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (None, "client_disconnected"),
        (One(0, b"{}"), "success"),
        (Every((b"{}",)), "success"),
        (NoSuccess(), "no_success"),
        (DeadlineReached(), "deadline"),
        (Crashed(ZeroDivisionError()), "internal"),
    ],
)
def test_the_verdict_is_the_reason_unless_something_else_is(verdict: Verdict | None, reason: str) -> None:
    race = recorded().race
    assert race is not None
    assert make_receipt(recorded(race=race._replace(verdict=verdict))).reason == reason


MARKS = (("connect", 1.0), ("wait", 1.5), ("kept", 1.75))


@pytest.mark.parametrize(
    ("marks", "reused", "kept"),
    [
        (MARKS, False, True),
        (MARKS[:2], False, False),
        ((("reused", 1.0), ("wait", 1.5)), True, False),
        ((("reused", 1.0), ("connect", 1.2), ("kept", 1.5)), False, True),
        ((("wait", 1.5), ("kept", 1.75)), None, None),
        ((), None, None),
    ],
)
def test_a_call_says_what_became_of_its_connection(
    marks: tuple[tuple[str, float], ...], reused: bool | None, kept: bool | None
) -> None:
    (call,) = make_receipt(recorded(CallRecord(0, 1.0, 2.0, GOOD, marks, ("left",), 77))).calls
    assert call == CallReceipt(
        *(0, "ok", None, None, 1.0, 2.0, marks, reused, kept), None, None, None, ("left",), 77
    )


@pytest.mark.parametrize(
    ("cancelled", "times", "left_at", "settled_at", "exit_ms", "why"),
    [
        (Cancelled("deadline"), (1.0, 3.5), None, None, 512.5, None),
        (Cancelled("deadline"), (1.0, 3.5), 1.5, 1.25, 512.5, None),
        (Cancelled("deadline"), (1.0, 2.9875), None, None, 0.0, None),
        (Cancelled("explicit", "ours"), (1.0, 2.0), None, 1.5, 500.0, "ours"),
        (Cancelled("explicit"), (1.0, 2.0), None, 1.5, 500.0, None),
        (Cancelled("explicit"), (1.0, 2.0), 1.25, None, 750.0, "the client disconnected"),
        (Cancelled("explicit"), (1.0, 2.0), 1.25, 1.5, 750.0, "the client disconnected"),
        (Cancelled("explicit"), (1.0, 2.0), 1.5, 1.25, 750.0, None),
        (Cancelled("explicit"), (1.0, 2.0), 1.5, 1.5, 500.0, "the client disconnected"),
        (Cancelled("explicit"), (1.0, 2.0), None, None, None, None),
        (Cancelled("explicit"), (1.0, 2.0), None, 2.5, None, None),
        (Cancelled("explicit", "ours"), (1.0, 2.0), 1.25, None, 750.0, "ours"),
    ],
)
def test_who_cancelled_a_call_and_how_soon_it_was_gone(
    cancelled: Cancelled,
    times: tuple[float | None, float],
    left_at: float | None,
    settled_at: float | None,
    exit_ms: float | None,
    why: str | None,
) -> None:
    event = recorded(CallRecord(1, times[0], times[1], cancelled), client_left_at=left_at)
    assert event.race is not None
    (call,) = make_receipt(event._replace(race=event.race._replace(settled_at=settled_at))).calls
    assert (call.call, call.outcome, call.cancel_source) == (1, "cancelled", cancelled.source)
    assert call.cancel_to_exit_ms == pytest.approx(exit_ms)
    assert call.cancel_reason == why


def test_a_failed_call_has_its_word_and_the_upstreams_status() -> None:
    (call,) = make_receipt(recorded(CallRecord(0, 1.0, 2.0, Failure("bad_status", 503)))).calls
    assert (call.outcome, call.error, call.status, call.cancel_source) == ("failed", "bad_status", 503, None)


def test_a_call_that_was_not_started_says_why() -> None:
    (call,) = make_receipt(recorded(CallRecord(1, None, 2.0, NotStarted("not wanted")))).calls
    assert (call.outcome, call.cancel_source, call.cancel_reason) == ("not_started", None, "not wanted")
