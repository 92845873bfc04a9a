"""Where the judge's limits are: at a limit it says nothing, and beyond it, by the least there is, it does."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nextafter
from typing import Any, Final

import pytest

from fanout.testing.world.ended import Ended
from fanout.testing.world.facts import Attempt, CallFacts
from fanout.testing.world.judge import Violation, judge
from fanout.testing.world.judge_addresses import judge_addresses
from fanout.testing.world.judge_calls import judge_call
from fanout.testing.world.oracle import INSTANT_S
from fanout.testing.world.plan import CallScript, DialScript, Plan
from fanout.testing.world.trace import Trace
from fanout.testing.world.upstreams import SWALLOWED
from tests.testing.world.made import SLOW, answered, asked, called, connection, ended_run, wire
from tests.testing.world.plans import race


def after(limit: float) -> float:
    return nextafter(limit, inf)


def before(limit: float) -> float:
    return nextafter(limit, -inf)


def said(ended: Ended, of: str) -> list[str]:
    return [violation.what for violation in judge(ended) if violation.of == of]


def test_a_violation_says_of_whom() -> None:
    assert str(Violation("w7", "G3: it never ended")) == "w7: G3: it never ended"


def test_a_run_without_connections_is_sound() -> None:
    assert judge(ended_run()) == []


def test_what_a_run_has_not_counted_is_nothing_and_a_run_that_did_not_end_is_cut_off() -> None:
    """So that its trace has zeros where nothing was seen, and no server is blamed for what was cut off."""
    ended = Ended(Plan(()), Trace(kept=False), [], [])
    assert (ended.signalled_at, ended.drained_at, ended.ended_at) == (0.0, 0.0, 0.0)
    assert (ended.late_answers, ended.threads_started, ended.leak_checked, ended.dead_but_open) == (
        0,
        0,
        0,
        0,
    )
    assert (ended.ends, ended.left, ended.leaks, ended.pools) == ({}, {}, {}, [])
    assert (ended.wrong, ended.bugs_raised, ended.bugs_reported, ended.noted) == ([], [], [], [])
    assert (ended.oracle, ended.cut_off) == (None, True)


def test_what_was_noted_while_it_ran_is_said_of_whom_it_is_about() -> None:
    one, other = connection(3, left_at=0.0), connection(4, left_at=0.0)
    request = asked(one, race(7, SLOW))
    call = called(request, ended_at=0.0)
    call.attempts[0].closed_at = 0.0
    ended = ended_run(one, other, threads_started=2, wrong=["a", "b"])
    one.bad, other.bad, request.bad, call.bad = ["c"], ["d", "e"], ["f"], ["g"]
    assert [str(violation) for violation in judge(ended)] == [
        "server: a",
        "server: b",
        "server: G12: 2 threads were started",
        "c3: c",
        "c4: d",
        "c4: e",
        "w7: f",
        "w7.0: g",
    ]


@pytest.mark.parametrize(
    ("window_bytes", "stalls", "is_said"),
    [(65536, [], True), (2000, [], True), (1999, [], False), (65536, [(0.0, 0.1)], False)],
)
def test_late_answers_are_forgiven_to_slow_readers_and_stalls(
    window_bytes: int, stalls: list[tuple[float, float]], is_said: bool
) -> None:
    """G2."""
    plan = Plan((connection(window_bytes=window_bytes).client, connection().client))
    ended = ended_run(plan=plan, late_answers=3, stalls=stalls)
    assert said(ended, "server") == ["G2: it counts 3 late answers"] * is_said


DUE_AT: Final = 1.0 + 100 / 1000  # signalled, and then 100 ms as a lame duck
STALL: Final = [(1.1, 1.3)]
SLACK_S: Final = 1.3 - 1.1


@pytest.mark.parametrize(
    ("drained_at", "stalls", "is_said"),
    [
        (DUE_AT - INSTANT_S, [], False),
        (before(DUE_AT - INSTANT_S), [], True),
        (DUE_AT + INSTANT_S, [], False),
        (after(DUE_AT + INSTANT_S), [], True),
        (DUE_AT + SLACK_S + INSTANT_S, STALL, False),
        (after(DUE_AT + SLACK_S + INSTANT_S), STALL, True),
    ],
)
def test_the_drain_begins_when_the_time_as_a_lame_duck_ends(
    drained_at: float, stalls: list[tuple[float, float]], is_said: bool
) -> None:
    """G9."""
    ended = ended_run(plan=Plan((), lame_duck_ms=100), signalled_at=1.0, drained_at=drained_at, stalls=stalls)
    assert bool(said(ended, "server")) is is_said


@pytest.mark.parametrize(
    ("entered_at", "stalls", "last", "slack_s"),
    [
        (None, [], 1.0, 0),  # nothing was admitted
        (0.9, [], 0.9 + 500 / 1000, 0),
        (0.2, [], 1.0, 0),  # its deadline is before the drain
        (1.0 + 0 + INSTANT_S, [], 1.0 + 0 + INSTANT_S + 500 / 1000, 0),  # the last that may be admitted
        (after(1.0 + 0 + INSTANT_S), [], 1.0, 0),
        (0.9, [(1.2, 1.5)], 0.9 + 500 / 1000, 1.5 - 1.2),
    ],
)
def test_the_server_is_gone_a_second_after_the_last_admitted_deadline(
    entered_at: float | None, stalls: list[tuple[float, float]], last: float, slack_s: float
) -> None:
    """G9."""
    limit = last + 1 + slack_s + INSTANT_S
    told = []
    for closed_at in (limit, after(limit)):
        one = connection(left_at=0.0, closed_at=closed_at)
        asked(one, race(1, timeout_ms=500), read_at=None, entered_at=entered_at)
        ended = ended_run(
            one, connection(1, closed_at=0.0), connection(2), signalled_at=1.0, drained_at=1.0, stalls=stalls
        )
        told.append([what for what in said(ended, "server") if what.startswith("G9: drained from 1.0")])
    assert (told[0], len(told[1])) == ([], 1)


@pytest.mark.parametrize(
    ("first_at", "closes", "stalls", "is_said"),
    [
        (1.0 + INSTANT_S, False, [], False),
        (after(1.0 + INSTANT_S), False, [], True),
        (after(1.0 + INSTANT_S), True, [], False),
        (1.5 + INSTANT_S, False, [(1.0, 1.25), (1.25, 1.5)], False),
        (after(1.5 + INSTANT_S), False, [(1.0, 1.25), (1.25, 1.5)], True),
        (1.5, False, [(1.0 - INSTANT_S, 1.5)], False),
        (1.5, False, [(before(1.0 - INSTANT_S), 1.5)], True),  # the signal came into it
        (1.5, False, [(1.5, 2.5)], False),
        (1.5, False, [(after(1.5), 2.5)], True),
    ],
)
def test_answers_after_the_signal_close(
    first_at: float, closes: bool, stalls: list[tuple[float, float]], is_said: bool
) -> None:
    """G9. Unless the loop stood still before the server could notice the signal."""
    one = connection()
    asked(one)
    answered(one, 200, first_at, fields={"connection": "close"} if closes else {})
    ended = ended_run(one, signalled_at=1.0, drained_at=1.0, stalls=stalls)
    kept = f"G9: an answer at {first_at} keeps c0 open after the signal"
    assert (kept in said(ended, "server")) is is_said


@pytest.mark.parametrize(
    ("is_answered", "is_same_wire", "is_said"),
    [(True, True, False), (False, True, True), (True, False, True), (False, False, True)],
)
def test_a_connection_goes_on_only_when_it_was_answered(
    is_answered: bool, is_same_wire: bool, is_said: bool
) -> None:
    """G7. Answered over this very connection: the call may have been made again over another one."""
    shared = wire()
    one = connection(left_at=0.0)
    request = asked(one)
    first = called(request, None, Attempt(wire=shared, sent_at=0.0), answered=is_answered, ended_at=0.0)
    if not is_same_wire:
        first.attempts.append(Attempt(wire=wire(), sent_at=0.0))
    called(request, None, Attempt(wire=shared, reused=True, sent_at=0.0), ended_at=0.0)
    dirty = [what for what in said(ended_run(one), "w1.1") if what.startswith("G7")]
    assert dirty == ["G7: it got the connection of w1.0, which was not answered"] * is_said


# Calls


def told_of(call: CallFacts, plan: Plan | None = None, **facts: Any) -> list[str]:
    ended = ended_run(call.request.connection, plan=plan or Plan(()), **facts)
    return [what[:15] for what in judge_call(call, ended)]


END: Final = 0.0 + 100 / 1000 + 0.0  # of a call as `called` makes it
LATE: Final = [(0.05, 0.3)]
LATE_S: Final = 0.3 - 0.05


def connected(at: float, **facts: Any) -> CallFacts:
    """A call that was connected then, and ended without sending its request. Its race ends at 0.99 s."""
    request = asked(connection(), race(1, timeout_ms=1000))
    attempt = Attempt(dials=[(0.0, DialScript())], wire=wire(connected_at=at), closed_at=at)
    return called(request, None, attempt, ended_at=at, **facts)


CALLS: Final[list[tuple[str, Callable[[], CallFacts], list[str], list[tuple[float, float]]]]] = [
    ("never ended", lambda: called(), ["G3: it never en"], []),
    ("ends as it should", lambda: called(outcome="success", ended_at=END), [], []),
    ("to the instant", lambda: called(outcome="success", ended_at=END + INSTANT_S), [], []),
    ("late", lambda: called(outcome="success", ended_at=after(END + INSTANT_S)), ["it ended at 0.1"], []),
    ("late, after a stall", lambda: called(outcome="success", ended_at=END + LATE_S + INSTANT_S), [], LATE),
    (
        "later than that",
        lambda: called(outcome="success", ended_at=after(END + LATE_S + INSTANT_S)),
        ["it ended at 0.3"],
        LATE,
    ),
    ("taken for a failure", lambda: called(outcome="broken", ended_at=END), ["it was taken fo"], []),
    ("stopped, it is no failure", lambda: called(outcome="cancelled", ended_at=END), [], []),
    ("too late to be sent", lambda: connected(0.999, outcome="too_late"), [], []),
    ("sent nothing, and was in time", lambda: connected(0.5, outcome="too_late"), ["it was taken fo"], []),
]


@pytest.mark.parametrize(
    ("make", "expected", "stalls"), [row[1:] for row in CALLS], ids=[r[0] for r in CALLS]
)
def test_how_a_call_ends(
    make: Callable[[], CallFacts], expected: list[str], stalls: list[tuple[float, float]]
) -> None:
    assert told_of(make(), stalls=stalls) == expected


@pytest.mark.parametrize(
    ("ended_at", "stalls", "is_said"),
    [
        (1.0 + 0 + INSTANT_S, [], False),
        (after(1.0 + 0 + INSTANT_S), [], True),
        (1.0 + (1.5 - 1.25) + INSTANT_S, [(1.25, 1.5)], False),
        (after(1.0 + (1.5 - 1.25) + INSTANT_S), [(1.25, 1.5)], True),
    ],
)
def test_a_call_that_was_not_tried_ends_at_once(
    ended_at: float, stalls: list[tuple[float, float]], is_said: bool
) -> None:
    request = asked(connection(), race(1, timeout_ms=5000))
    call = called(request, started_at=1.0, ended_at=ended_at)
    call.attempts.clear()
    assert told_of(call, stalls=stalls) == ["it was not even"] * is_said


@pytest.mark.parametrize(
    ("begun_at", "stalls", "is_said"),
    [
        (None, [], True),
        (1.0 + 0 + INSTANT_S, [], False),
        (after(1.0 + 0 + INSTANT_S), [], True),
        (1.0 + (1.5 - 1.25) + INSTANT_S, [(1.25, 1.5)], False),
        (after(1.0 + (1.5 - 1.25) + INSTANT_S), [(1.25, 1.5)], True),
    ],
)
@pytest.mark.parametrize("is_dialled", [True, False])
def test_a_call_is_not_kept_waiting(
    begun_at: float | None, stalls: list[tuple[float, float]], is_said: bool, is_dialled: bool
) -> None:
    """G8. It dials, or is written to a reused connection, when it starts."""
    attempt = Attempt(wire=wire(), sent_at=begun_at, reused=True)
    if is_dialled and begun_at is not None:
        attempt = Attempt(dials=[(begun_at, SWALLOWED)], wire=wire(), sent_at=9.0)
    call = called(None, None, attempt, started_at=1.0, ended_at=1.6, outcome="success")
    attempt.closed_at = 1.6
    assert ("G8: it was kept" in told_of(call, stalls=stalls)) is is_said


@pytest.mark.parametrize(
    ("attempts", "reused", "is_said"),
    [(1, False, False), (2, True, False), (2, False, True), (3, True, True)],
)
def test_a_call_is_made_again_once_and_only_after_a_reused_connection(
    attempts: int, reused: bool, is_said: bool
) -> None:
    made = [Attempt(wire=wire(), sent_at=0.0, reused=reused) for _ in range(attempts)]
    call = called(None, None, *made, ended_at=0.0)
    made[-1].closed_at = 0.0
    assert told_of(call) == [f"it was tried {attempts} "] * is_said


@pytest.mark.parametrize(
    ("before_it", "heard_bytes", "is_said"),
    [
        (None, 0, False),
        (None, 1, True),
        ("gzip", 1, True),
        ("late_408", 1, False),
        ("two_answers", 1, False),
        ("trailing_bytes", 1, False),
        ("length_too_short", 1, False),
    ],
)
def test_a_call_whose_answer_had_begun_is_not_made_again(
    before_it: str | None, heard_bytes: int, is_said: bool
) -> None:
    """G7. Unless the bytes may be what the upstream sent behind an earlier answer, unasked."""
    shared = wire()
    request = asked(connection())
    called(request, CallScript(before_it), Attempt(wire=shared, sent_at=0.0), answered=True, ended_at=0.0)
    attempts = Attempt(wire=shared, sent_at=0.0, reused=True), Attempt(wire=wire(), sent_at=0.0)
    again = called(request, None, *attempts, ended_at=0.0)
    attempts[0].heard_bytes, attempts[1].closed_at = heard_bytes, 0.0
    ended = ended_run(request.connection)
    said = "G7: it was tried again, although its answer had begun"
    assert list(judge_call(again, ended)) == [said] * is_said


# The time that is left: the race ends at 1.49 s, a call needs 5 ms, and so it is started until 1.485 s.


def timed(
    *,
    started_at: float = 1.0,
    sent_at: float | None = 1.0,
    said_ms: int | None = 490,
    stalls: Any = (),
    before: tuple[Attempt, ...] = (),
    **facts: Any,
) -> list[str]:
    """What is said of a call's times. Its request was sent at 0.5 s, and given to the application at 1 s.

    before: its attempts before the one that is judged.
    """
    one = connection()
    request = asked(one, race(1, timeout_ms=500), sent_at=0.5, read_at=1.0, **{"entered_at": 1.0, **facts})
    attempt = Attempt(wire=wire(connected_at=1.0), sent_at=sent_at)
    call = called(request, None, *before, attempt, started_at=started_at, ended_at=1.7)
    ended = ended_run(one, plan=Plan((), reserve_ms=10, min_call_ms=5), stalls=list(stalls))
    attempt.time_left_ms = said_ms
    return [what[:15] for what in judge_call(call, ended) if what.startswith("G2")]


STARTED_BY: Final = 1.0 + 490 / 1000 - 5 / 1000
LATE_REQUEST: Final = [(0.5, 0.75)]  # the loop stood still before the application was given it
LATE_REQUEST_S: Final = 0.25


@pytest.mark.parametrize(
    ("moment", "stalls", "is_said"),
    [
        (STARTED_BY + INSTANT_S, [], False),
        (after(STARTED_BY + INSTANT_S), [], True),
        (STARTED_BY + LATE_REQUEST_S + 0.9e-6, LATE_REQUEST, False),
        (STARTED_BY + LATE_REQUEST_S + 1.1e-6, LATE_REQUEST, True),
        (STARTED_BY + 0.01, [(0.25, 0.375)], True),  # it was over when the request was sent
    ],
)
def test_a_call_is_started_and_sent_as_long_as_there_is_the_time_that_it_needs(
    moment: float, stalls: list[tuple[float, float]], is_said: bool
) -> None:
    """G2."""
    left_ms = int((1.49 - moment) * 1000)
    assert timed(started_at=moment, sent_at=None, stalls=stalls) == ["G2: it was star"] * is_said
    found = timed(sent_at=moment, said_ms=left_ms, stalls=stalls)
    assert ("G2: it was sent" in found) is is_said


@pytest.mark.parametrize(
    ("sent_at", "said_ms", "stalls", "is_said"),
    [
        (1.0, 490, [], False),
        (1.0, 491, [], True),
        (1.0, 489, [], False),  # rounded down
        (1.0, 488, [], True),
        (1.0005, 490, [], True),
        (1.0005, 489, [], False),
        (1.0005, 488, [], True),
        (1.0, None, [], True),
        (1.0, 740, LATE_REQUEST, False),  # the deadline may be as much later
        (1.0, 741, LATE_REQUEST, True),
        (1.0, 149, LATE_REQUEST, False),  # or sooner, and the time reserve be 100 ms
        (1.0, 148, LATE_REQUEST, True),
    ],
)
def test_an_upstream_is_sent_the_time_that_is_left(
    sent_at: float, said_ms: int | None, stalls: list[tuple[float, float]], is_said: bool
) -> None:
    """G2. In whole milliseconds."""
    assert timed(sent_at=sent_at, said_ms=said_ms, stalls=stalls) == ["G2: its upstrea"] * is_said


def test_each_attempt_that_sends_a_request_says_what_is_left_then() -> None:
    nothing_sent = Attempt(wire=wire(), reused=True)
    assert timed(before=(nothing_sent,)) == []
    assert timed(before=(nothing_sent,), said_ms=491) == ["G2: its upstrea"]


def test_of_a_call_that_should_not_have_been_made_the_times_are_not_judged() -> None:
    assert timed(started_at=9.0, entered_at=None, said_ms=1) == []


STOPPED_AT: Final = 0.05  # before the call's end at 0.1


@pytest.mark.parametrize(
    ("closed_at", "stalls", "is_said"),
    [
        (None, [], True),
        (STOPPED_AT + 0 + INSTANT_S, [], False),
        (after(STOPPED_AT + 0 + INSTANT_S), [], True),
        (STOPPED_AT + (0.04 - 0.03) + INSTANT_S, [(0.03, 0.04)], False),
        (after(STOPPED_AT + (0.04 - 0.03) + INSTANT_S), [(0.03, 0.04)], True),
    ],
)
def test_a_call_that_is_stopped_closes_its_connection(
    closed_at: float | None, stalls: list[tuple[float, float]], is_said: bool
) -> None:
    """G3."""
    call = called(ended_at=STOPPED_AT)
    call.attempts[0].closed_at = closed_at
    assert told_of(call, stalls=stalls) == ["G3: it was stop"] * is_said


@pytest.mark.parametrize(("ended_at", "is_said"), [(END - INSTANT_S, False), (0.0999, True)])
def test_a_call_that_ended_in_the_instant_of_its_end_was_not_stopped(ended_at: float, is_said: bool) -> None:
    assert told_of(called(ended_at=ended_at)) == ["G3: it was stop"] * is_said


def test_a_call_that_is_stopped_while_it_dials_has_no_connection_to_close() -> None:
    call = called(None, None, Attempt(dials=[(0.0, SWALLOWED)]), ended_at=STOPPED_AT)
    assert told_of(call) == []


@pytest.mark.parametrize(
    ("gone_at", "heard_bytes", "reused", "stalls", "is_said"),
    [
        (None, 0, True, [], False),
        (STOPPED_AT - 0 - INSTANT_S, 0, True, [], False),  # in the instant in which it was stopped
        (before(STOPPED_AT - 0 - INSTANT_S), 0, True, [], True),
        (before(STOPPED_AT - 0 - INSTANT_S), 1, True, [], False),
        (before(STOPPED_AT - 0 - INSTANT_S), 0, False, [], False),
        (STOPPED_AT - (0.04 - 0.03) - INSTANT_S, 0, True, [(0.03, 0.04)], False),
        (before(STOPPED_AT - (0.04 - 0.03) - INSTANT_S), 0, True, [(0.03, 0.04)], True),
    ],
)
def test_a_reused_connection_that_was_dead_is_replaced(
    gone_at: float | None, heard_bytes: int, reused: bool, stalls: list[tuple[float, float]], is_said: bool
) -> None:
    call = called(ended_at=STOPPED_AT)
    attempt = call.attempts[0]
    attempt.closed_at, attempt.ended_at = STOPPED_AT, gone_at
    attempt.heard_bytes, attempt.reused = heard_bytes, reused
    assert told_of(call, stalls=stalls) == ["its reused conn"] * is_said


# An address that never answers


def tries(
    *waits: tuple[float, float], look_ups: tuple[float, ...] = (0.0,), silent: int = 1, stalls: Any = ()
) -> list[str]:
    """What is said of calls that waited for the silent address, from and to."""
    one = connection()
    for began, to in waits:
        called(asked(one), None, Attempt(dials=[(began, SWALLOWED)]), ended_at=to)
    plan = Plan((), silent_addresses=silent)
    return list(judge_addresses(ended_run(one, plan=plan, look_ups=list(look_ups), stalls=list(stalls))))


CHANCE: Final = 0.25 + INSTANT_S


def test_an_address_may_be_silent_for_its_chance_and_no_longer() -> None:
    """G4. RFC 8305 says 250 ms."""
    assert tries((0.0, CHANCE), (1.0, 1.0)) == []
    (what,) = tries((0.0, after(CHANCE)), (1.0, 1.0))
    assert what == f"G4: at 1.0 a silent address was tried first, after {after(CHANCE)} s of its silence"


def test_silence_that_calls_share_counts_once() -> None:
    assert tries((0.0, 0.2), (0.1, 0.25), (1.0, 1.0)) == []
    assert len(tries((0.0, 0.2), (0.1, 0.3), (1.0, 1.0))) == 1
    assert len(tries((0.0, 0.2), (0.5, 0.6), (1.0, 1.0))) == 1


def test_silence_counts_from_the_latest_look_up_on() -> None:
    looked_up = (0.0, 0.5)
    assert tries((0.0, 0.4), (0.5, 0.5), look_ups=looked_up) == []
    assert tries((0.0, 0.4), (0.5 - INSTANT_S / 2, 0.5), look_ups=looked_up) == []
    assert tries((0.0, 0.4), (0.6, 0.6), look_ups=looked_up) == []
    assert tries((0.3, 0.7), (0.8, 0.8), look_ups=looked_up) == []  # 200 ms of it
    assert len(tries((0.3, 0.8), (0.9, 0.9), look_ups=looked_up)) == 1


def test_what_ends_in_the_instant_of_a_try_is_not_known_to_it() -> None:
    assert tries((0.0, 1.0 - INSTANT_S), (1.0, 1.0)) == []
    assert len(tries((0.0, before(1.0 - INSTANT_S)), (1.0, 1.0))) == 1


def test_nothing_is_said_of_sound_addresses_and_of_a_loop_that_stalls() -> None:
    assert len(tries((0.0, 0.9), (1.0, 1.0))) == 1
    assert tries((0.0, 0.9), (1.0, 1.0), silent=0) == []
    assert tries((0.0, 0.9), (1.0, 1.0), stalls=[(0.0, 0.1)]) == []


def test_a_wait_ends_with_the_connection_to_another_address() -> None:
    one = connection()
    quick = Attempt(dials=[(0.0, SWALLOWED)], wire=wire(connected_at=0.1))
    called(asked(one), None, quick, ended_at=0.9)
    called(asked(one), None, Attempt(dials=[(1.0, SWALLOWED)]), ended_at=1.0)
    assert list(judge_addresses(ended_run(one, plan=Plan((), silent_addresses=1), look_ups=[0.0]))) == []


# When the loop stood still


@pytest.mark.parametrize(
    ("began_at", "ended_at", "slack_s"),
    [
        (0.0, 1.0 - INSTANT_S, 0.25),  # in the instant in which it begins
        (0.0, 0.9, 0.0),
        (0.0, 1.5, 0.25),
        (1.25 + INSTANT_S, 9.0, 0.75),  # in the instant in which it ends
        (1.3, 1.4, 0.0),
        (1.3, 9.0, 0.5),
        (0.0, 9.0, 0.75),
        (1.1, 1.2, 0.25),  # the whole of it, for nothing runs before it ends
        (9.0, 9.0, 0.0),
    ],
)
def test_for_how_long_the_loop_stood_still(began_at: float, ended_at: float, slack_s: float) -> None:
    assert ended_run(stalls=[(1.0, 1.25), (2.0, 2.5)]).slack_s(began_at, ended_at) == slack_s


def test_a_stall_counts_to_the_instant() -> None:
    ended = ended_run(stalls=[(1.0, 1.25)])
    first, last = 1.0 - INSTANT_S, 1.25 + INSTANT_S
    while first + INSTANT_S < 1.0:
        first = after(first)
    while last - INSTANT_S > 1.25:
        last = before(last)
    assert (ended.slack_s(0.0, first), ended.slack_s(last, 9.0)) == (0.25, 0.25)
    assert (ended.slack_s(0.0, first - 1e-9), ended.slack_s(last + 1e-9, 9.0)) == (0, 0)


@pytest.mark.parametrize(
    ("stalls", "passes"),
    [
        ([], []),
        ([(1.0, 1.25)], [(1.0, 0.25)]),
        ([(1.0, 1.25), (1.25, 1.5)], [(1.0, 0.5)]),
        ([(1.0, 1.25), (1.25 + INSTANT_S, 1.5)], [(1.0, 0.5)]),
        (
            [(1.0, 1.25), (after(1.25 + INSTANT_S), 1.5)],
            [(1.0, 0.25), (after(1.25 + INSTANT_S), 0.25 - INSTANT_S)],
        ),
        ([(1.0, 1.25), (1.25, 1.5), (1.5, 2.0)], [(1.0, 1.0)]),
        ([(1.0, 1.25), (2.0, 2.5), (2.5, 3.0)], [(1.0, 0.25), (2.0, 1.0)]),
    ],
)
def test_stalls_with_no_time_between_them_may_be_one_iteration(
    stalls: list[tuple[float, float]], passes: list[tuple[float, float]]
) -> None:
    found = ended_run(stalls=stalls).long_passes()
    assert [began for began, _ in found] == [began for began, _ in passes]
    assert [took for _, took in found] == pytest.approx([took for _, took in passes], abs=1e-12)


@pytest.mark.parametrize(
    ("moment", "stalls", "by"),
    [
        (5.0, [], 10.0),
        (15.0, [(10.5, 11.0)], 10.5),
        (15.0, [(9.5, 10.25)], 10.75),
        (10.2, [(10.5, 11.0)], 10.0),
        (5.0, [(9.0, 9.5), (10.5, 11.0)], 10.0),
        (5.0, [(9.5, 10.25)], 10.75),
    ],
)
def test_by_when_the_drain_had_begun_everywhere(
    moment: float, stalls: list[tuple[float, float]], by: float
) -> None:
    assert ended_run(stalls=stalls, drained_at=10.0).drained_by(moment) == by + INSTANT_S
