"""How each call ends, and what each request may be answered: facts made by hand, and what comes of them."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nextafter
from typing import Any, Final

import pytest

from fanout.testing.world.dues import budget_ends, call_starts_by, dues_of, is_due, race_ends
from fanout.testing.world.endings import ending
from fanout.testing.world.facts import Attempt, CallFacts, RequestFacts
from fanout.testing.world.oracle import CRASH, INSTANT_S, NEVER, TOO_LATE, CallEnd, Due, Span, at
from fanout.testing.world.plan import CallScript, Dialling, DialScript, Plan, RequestScript, Stall
from tests.testing.world.made import SLOW, answered, asked, called, connection, ended_run, wire
from tests.testing.world.plans import race

HANGS: Final = CallEnd(NEVER, "hang")
PLAN: Final = Plan(())
LATENT: Final = Plan((), upstream_latency_ms=30)


def end_of(call: CallFacts | None, plan: Plan = PLAN, slack_s: float = 0.0) -> CallEnd:
    return ending(call, plan, slack_s)


def test_a_call_that_got_nowhere_never_ends() -> None:
    nowhere = called()
    nowhere.attempts.clear()
    assert (end_of(None), end_of(nowhere)) == (HANGS, HANGS)


def test_a_right_answer_comes_after_its_delay_and_the_way_back() -> None:
    call = called(started_at=2.0, delay_ms=40)
    assert end_of(call) == CallEnd(at(2.0 + 0.04 + 0.0), None, 40, "w1.0")
    assert end_of(call, LATENT) == CallEnd(at(2.0 + 0.04 + 0.03), None, 40, "w1.0")
    assert end_of(call, LATENT, 0.5).when == Span(2.0 + 0.04 + 0.03, 2.0 + 0.04 + 0.03 + 0.5)


@pytest.mark.parametrize(
    ("fault", "kind", "tag"),
    [
        ("gzip", None, "w1.0"),
        ("extra_members", None, None),
        ("status", "bad_status", "w1.0"),
        ("not_json", "bad_payload", "w1.0"),
        ("rst_before_head", "broken", "w1.0"),
    ],
)
def test_a_fault_is_taken_for_what_the_table_says(fault: str, kind: str | None, tag: str | None) -> None:
    assert end_of(called(None, CallScript(fault, 70))) == CallEnd(at(0.07), kind, 70, tag)


@pytest.mark.parametrize("fault", ["hang_before_head", "hang_mid_head", "hang_mid_body"])
def test_an_upstream_that_hangs_does_so_for_ever(fault: str) -> None:
    assert end_of(called(None, CallScript(fault, 70))) == HANGS


def test_a_drip_takes_its_time() -> None:
    script = CallScript("drip", 50, drip_ms=200)
    assert end_of(called(None, script)) == CallEnd(at(0.05 + 0.0 + 0.2), None, 50, "w1.0")
    other = CallScript("gzip", 50, drip_ms=200)
    assert end_of(called(None, other)).when == at(0.05)


@pytest.mark.parametrize(
    "fault",
    [
        *("huge_head", "endless_head", "endless_informational", "huge_body", "huge_chunked"),
        *("gzip_bomb", "deep_json", "time_digits"),
    ],
)
def test_what_is_large_comes_a_window_at_a_time(fault: str) -> None:
    """A window of 64 KiB takes three and a bit for 200,000 bytes."""
    call = called(None, CallScript(fault, 50))
    assert end_of(call, LATENT).when == Span(0.05 + 0.03, 0.05 + 0.03 + 0.03 * 4)
    small = Plan((), upstream_latency_ms=30, upstream_window_bytes=1000)
    assert end_of(call, small).when == Span(0.05 + 0.03, 0.05 + 0.03 + 0.03 * 200)
    assert end_of(called(None, CallScript("empty", 50)), LATENT).when == at(0.05 + 0.03)


LAST_WORDS: Final = ("late_408", "close_idle", "rst_idle", "close_at_once", "cut_after_answer")


@pytest.mark.parametrize(("fault", "is_heard"), [*((word, False) for word in LAST_WORDS), ("gzip", True)])
def test_a_call_over_a_connection_that_is_about_to_end_gets_no_answer(fault: str, is_heard: bool) -> None:
    shared = wire()
    request = asked(connection())
    called(request, CallScript("late_408"), Attempt(wire=shared, sent_at=0.0))
    called(request, CallScript(fault), Attempt(wire=shared, sent_at=0.0))
    third = called(
        request, CallScript(delay_ms=9), Attempt(wire=shared, sent_at=1.0, reused=True), arrivals=[1.0]
    )
    assert end_of(third) == (CallEnd(at(1.0 + 0.009), None, 9, "w1.2") if is_heard else HANGS)
    third.attempts[0].reused = False
    assert end_of(third).error is None


@pytest.mark.parametrize(
    ("sent_at", "arrivals", "is_heard"),
    [
        (None, [1.0], False),
        (1.0, [], False),
        (1.0, [0.5], False),  # of the attempt before
        (1.0, [0.5, 1.0], True),
        (1.0, [1.5], True),
    ],
)
def test_a_request_that_the_upstream_has_not_read_gets_no_answer(
    sent_at: float | None, arrivals: list[float], is_heard: bool
) -> None:
    call = called(None, None, Attempt(wire=wire(), sent_at=sent_at), arrivals=arrivals)
    assert (end_of(call) != HANGS) is is_heard


def test_a_connection_that_is_spoilt_breaks_the_call_and_one_that_is_silent_does_not() -> None:
    for how in ("accept_rst", "accept_fin"):
        call = called(None, None, Attempt(wire=wire(how, 2.0), sent_at=2.0), arrivals=[2.0])
        assert end_of(call, LATENT) == CallEnd(at(2.0 + 0.03), "broken")
    call = called(None, None, Attempt(wire=wire("accept_hang"), sent_at=2.0), arrivals=[2.0])
    assert end_of(call, LATENT) == HANGS


@pytest.mark.parametrize(
    ("connected_at", "is_late"), [(0.4, False), (0.485, False), (0.4851, True), (0.49, True), (0.6, True)]
)
def test_a_connection_with_too_little_time_left_is_sent_nothing(connected_at: float, is_late: bool) -> None:
    """The race ends at 0.49 s, and a call needs 5 ms. What was sent all the same is not the same."""
    plan = Plan((), reserve_ms=10, min_call_ms=5)
    request = asked(connection(), race(1, timeout_ms=500))
    call = called(request, None, Attempt(wire=wire("ok", connected_at)), arrivals=[])
    assert end_of(call, plan) == (CallEnd(at(connected_at), TOO_LATE) if is_late else HANGS)
    assert end_of(call, plan, 0.25).error == TOO_LATE  # with a late event loop it may have been
    call.attempts[0].sent_at = connected_at
    assert end_of(call, plan) == HANGS


@pytest.mark.parametrize(
    ("in_flight", "slack_s", "stalls", "last"),
    [
        (0, 0.0, (), 490 / 1000 - 5 / 1000),
        (100, 0.0, (), 487 / 1000 - 5 / 1000),  # 0.03 ms each are kept for the answers
        (0, 0.125, (), 400 / 1000 - 0.125 - 5 / 1000),  # a late event loop may keep 100 ms
        (0, 0.0, (Stall(0, 1),), 400 / 1000 - 5 / 1000),
        (100, 0.0, (Stall(0, 1),), 397 / 1000 - 5 / 1000),
    ],
)
def test_to_the_instant_there_is_time_to_send_a_request(
    in_flight: int, slack_s: float, stalls: tuple[Stall, ...], last: float
) -> None:
    plan = Plan((), reserve_ms=10, min_call_ms=5, stalls=stalls)
    request = asked(connection(), race(1, timeout_ms=500), in_flight=in_flight)
    limit = last + INSTANT_S
    for connected_at, is_late in ((limit, False), (nextafter(limit, inf), True)):
        call = called(request, None, Attempt(wire=wire("ok", connected_at)), arrivals=[])
        assert (end_of(call, plan, slack_s).error == TOO_LATE) is is_late


@pytest.mark.parametrize(
    ("how", "outcome", "slack_s", "stalls", "error"),
    [
        ("accept_rst", "broken", 0.125, (), "broken"),
        ("accept_fin", "broken", 0.0, (Stall(0, 1),), "broken"),
        ("accept_rst", "broken", 0.0, (), TOO_LATE),  # that is no matter of opinion
        ("accept_rst", "too_late", 0.125, (Stall(0, 1),), TOO_LATE),
        ("ok", "broken", 0.125, (Stall(0, 1),), TOO_LATE),
    ],
)
def test_with_a_late_event_loop_a_spoilt_connection_may_have_been_in_time(
    how: Dialling, outcome: str, slack_s: float, stalls: tuple[Stall, ...], error: str
) -> None:
    plan = Plan((), reserve_ms=10, min_call_ms=5, stalls=stalls)
    request = asked(connection(), race(1, timeout_ms=500))
    call = called(request, None, Attempt(wire=wire(how, 0.49)), arrivals=[], outcome=outcome)
    assert end_of(call, plan, slack_s).error == error


def test_a_call_is_started_as_long_as_there_is_the_time_that_it_needs() -> None:
    request = asked(connection(), race(1, timeout_ms=500))
    ended = ended_run(plan=Plan((), reserve_ms=10, min_call_ms=5))
    request.deadline_at = 0.2  # made to come, and no part of the budget
    found = call_starts_by(request, 2.0, 0.25, ended)
    assert (found.earliest, found.latest) == pytest.approx((2.485 - 0.25, 2.485))
    assert budget_ends(request, 2.0, 0.0, ended) == at(2.49)


def dialled(*dials: tuple[float, Any, int], **facts: Any) -> CallFacts:
    """A call that dials: when, what it met, after how many milliseconds."""
    met = [(begun_at, DialScript(how, after_ms)) for begun_at, how, after_ms in dials]
    return called(None, None, Attempt(dials=met, **facts), arrivals=[0.0])


@pytest.mark.parametrize(
    ("dials", "addresses", "expected"),
    [
        ([(0.0, "refuse", 500)], 1, CallEnd(at(0.5), "unreachable")),
        ([(0.0, "refuse", 500), (0.25, "refuse", 125)], 2, CallEnd(at(0.5), "unreachable")),
        ([(0.0, "refuse", 500)], 2, HANGS),  # there is another address
        ([(0.0, "refuse", 500), (0.25, "hang", 0)], 2, HANGS),
        ([(0.0, "hang", 0)], 1, HANGS),
    ],
)
def test_a_call_is_unreachable_when_every_address_has_refused(
    dials: list[tuple[float, str, int]], addresses: int, expected: CallEnd
) -> None:
    assert end_of(dialled(*dials), Plan((), addresses=addresses)) == expected


def test_a_crash_while_it_dials_is_a_bug_unless_it_was_connected_before() -> None:
    assert end_of(dialled((1.0, "crash", 500))) == CallEnd(at(1.5), CRASH)
    assert end_of(dialled((1.0, "crash", 500), (1.25, "crash", 125))) == CallEnd(at(1.375), CRASH)
    assert end_of(dialled((1.0, "refuse", 250), (1.0, "crash", 500))) == CallEnd(at(1.5), CRASH)
    late = wire(connected_at=1.5)
    assert end_of(dialled((1.0, "crash", 500), wire=late, sent_at=1.5)).error == CRASH
    on_time = 1.0 + INSTANT_S
    assert end_of(dialled((on_time, "crash", 0), wire=wire(connected_at=1.0), sent_at=0.0)).error == CRASH
    by_then = wire(connected_at=1.0)
    sound = dialled((nextafter(on_time, inf), "crash", 0), wire=by_then, sent_at=0.0)
    assert end_of(sound).error is None


# What one request may be answered


def words(dues: Sequence[Due]) -> list[tuple[int, str, float, float]]:
    return [(due.status, due.reason, due.when.earliest, due.when.latest) for due in dues]


def dues(request: RequestFacts, slack_s: float = 0.0, arrived_at: float = 0.0, **facts: Any) -> list[Due]:
    return dues_of(request, arrived_at, slack_s, ended_run(request.connection, drained_at=10.0, **facts))


FIXED: Final = RequestScript(1, b"GET / HTTP/1.1\r\nhost: a\r\n", "fixed", status=303, reason="no reason")


def test_a_fixed_answer_is_due_at_once() -> None:
    request = asked(connection(), FIXED, entered_at=2.0)
    assert words(dues(request)) == [(303, "no reason", 2.0, 2.0)]
    assert words(dues(request, slack_s=0.5)) == [(303, "no reason", 2.0, 2.5)]


def test_a_full_server_has_nothing_but_a_503_for_it() -> None:
    """G8."""
    request = asked(connection(), entered_at=2.0, was_full=True)
    assert words(dues(request, slack_s=0.5)) == [(503, "overloaded", 2.0, 2.5)]


DRAINED_BY: Final = 10.0 + 0 + INSTANT_S


@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize(
    ("entered_at", "may_drain", "may_be_served"),
    [
        (nextafter(10.0 - INSTANT_S, -inf), False, True),
        (10.0 - INSTANT_S, True, True),
        (DRAINED_BY, True, True),
        (nextafter(DRAINED_BY, inf), True, False),
    ],
)
def test_in_the_instant_of_the_drain_a_request_may_be_served_or_rejected(
    entered_at: float, may_drain: bool, may_be_served: bool, is_full: bool
) -> None:
    """G9."""
    request = asked(connection(), FIXED, entered_at=entered_at, was_full=is_full)
    usual = (503, "overloaded") if is_full else (303, "no reason")
    expected = [(503, "draining")] * may_drain + [usual] * may_be_served
    assert [(due.status, due.reason) for due in dues(request, slack_s=0.25)] == expected
    assert all(due.when == Span(entered_at, entered_at + 0.25) for due in dues(request, slack_s=0.25))


@pytest.mark.parametrize("ask", ["first", "all"])
def test_of_a_race_it_is_what_the_oracle_says_of_its_calls(ask: str) -> None:
    scripts = CallScript(delay_ms=300), CallScript(delay_ms=100), CallScript(delay_ms=200)
    request = asked(connection(), race(1, *scripts, ask=ask, timeout_ms=500))
    called(request, scripts[0])
    called(request, scripts[1])
    if ask == "first":
        (due,) = dues(request)
        assert (due.status, due.when) == (200, at(0.1))
        assert [call.tag for call in due.calls] == ["w1.1"]
        deadline = dues(request, slack_s=9.0, stalls=[(0.0, 9.0)])[-1]
        assert (deadline.reason, deadline.when.latest) == ("deadline", 500 / 1000 - 10 / 1000 + 9.0)
    else:  # the third was never made
        assert words(dues(request)) == [(500, "deadline", 0.49, 0.49)]
    assert words(dues(request, arrived_at=0.05)) == [  # and the race ends as much later
        (due.status, due.reason, *times_of(due, 0.05)) for due in dues(request)
    ]


def test_of_an_own_strategy_it_is_what_its_oracle_says() -> None:
    """The oracle also receives the calls that were not made, and how late the loop may be."""
    request = asked(connection(), race(1, SLOW, SLOW, ask="own", timeout_ms=500), entered_at=10.0)
    call = called(request)
    heard: list[Any] = []

    def oracle(*said: Any) -> list[Due]:
        heard.append(said)
        return [Due(200, "", at(10.1))]

    found = dues(request, slack_s=0.25, arrived_at=9.9, oracle=oracle, stalls=[(9.8, 10.05)])
    assert words(found) == [(503, "draining", 10.0, 10.25), (200, "", 10.1, 10.1)]
    ((of, calls, arrived_at, ends),) = heard
    assert (of, calls, arrived_at) == (request, [end_of(call, slack_s=0.25), HANGS], 9.9)
    assert (ends.earliest, ends.latest) == pytest.approx((9.9 + 0.4, 9.9 + 0.49 + 0.25))


def times_of(due: Due, later_s: float) -> tuple[float, float]:
    moved = later_s if due.reason == "deadline" else 0.0
    return due.when.earliest + moved, due.when.latest + moved


@pytest.mark.parametrize(
    ("in_flight", "reserve_ms"), [(0, 10), (100, 10 + 0.03 * 100), (10_000, 10 + 150.0), (4000, 10 + 120.0)]
)
def test_a_race_ends_the_time_reserve_before_the_deadline(in_flight: int, reserve_ms: float) -> None:
    """G2. So much is kept for each request in flight, and never more than 150 ms for all of them."""
    request = asked(connection(), race(1, timeout_ms=500), in_flight=in_flight)
    assert race_ends(request, 2.0, 0.0, ended_run()) == at(2.0 + (500 - reserve_ms) / 1000)


@pytest.mark.parametrize(
    ("stalls", "reserve_ms", "slack_s", "expected"),
    [
        ([], 10, 0.5, at(2.0 + 490 / 1000)),
        ([(2.0 + 490 / 1000, 3.0)], 10, 0.5, Span(2.49 - 90 / 1000, 2.49 + 0.5)),
        ([(nextafter(2.0 + 490 / 1000, inf), 3.0)], 10, 0.5, at(2.49)),
        ([(0.0, 0.1), (9.0, 9.1)], 10, 0.0, Span(2.49 - 90 / 1000, 2.49)),
        ([(0.0, 0.1)], 100, 0.0, at(2.0 + 400 / 1000)),
        ([(0.0, 0.1)], 120, 0.0, at(2.0 + 380 / 1000)),  # what is set is more than a late loop asks for
        ([(0.0, 0.1)], 600, 0.25, Span(2.0 - 100 / 1000, 2.0 + 0.25)),
    ],
)
def test_a_loop_that_has_stalled_may_keep_up_to_100_ms(
    stalls: list[tuple[float, float]], reserve_ms: int, slack_s: float, expected: Span
) -> None:
    """And its timers are late by as long as it stalls."""
    request = asked(connection(), race(1, timeout_ms=500))
    ended = ended_run(plan=Plan((), reserve_ms=reserve_ms), stalls=stalls)
    found = race_ends(request, 2.0, slack_s, ended)
    assert (found.earliest, found.latest) == pytest.approx((expected.earliest, expected.latest), abs=1e-12)


OK: Final = CallEnd(at(1.0), None, 7, "w1.0")
OTHER: Final = CallEnd(at(1.0), None, 8, None)


@pytest.mark.parametrize(
    ("due", "status", "said", "is_it"),
    [
        (Due(200, "", at(1.0), (OK,)), 200, {"time": 7, "tag": "w1.0"}, True),
        (Due(200, "", at(1.0), (OK,)), 500, {"time": 7, "tag": "w1.0"}, False),
        (Due(200, "", at(1.1), (OK,)), 200, {"time": 7, "tag": "w1.0"}, False),
        (Due(200, "", at(1.0), (OK,)), 200, {"time": 8, "tag": "w1.0"}, False),
        (Due(200, "", at(1.0), (OK,)), 200, {"time": 7, "tag": "w1.1"}, False),
        (Due(200, "", at(1.0), (OTHER,)), 200, {"time": 8}, True),
        (Due(200, "", at(1.0), (OTHER,)), 200, {"time": 8, "tag": "x"}, False),
        (Due(200, "", at(1.0), (CallEnd(at(1.0)),)), 200, {"time": 0}, True),  # unless it says something else
        (Due(500, "deadline", at(1.0)), 500, {"reason": "deadline"}, True),
        (Due(500, "deadline", at(1.0)), 500, {"reason": "no_success"}, False),
    ],
)
def test_an_answer_is_the_one_that_is_due(due: Due, status: int, said: dict[str, Any], is_it: bool) -> None:
    one = connection()
    asked(one)
    assert is_due(answered(one, status, 1.0, **said), due, head_only=False) is is_it


BOTH: Final = b'[{"time": 7, "tag": "w1.0"}, {"time": 8}]'


@pytest.mark.parametrize(
    ("calls", "is_it"), [((OK, OTHER), True), ((OTHER, OK), False), ((OK,), False), ((OK, OTHER, OK), False)]
)
def test_of_every_success_each_payload_is_in_its_place(calls: tuple[CallEnd, ...], is_it: bool) -> None:
    """G5."""
    one = connection()
    asked(one)
    assert (
        is_due(answered(one, 200, 1.0, payload=BOTH), Due(200, "", at(1.0), calls), head_only=False) is is_it
    )


def test_a_problem_says_how_each_call_failed() -> None:
    one = connection()
    asked(one)
    answer = answered(one, 500, 1.0, reason="no_success", calls=[{"error": "broken"}, {"error": "hang"}])
    for errors, is_it in ((("broken", "hang"), True), (("hang", "broken"), False), ((), True)):
        due = Due(500, "no_success", at(1.0), errors=errors)
        assert is_due(answer, due, head_only=False) is is_it


def test_of_an_answer_without_its_whole_body_the_head_counts() -> None:
    one = connection()
    asked(one)
    asked(one)
    due = Due(200, "", at(1.0), (OK,))
    assert is_due(answered(one, 200, 1.0, payload=b"", fields={}), due, head_only=True)
    assert is_due(answered(one, 200, 1.0, last_at=None, payload=b'{"ti'), due, head_only=False)


def test_a_race_that_was_told_its_deadline_ends_then() -> None:
    """However long the loop stood still, and whatever the timeout of the request says."""
    request = asked(connection(), race(1, SLOW, SLOW, timeout_ms=500), deadline_at=0.125)
    assert race_ends(request, 0.0, 1.0, ended_run(stalls=[(0.0, 1.0)])) == at(0.125)
