"""What the judge says of one client's connection: facts made by hand, at each limit and just beyond it."""

from __future__ import annotations

from math import inf, nextafter
from typing import Any, Final

import pytest

from fanout.testing.world.facts import ConnectionFacts, RequestFacts
from fanout.testing.world.judge_answers import judge_connection
from fanout.testing.world.oracle import INSTANT_S
from fanout.testing.world.plan import Plan, RequestScript
from tests.testing.world.made import SLOW, answered, asked, called, connection, ended_run
from tests.testing.world.plans import race

PLAN: Final = Plan((), reserve_ms=10)
FIXED: Final = RequestScript(1, b"GET / HTTP/1.1\r\nhost: a\r\n", "fixed", status=303)
HEAD: Final = RequestScript(1, b"HEAD / HTTP/1.1\r\nhost: a\r\n", "fixed", status=303, is_head=True)
GARBAGE: Final = RequestScript(1, b"GET  / HTTP/1.1\r\n\r\n", "garbage", status=400)
CRASH: Final = RequestScript(1, b"GET / HTTP/1.1\r\nhost: a\r\n", "crash", status=500, reason="internal")
CLOSE: Final = {"connection": "close"}
UNREAD: Final[dict[str, Any]] = {"request_id": "unread", "fields": CLOSE}
SHED: Final[dict[str, Any]] = {"request_id": "world-1", "fields": CLOSE, "reason": "overloaded"}
STALL: Final = [(1.0, 1.02)]  # 20 ms


def after(limit: float) -> float:
    return nextafter(limit, inf)


def before(limit: float) -> float:
    return nextafter(limit, -inf)


def told(*connections: ConnectionFacts, **facts: Any) -> list[tuple[str, str]]:
    """Of whom something is said, and its first words, for the first connection."""
    ended = ended_run(*connections, **{"plan": PLAN, "drained_at": 100.0, **facts})
    return [(of, what[:24]) for of, what in judge_connection(connections[0], ended)]


def fixed(on: ConnectionFacts, at: float = 0.0, **facts: Any) -> RequestFacts:
    """A request whose answer is always the same, read at this moment and given to the application."""
    number = len(on.requests) + 1
    script = RequestScript(number, FIXED.head, "fixed", status=303)
    return asked(on, script, **{"read_at": at, "entered_at": at, **facts})


# The answers on a connection


def test_each_answer_is_the_next_requests_and_is_begun_when_the_one_before_is_complete() -> None:
    one = connection()
    fixed(one)
    answered(one, 303, 0.0, last_at=2.0)
    fixed(one, entered_at=2.0)  # pipelined: read with the first one
    answered(one, 303, 2.0)
    fixed(one, at=3.0)
    answered(one, 303, 3.0)
    assert told(one) == []
    one.reader.answers[1].first_at = 0.0
    one.requests[1].entered_at = 0.0
    assert told(one) == [("w2", "it was read at 2.0 and g")]


def test_more_answers_than_requests_are_too_many() -> None:
    one = connection()
    fixed(one)
    answered(one, 303, 0.0)
    answered(one, 303, 0.0)
    answered(one, 303, 0.0)
    assert told(one) == [("c0", "G1: 3 answers to 1 reque")]


def test_behind_an_answer_that_closes_nothing_is_judged_and_nothing_may_come() -> None:
    one = connection()
    fixed(one)
    answered(one, 303, 0.0, fields=CLOSE)
    fixed(one, entered_at=None)
    assert told(one) == []
    answered(one, 303, 0.0)
    assert told(one) == [("c0", "G1: 2 answers to 1 reque")]


def test_an_answer_that_breaks_off_is_wrong_and_ends_the_connection() -> None:
    one = connection()
    fixed(one)
    answered(one, 303, 0.0, last_at=None)
    fixed(one, entered_at=None)
    assert told(one) == [("w1", "G1: its answer is not co")]


def test_behind_an_answer_that_breaks_off_nothing_may_come() -> None:
    one = connection()
    fixed(one)
    answered(one, 303, 0.0, last_at=None)
    answered(one, 303, 0.0)
    assert told(one) == [("w1", "G1: its answer is not co"), ("c0", "G1: 2 answers to 1 reque")]


def test_an_unanswered_request_is_the_last_that_is_judged() -> None:
    one = connection()
    fixed(one, entered_at=None)
    fixed(one, entered_at=None)
    assert told(one) == [("w1", "G1: its head was read, a")]


@pytest.mark.parametrize(
    ("status", "request_id", "more", "expected"),
    [
        (503, "unread", 0, []),
        (503, "unread", 1, [("c0", "G1: there are answers be")]),
        (303, "w1", 0, []),
        (429, "unread", 0, [("w1", "it was refused as malfor")]),
        (503, "w1", 0, [("w1", "G2/G4/G5/G8: it was answ")]),
    ],
)
def test_a_connection_over_the_limit_gets_one_503_and_nothing_else(
    status: int, request_id: str, more: int, expected: list[tuple[str, str]]
) -> None:
    """G8. Its requests need not even be read."""
    one = connection(too_many=True)
    fixed(one)
    for _ in range(1 + more):
        answered(one, status, 0.0, request_id=request_id, fields=CLOSE)
    assert told(one) == expected


def test_a_connection_over_the_limit_may_be_served_and_may_get_nothing() -> None:
    assert told(connection(too_many=True)) == []
    one = connection()
    fixed(one)
    answered(one, 503, 0.0, **UNREAD)
    assert told(one) == [("w1", "it was refused as malfor")]


# An answer that is cut


def cut(
    begun_at: float | None, closed_at: float | None, request_id: str = "w1", **facts: Any
) -> list[tuple[str, str]]:
    """What is said when an answer is begun and then the connection closed."""
    drained_at = facts.pop("drained_at", 100.0)
    one = connection(closed_at=closed_at, **facts)
    fixed(one)
    answered(one, 303, 0.0, last_at=None, request_id=request_id)
    one.reader._begun_at = begun_at
    ended = ended_run(one, plan=PLAN, drained_at=drained_at)
    return [(of, what[:24]) for of, what in judge_connection(one, ended)]


CUT: Final = [("w1", "G1: its answer is not co")]
NOT_THEIRS: Final = [("w1", "G1: it got the answer to"), *CUT]


@pytest.mark.parametrize(
    ("begun_at", "closed_at", "facts", "expected"),
    [
        (None, 50.0, {}, CUT),
        (0.0, None, {}, CUT),
        (0.0, None, {"left_at": 0.0}, CUT),
        (None, 50.0, {"left_at": 0.0}, CUT),
        (0.0, 0.0, {"left_at": 0.0}, []),
        # Its client does not read: for 10 seconds, as the documentation of the limits says.
        (0.0, 10.0 - INSTANT_S, {}, []),
        (0.0, before(10.0 - INSTANT_S), {}, CUT),
        (1.0, before(11.0 - INSTANT_S), {}, CUT),
        (0.0, 5.0, {"window_bytes": 1000}, CUT),
        # In the drain it has half a second.
        (0.0, 3.0 + 0.5 - 9e-7, {"drained_at": 3.0}, []),
        (0.0, 3.0 + 0.5 - 11e-7, {"drained_at": 3.0}, CUT),
        (4.0, 4.4999, {"drained_at": 3.0}, CUT),
        (4.0, 4.5, {"drained_at": 3.0}, []),
        (0.0, before(0.5 - INSTANT_S), {"drained_at": 0.0}, CUT),
        (0.0, 0.5 - INSTANT_S, {"drained_at": 0.0}, []),
    ],
)
def test_an_answer_may_be_cut_for_a_client_that_left_or_does_not_read(
    begun_at: float | None, closed_at: float | None, facts: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert cut(begun_at, closed_at, **facts) == expected


@pytest.mark.parametrize("request_id", ["unread", "world-7"])
@pytest.mark.parametrize(
    ("closed_at", "window_bytes", "is_cut"),
    [
        (1.0 - INSTANT_S, 65536, False),
        (before(1.0 - INSTANT_S), 65536, True),
        (0.1, 2000, True),
        (0.1, 1999, False),
    ],
)
def test_the_last_word_of_the_driver_waits_a_second_and_not_for_a_small_window(
    request_id: str, closed_at: float, window_bytes: int, is_cut: bool
) -> None:
    found = cut(0.0, closed_at, request_id, window_bytes=window_bytes)
    assert (CUT[0] in found) is is_cut


@pytest.mark.parametrize("request_id", ["world", "worldly-1", "w1"])
def test_an_answer_with_another_id_is_not_the_drivers(request_id: str) -> None:
    assert CUT[0] in cut(0.0, 2.0, request_id)
    assert CUT[0] in cut(0.0, 0.1, request_id, window_bytes=1000)


@pytest.mark.parametrize(("closed_at", "is_said"), [(1.0 - INSTANT_S, False), (0.9, True)])
@pytest.mark.parametrize("answers", [0, 1])
def test_an_answer_of_which_nothing_came_is_the_drivers_too(
    closed_at: float, is_said: bool, answers: int
) -> None:
    """It was begun, and its client had no room for a byte of it."""
    one = connection(closed_at=closed_at)
    for _ in range(answers):
        fixed(one)
        answered(one, 303, 0.0)
    fixed(one, entered_at=None)
    one.reader._begun_at = 0.0
    assert bool(told(one)) is is_said


# Requests without an answer


def test_what_was_not_read_need_not_be_answered() -> None:
    one = connection()
    fixed(one, read_at=None, entered_at=None)
    assert told(one) == []


@pytest.mark.parametrize(
    ("read_at", "left_at", "stalls", "is_said"),
    [
        (2.0, None, [], True),
        (2.0, 2.0 + 0 + INSTANT_S, [], False),  # in that instant the client left
        (2.0, after(2.0 + 0 + INSTANT_S), [], True),
        (2.0, 2.0 + (2.5 - 2.25) + INSTANT_S, [(2.25, 2.5)], False),
        (2.0, after(2.0 + (2.5 - 2.25) + INSTANT_S), [(2.25, 2.5)], True),
        (before(100.0 - INSTANT_S), None, [], True),
        (100.0 - INSTANT_S, None, [], False),  # in that instant the server drained
        (100.0 + 0 + INSTANT_S, None, [], False),
        (after(100.0 + 0 + INSTANT_S), None, [], True),
        (100.0 + 0.3, None, [(100.0, 100.5)], False),
    ],
)
@pytest.mark.parametrize("is_garbage", [False, True])
def test_what_was_read_is_answered_unless_that_came_too_late(
    read_at: float, left_at: float | None, stalls: list[tuple[float, float]], is_said: bool, is_garbage: bool
) -> None:
    one = connection(left_at=left_at)
    if is_garbage:
        asked(one, GARBAGE, read_at=read_at, entered_at=read_at)
    else:
        fixed(one, read_at=read_at, entered_at=None)
    assert told(one, stalls=stalls) == [("w1", "G1: its head was read, a")] * is_said


@pytest.mark.parametrize(("max_connections", "is_said"), [(999, False), (1000, True)])
def test_where_connections_are_few_a_waiting_one_may_give_way(max_connections: int, is_said: bool) -> None:
    one = connection()
    fixed(one, entered_at=None)
    plan = Plan((), max_connections=max_connections)
    assert bool(told(one, plan=plan)) is is_said


@pytest.mark.parametrize(
    ("left_at", "stalls", "is_said"),
    [
        (None, [], True),
        (1.0, [], False),
        (1.0 + INSTANT_S, [], False),  # in the instant in which its answer is due
        (after(1.0 + INSTANT_S), [], True),
        (1.0 + (1.25 - 1.0) + INSTANT_S, [(1.0, 1.25)], False),
        (after(1.0 + (1.25 - 1.0) + INSTANT_S), [(1.0, 1.25)], True),
        (None, [(1.0, 1.25)], True),
        (1.25, [(1.125, 1.375)], False),  # the loop stood still in the time in which it might have been due
    ],
)
def test_a_request_without_an_answer_had_a_client_that_left_before_it_was_due(
    left_at: float | None, stalls: list[tuple[float, float]], is_said: bool
) -> None:
    """G1."""
    one = connection(left_at=left_at)
    fixed(one, at=1.0)
    found = told(one, stalls=stalls)
    assert found == [("w1", "G1: it has no answer, an")] * is_said


def test_of_a_request_without_an_answer_whose_client_stayed_nothing_more_is_said() -> None:
    """Its calls had no reason to end."""
    one = connection()
    called(asked(one, race(1, SLOW, SLOW, timeout_ms=500)), ended_at=None)
    assert told(one) == [("w1", "G1: it has no answer, an")]


def test_the_latest_of_what_is_due_counts() -> None:
    one = connection(left_at=0.3)
    request = asked(one, race(1, SLOW, SLOW, timeout_ms=500))
    called(request, ended_at=0.3)
    called(request, delay_ms=400, ended_at=0.3)
    assert told(one) == [("w1", "G1: it has no answer, an")]  # due at 100 ms
    one.left_at = 0.05
    for call in request.calls.values():
        call.ended_at = 0.05
    assert told(one) == []


@pytest.mark.parametrize(
    ("ended_at", "read_at", "stalls", "is_said"),
    [
        (None, 0.0, [], True),
        (0.05 + 0 + INSTANT_S, 0.0, [], False),
        (after(0.05 + 0 + INSTANT_S), 0.0, [], True),
        (0.07 + 0 + INSTANT_S, 0.07, [], False),  # it was read only then
        (after(0.07 + 0 + INSTANT_S), 0.07, [], True),
        (0.05 + (0.09 - 0.06) + INSTANT_S, 0.0, [(0.06, 0.09)], False),
        (after(0.05 + (0.09 - 0.06) + INSTANT_S), 0.0, [(0.06, 0.09)], True),
    ],
)
def test_calls_end_when_their_client_leaves(
    ended_at: float | None, read_at: float, stalls: list[tuple[float, float]], is_said: bool
) -> None:
    """G6."""
    one = connection(left_at=0.05)
    request = asked(one, race(1, SLOW, SLOW, timeout_ms=500), read_at=read_at, entered_at=read_at)
    call = called(request, delay_ms=300, ended_at=ended_at)
    called(request, delay_ms=300, ended_at=0.0)
    assert told(one, stalls=stalls) == [("w1", f"G6: call {call.index} ended at {ended_at}"[:24])] * is_said


# Answers of the application


def test_of_a_wrong_answer_the_first_60_bytes_are_shown() -> None:
    one = connection()
    fixed(one)
    answered(one, 200, 0.0, payload=b"x" * 61)
    ((_, what),) = judge_connection(one, ended_run(one, plan=PLAN, drained_at=100.0))
    assert f"200 at 0.000000 {b'x' * 60!r}; allowed: " in what


def test_an_answer_to_another_request_or_before_it_was_read_is_wrong() -> None:
    for read_at, request_id, said in (
        (None, "w1", "G1: it was answered befo"),
        (0.0, "w7", "G1: it got the answer to"),
    ):
        one = connection()
        fixed(one, read_at=read_at)
        answered(one, 303, 0.0, request_id=request_id)
        assert told(one) == [("w1", said)]


@pytest.mark.parametrize(
    ("entered_at", "stalls", "is_said"),
    [
        (1.0 - INSTANT_S, [], False),
        (before(1.0 - INSTANT_S), [], True),
        (1.0 + 0 + INSTANT_S, [], False),
        (after(1.0 + 0 + INSTANT_S), [], True),
        (1.0 + (1.5 - 1.25) + INSTANT_S, [(1.25, 1.5)], False),
        (after(1.0 + (1.5 - 1.25) + INSTANT_S), [(1.25, 1.5)], True),
    ],
)
def test_a_request_is_given_to_the_application_when_it_is_read(
    entered_at: float, stalls: list[tuple[float, float]], is_said: bool
) -> None:
    one = connection()
    fixed(one, read_at=1.0, entered_at=entered_at)
    answered(one, 303, entered_at if not stalls else 1.5)
    found = told(one, stalls=stalls)
    assert (("w1", "it was read at 1.0 and g") in found) is is_said


@pytest.mark.parametrize(
    ("left_at", "read_at", "stalls", "is_said"),
    [
        (0.1 - 0 - INSTANT_S, 0.0, [], False),
        (before(0.1 - 0 - INSTANT_S), 0.0, [], True),
        (0.0, 0.1 - 0 - INSTANT_S, [], False),  # it is read after that, and nobody has looked
        (0.1 - (0.09 - 0.06) - INSTANT_S, 0.0, [(0.06, 0.09)], False),
        (before(0.1 - (0.09 - 0.06) - INSTANT_S), 0.0, [(0.06, 0.09)], True),
    ],
)
def test_a_client_that_left_gets_no_answer(
    left_at: float, read_at: float, stalls: list[tuple[float, float]], is_said: bool
) -> None:
    """G6."""
    one = connection(left_at=left_at)
    request = asked(one, race(1, SLOW, SLOW, timeout_ms=500), read_at=read_at, entered_at=read_at)
    called(request, ended_at=0.1, outcome="success")
    called(request, delay_ms=400, ended_at=0.1)
    answered(one, 200, 0.1, time=100, tag="w1.0")
    found = told(one, stalls=stalls)
    assert (("w1", "G6: it was answered alth") in found) is is_said


@pytest.mark.parametrize("ask", ["first", "all"])
@pytest.mark.parametrize(
    ("first_at", "stalls", "is_said"),
    [
        (0.0 + 0.5 + 0 + INSTANT_S, [], False),
        (after(0.0 + 0.5 + 0 + INSTANT_S), [], True),
        (0.0 + 0.5 + (0.3 - 0.2) + INSTANT_S, [(0.2, 0.3)], False),
        (after(0.0 + 0.5 + (0.3 - 0.2) + INSTANT_S), [(0.2, 0.3)], True),
    ],
)
def test_a_race_is_answered_within_the_timeout(
    first_at: float, stalls: list[tuple[float, float]], is_said: bool, ask: str
) -> None:
    """G2, in its own words."""
    one = connection()
    asked(one, race(1, SLOW, SLOW, ask=ask, timeout_ms=500))
    answered(one, 500, first_at, reason="deadline")
    found = told(one, stalls=stalls)
    assert (("w1", f"G2: it was answered at {first_at}"[:24]) in found) is is_said


def test_what_is_no_race_has_no_timeout() -> None:
    one = connection()
    fixed(one)
    answered(one, 303, 5.0)
    assert [what[:3] for _, what in told(one)] == ["G2/"]


@pytest.mark.parametrize(
    ("timeout_ms", "has_calls", "is_said"),
    [(10, True, True), (10, False, False), (11, True, False), (5, True, True)],
)
def test_no_call_is_started_when_the_time_is_over(timeout_ms: int, has_calls: bool, is_said: bool) -> None:
    """G2. The reserve is 10 ms."""
    one = connection()
    request = asked(one, race(1, SLOW, SLOW, timeout_ms=timeout_ms))
    if has_calls:
        called(request, ended_at=0.0)
    answered(one, 500, 0.0, reason="deadline")
    assert (("w1", "G2: a call was started a") in told(one)) is is_said


ENDS_AT: Final = 0.0 + (500 - (10 + 0.0)) / 1000


@pytest.mark.parametrize(
    ("ask", "status", "outcome", "ended_at", "other", "is_said"),
    [
        ("first", 500, "success", before(ENDS_AT - INSTANT_S), "cancelled", True),
        ("first", 500, "success", ENDS_AT - INSTANT_S, "cancelled", False),  # a tie
        ("first", 200, "success", 0.1, "cancelled", False),
        ("first", 500, "broken", 0.1, "cancelled", False),
        ("first", 500, "cancelled", 0.1, "cancelled", False),
        ("first", 500, "success", None, "cancelled", False),
        ("first", 500, "success", 0.1, "crashed", False),
        ("all", 500, "success", 0.1, "cancelled", False),
    ],
)
def test_a_success_before_the_deadline_is_delivered(
    ask: str, status: int, outcome: str, ended_at: float | None, other: str, is_said: bool
) -> None:
    """G4. Unless another call brought a bug to light."""
    one = connection()
    request = asked(one, race(1, SLOW, SLOW, ask=ask, timeout_ms=500))
    called(request, delay_ms=600, outcome=other, ended_at=0.4)
    called(request, delay_ms=600, outcome=outcome, ended_at=ended_at)
    answered(one, status, 0.49, reason="deadline")
    found = [what for _, what in told(one) if what.startswith("G4")]
    assert found == ["G4: call 1 had succeeded"] * is_said


# Requests that are shed before they are parsed


def shed(
    first_at: float = 1.02,
    *,
    read_at: float | None = 1.0,
    script: RequestScript = FIXED,
    stalls: list[tuple[float, float]] = STALL,
    answer: dict[str, Any] = SHED,
    status: int = 503,
    last_at: float | None = -1.0,
    together: int = 0,
    together_at: float = 0.0,
) -> list[tuple[str, str]]:
    one, other = connection(), connection(1)
    asked(one, script, read_at=read_at, entered_at=None)
    answered(one, status, first_at, last_at=last_at, **answer)
    for _ in range(together):
        fixed(other, at=together_at)
    return told(one, other, stalls=stalls)


def test_a_request_is_shed_when_the_loop_has_stood_still() -> None:
    """G8."""
    assert shed() == []
    assert shed(stalls=[]) == [("w1", "G8: it came at 1.0 and w"), ("w1", "G8: it was refused for n")]
    assert shed(1.0, stalls=[]) == [("w1", "G8: it was refused for n")]


@pytest.mark.parametrize(
    ("changes", "is_said"),
    [
        ({"status": 500}, True),
        ({"answer": {**SHED, "reason": "draining"}}, True),
        ({"answer": {**SHED, "reason": "draining"}, "script": HEAD}, False),
        ({"answer": {**SHED, "reason": "draining"}, "script": HEAD, "status": 500}, True),
    ],
)
def test_it_is_shed_for_an_overload(changes: dict[str, Any], is_said: bool) -> None:
    assert shed(**changes) == [("w1", "G8: it was refused for n")] * is_said


def test_of_a_shed_request_that_is_cut_only_the_head_is_known() -> None:
    cut_off = [("w1", "G1: its answer is not co")]
    assert shed(last_at=None, answer={**SHED, "reason": "draining"}) == cut_off


@pytest.mark.parametrize(
    ("came_at", "first_at", "said"),
    [
        (1.0, 1.0 - INSTANT_S / 2, []),
        (1.01 + INSTANT_S, 1.01, []),
        (after(1.01 + INSTANT_S), 1.01, ["G1: it was answered befo"]),
        (1.0, 1.0 + (1.02 - 1.0) + INSTANT_S, []),
        (1.0, after(1.0 + (1.02 - 1.0) + INSTANT_S), ["G8: it came at 1.0 and w"]),
    ],
)
def test_it_is_shed_when_it_comes(came_at: float, first_at: float, said: list[str]) -> None:
    assert [what for _, what in shed(first_at, read_at=came_at)] == said


def test_what_did_not_come_cannot_be_shed() -> None:
    assert ("w1", "G1: it was answered befo") in shed(read_at=None)


def test_a_shed_request_comes_with_its_first_byte_or_behind_the_answer_before() -> None:
    one = connection()
    fixed(one)
    answered(one, 303, 0.0, last_at=1.01)  # its client reads slowly
    half = asked(one, FIXED, read_at=None, entered_at=None)
    one.read(bytes(1), 0.5)  # the first byte of the second
    answered(one, 503, 1.02, **{**SHED, "fields": CLOSE})
    one.closed_at = 1.02
    assert told(one, stalls=STALL) == []
    one.reader.answers[1].fields = {**one.reader.answers[1].fields, "connection": "keep-alive"}
    assert told(one, stalls=STALL) == [("w1", "its connection was kept ")]
    one.read(bytes(len(half.script.data) - 1), 0.6)
    assert told(one, stalls=STALL) == []


LIMIT: Final = 0.005 - 0 * 0.0002


@pytest.mark.parametrize(
    ("took_s", "later_s", "is_behind"),
    [
        (0.02, 0.0, True),
        (LIMIT - INSTANT_S + 1e-9, 0.0, True),
        (LIMIT - INSTANT_S - 1e-9, 0.0, False),
        # It has to sleep for as long as it was late.
        (0.02, 0.015 + 5e-7, True),
        (0.02, 0.015 + 2e-6, False),
        (0.02, -0.02 - 5e-7, True),
        (0.02, -0.02 - 2e-6, False),
    ],
)
def test_the_loop_is_behind_until_it_has_slept_off_what_was_too_long(
    took_s: float, later_s: float, is_behind: bool
) -> None:
    moment = 1.0 + took_s + later_s
    found = shed(moment, read_at=moment, stalls=[(1.0, 1.0 + took_s)])
    assert found == [("w1", "G8: it was refused for n")] * (not is_behind)


@pytest.mark.parametrize(
    ("began", "took_s", "moment", "is_behind"),
    [
        (0.0, LIMIT - INSTANT_S, 0.0, False),
        (0.0, after(LIMIT - INSTANT_S), 0.0, True),
        (INSTANT_S, 0.25, 0.0, True),
        (after(INSTANT_S), 0.25, 0.0, False),
        (0.0, 0.25, 0.0 + 0.25 + (0.25 - LIMIT) + INSTANT_S, True),
        (0.0, 0.25, after(0.0 + 0.25 + (0.25 - LIMIT) + INSTANT_S), False),
    ],
)
def test_to_the_instant_the_loop_is_behind(
    began: float, took_s: float, moment: float, is_behind: bool
) -> None:
    found = shed(moment, read_at=moment, stalls=[(began, began + took_s)])
    assert found == [("w1", "G8: it was refused for n")] * (not is_behind)


@pytest.mark.parametrize(("together_at", "is_behind"), [(INSTANT_S, True), (after(INSTANT_S), False)])
def test_to_the_instant_requests_come_together(together_at: float, is_behind: bool) -> None:
    found = shed(0.0, read_at=0.0, stalls=[], together=26, together_at=together_at)
    assert found == [("w1", "G8: it was refused for n")] * (not is_behind)


@pytest.mark.parametrize(
    ("together", "apart_s", "took_s", "is_behind"),
    [
        (0, 0.0, 0.0045, False),
        (4, 0.0, 0.0045, True),  # 0.2 ms each
        (2, 0.0, 0.0045, False),
        (4, 9e-7, 0.0045, True),
        (4, 2e-6, 0.0045, False),
        (26, 0.0, 0.0, True),  # too many for one iteration
        (25, 0.0, 0.0, False),
    ],
)
def test_a_burst_in_the_same_instant_counts_as_work(
    together: int, apart_s: float, took_s: float, is_behind: bool
) -> None:
    stalls = [(1.0, 1.0 + took_s)] if took_s else []
    found = shed(1.0, stalls=stalls, together=together, together_at=1.0 + apart_s)
    assert found == [("w1", "G8: it was refused for n")] * (not is_behind)


# The driver's own answers


def unread(
    status: int = 400,
    script: RequestScript = GARBAGE,
    first_at: float = 0.0,
    *,
    answer: dict[str, Any] = UNREAD,
    drained_at: float = 100.0,
    **facts: Any,
) -> list[str]:
    one = connection()
    asked(one, script, **facts)
    answered(one, status, first_at, **answer)
    return [what for _, what in told(one, drained_at=drained_at)]


def test_what_is_no_request_gets_its_status_and_is_closed() -> None:
    assert unread() == []
    assert unread(answer={"request_id": "unread"}) == ["a refused connection was"]
    assert unread(431) == ["what is no request got 4"]
    assert unread(400, FIXED) == ["it was refused as malfor"]


@pytest.mark.parametrize(
    ("status", "first_at", "facts", "is_said"),
    [
        (408, 10.0 - INSTANT_S, {"read_at": None}, False),
        (408, before(10.0 - INSTANT_S), {"read_at": None}, True),
        (408, 11.0, {"read_at": None, "sent_at": 2.0}, True),
        (408, 12.0, {"read_at": None, "sent_at": 2.0}, False),
        (408, 5.5 - 9e-7, {"read_at": None, "drained_at": 5.0}, False),
        (408, 5.5 - 11e-7, {"read_at": None, "drained_at": 5.0}, True),
        (408, 0.5 - INSTANT_S, {"read_at": None, "drained_at": 0.0}, False),
        (408, before(0.5 - INSTANT_S), {"read_at": None, "drained_at": 0.0}, True),
        (408, 12.0, {"read_at": 12.0 - INSTANT_S}, False),  # it came in that very instant
        (408, 12.0, {"read_at": before(12.0 - INSTANT_S)}, True),
    ],
)
@pytest.mark.parametrize("script", [FIXED, GARBAGE])
def test_a_head_is_late_after_ten_seconds_or_half_a_second_of_the_drain(
    status: int, first_at: float, facts: dict[str, Any], is_said: bool, script: RequestScript
) -> None:
    assert unread(status, script, first_at, **facts) == ["its head was called late"] * is_said


@pytest.mark.parametrize(
    ("read_at", "facts", "stalls", "is_said"),
    [
        (12.0 + INSTANT_S, {}, [], False),
        (after(12.0 + INSTANT_S), {}, [], True),
        (None, {"left_at": 12.0 + INSTANT_S}, [], False),
        (None, {"left_at": after(12.0 + INSTANT_S)}, [], True),
        (None, {"closed_at": 13.0 + 9e-7}, [], False),  # after the linger
        (None, {"closed_at": 13.0 + 11e-7}, [], True),
        (None, {}, [], True),
        (14.0, {"left_at": 13.0, "closed_at": 12.5}, [], False),
        (12.5, {}, [(3.0, 3.5)], False),
        (12.5, {}, [(1.0, 1.5), (12.6, 13.0)], True),  # before it came, and when it had been read
    ],
)
@pytest.mark.parametrize(("came_at", "free_at"), [(2.0, 0.0), (1.0, 2.0)])
def test_a_head_is_waited_for_for_ten_seconds_from_its_first_byte_or_the_answer_before(
    read_at: float | None,
    facts: dict[str, Any],
    stalls: list[tuple[float, float]],
    is_said: bool,
    came_at: float,
    free_at: float,
) -> None:
    one = connection()
    fixed(one)
    answered(one, 303, 0.0, last_at=free_at)
    slow = asked(one, HEAD, read_at=None, entered_at=None)
    one.read(bytes(1), came_at)
    if read_at is not None:
        one.read(bytes(len(slow.script.data) - 1), read_at)
    for name, value in facts.items():
        setattr(one, name, value)
    found = [what for of, what in told(one, stalls=stalls) if what.startswith("G10")]
    assert found == ["G10: its head began to c"] * is_said


ENDLESS: Final = RequestScript(1, b"GET / HTTP/1.1\nhost: a\n\n", "garbage", status=400)


@pytest.mark.parametrize(
    ("status", "first", "second", "came_at", "is_right"),
    [
        (400, ENDLESS, 431, 0.5, True),
        (431, ENDLESS, 431, 0.5, True),
        (414, ENDLESS, 414, 0.5, True),
        (413, ENDLESS, 413, 0.5, False),  # which is no answer for a size of a head
        (431, ENDLESS, 431, 1.0 + INSTANT_S, True),
        (431, ENDLESS, 431, after(1.0 + INSTANT_S), False),  # it had not come yet
        (431, GARBAGE, 431, 0.5, False),  # the first one has an end
    ],
)
def test_what_has_no_end_may_be_too_large_together_with_what_follows(
    status: int, first: RequestScript, second: int, came_at: float, is_right: bool
) -> None:
    one = connection()
    asked(one, first)
    asked(one, RequestScript(2, b"GET / HTTP/1.1\r\nx: y\r\n\r\n", "garbage", status=second), read_at=came_at)
    answered(one, status, 1.0, **UNREAD)
    assert told(one) == [("w1", "what is no request got 4")] * (not is_right)


def test_what_stands_before_it_does_not_make_it_too_large() -> None:
    one = connection()
    asked(one, RequestScript(1, b"GET / HTTP/1.1\nx: y\n\n", "garbage", status=431))
    answered(one, 431, 0.0, request_id="unread", fields={})
    asked(one, RequestScript(2, b"GET  / HTTP/1.1\nhost: a\n\n", "garbage", status=400))
    answered(one, 431, 0.0, **UNREAD)
    assert told(one) == [("w1", "a refused connection was"), ("w2", "what is no request got 4")]


@pytest.mark.parametrize(
    ("status", "said", "first_at", "last_at", "facts", "expected"),
    [
        (500, "internal", 1.0, -1.0, {}, []),
        (503, "internal", 1.0, -1.0, {}, ["G11: the application cra"]),
        (500, "deadline", 1.0, -1.0, {}, ["G11: the application cra"]),
        (500, "internal", 1.0 + 0 + INSTANT_S, -1.0, {}, []),
        (500, "internal", after(1.0 + 0 + INSTANT_S), -1.0, {}, ["G11: the application cra"]),
        (500, "internal", 1.0, -1.0, {"entered_at": None}, ["G11: the application cra"]),
        (503, "deadline", 2.0, -1.0, {}, ["G11: the application cra"] * 2),
    ],
)
def test_an_application_that_raises_is_answered_for_at_once(
    status: int, said: str, first_at: float, last_at: float, facts: dict[str, Any], expected: list[str]
) -> None:
    """G11."""
    facts = {"read_at": 1.0, "entered_at": 1.0, **facts}
    assert unread(status, CRASH, first_at, answer={**UNREAD, "reason": said}, **facts) == expected


def test_of_a_crash_whose_answer_is_cut_only_the_status_is_known_and_a_stall_delays_it() -> None:
    one = connection(left_at=0.0, closed_at=1.0)
    asked(one, CRASH)
    answered(one, 500, 0.25 + INSTANT_S, last_at=None, **UNREAD)
    one.reader._begun_at = 0.25
    assert told(one, stalls=[(0.0, 0.25)]) == []
    one.reader.answers[0].first_at = 0.125
    assert told(one, stalls=[(0.0625, 0.25)]) == []  # it began to stand still behind the request
    one.reader.answers[0].first_at = 0.26
    assert told(one, stalls=[(0.0, 0.25)]) == [("w1", "G11: the application cra")]
    assert told(one, stalls=[]) == [("w1", "G11: the application cra")]
