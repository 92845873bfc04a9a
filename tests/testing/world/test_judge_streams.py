"""What the judge says of one HTTP/2 connection: facts made by hand, at each limit and just beyond it."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nextafter
from typing import Any, Final

import pytest

from fanout.testing.world.answers import Answer
from fanout.testing.world.facts import RequestFacts
from fanout.testing.world.facts_streams import StreamsFacts
from fanout.testing.world.judge import judge
from fanout.testing.world.judge_streams import judge_streams
from fanout.testing.world.oracle import INSTANT_S
from fanout.testing.world.plan import ClientScript, Http2Script, Plan, RequestScript
from fanout.testing.world.streams import GoAway, Stream
from tests.testing.world.made import ended_run

FIXED: Final = RequestScript(1, b"GET / HTTP/1.1\r\nhost: a\r\n", "fixed", status=303)
GARBAGE: Final = RequestScript(1, b"", "garbage", status=400)
MALFORMED: Final = RequestScript(1, b"", "garbage", reset=1)
REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0x7, 0x8, 0xB  # RFC 9113 7
LONG_S: Final = 10.0 - INSTANT_S  # so long a client is waited for, as the documentation of the limits says
SHORT_S: Final = 0.5 - INSTANT_S  # and so long in the graceful shutdown


def after(limit: float) -> float:
    return nextafter(limit, inf)


def before(limit: float) -> float:
    return nextafter(limit, -inf)


def connection(streams: dict[str, Any] | None = None, number: int = 0, **facts: Any) -> StreamsFacts:
    """streams: what differs in what was read and written on it."""
    on = StreamsFacts(number, ClientScript((), http2=Http2Script()), 0.0, **facts)
    for name, value in (streams or {}).items():
        setattr(on.streams, name, value)
    return on


def asked(
    on: StreamsFacts,
    script: RequestScript = FIXED,
    *,
    read_at: float = 0.0,
    entered_at: float | None = 0.0,
    stream: dict[str, Any] | None = None,
    **facts: Any,
) -> RequestFacts:
    """A request on a stream of its own, and what differs there."""
    number = len(on.requests) + 1
    request = RequestFacts(
        replace(script, id=number), on, 0.0, 0, 2 * number - 1, entered_at=entered_at, **facts
    )
    on.requests.append(request)
    on.streams.streams[request.stream] = Stream(read_at, 65535, **(stream or {}))
    return request


def answered(request: RequestFacts, at: float = 0.0, status: int = 303, **facts: Any) -> Answer:
    """Its answer, complete at once unless it says something else."""
    said = {"last_at": at, "head_at": at, "room_at": at, **facts}
    fields = {"x-request-id": said.pop("request_id", f"w{request.script.id}")}
    answer = Answer(status, fields, at, **said)
    on: Any = request.connection
    on.streams.streams[request.stream].answer = answer
    on.streams.answers.append(answer)
    return answer


def reset(request: RequestFacts, error: int, at: float) -> None:
    """Its stream was reset by the server, instead of an answer."""
    answered(request, at, 0, reset=error, head_at=None, room_at=None)


def findings(on: StreamsFacts, **facts: Any) -> list[tuple[str, str]]:
    """Of whom something is said, and its first words."""
    ended = ended_run(on, **{"plan": Plan((), reserve_ms=10), "drained_at": 100.0, "cut_off": False, **facts})
    return [(of, what[:24]) for of, what in judge_streams(on, ended)]


def told_of(whom: str, on: StreamsFacts, **facts: Any) -> list[str]:
    return [what for of, what in findings(on, **facts) if of == whom]


def test_every_request_is_judged_on_its_stream_in_whatever_order_they_are_answered() -> None:
    on = connection()
    first, second = asked(on), asked(on)
    answered(second)
    answered(first)
    assert findings(on) == []
    on.streams.streams[first.stream].answer = None
    assert findings(on) == [("w1", "G1: it has no answer, an")]


# How a connection ends


@pytest.mark.parametrize(
    ("facts", "streams", "is_said"),
    [
        ({}, {}, True),
        ({}, {"goaway": GoAway(5.0, 0, 0)}, False),
        ({}, {"has_spoken": False}, False),  # it was over before it began
        ({"waits": [(1.0, 2.0)]}, {}, False),
        ({"too_many": True}, {}, False),
        ({"left_at": 5.0}, {}, False),
        ({}, {"left_at": 5.0}, False),
        ({"closed_at": None}, {}, False),
    ],
)
def test_a_connection_ends_with_goaway(facts: dict[str, Any], streams: dict[str, Any], is_said: bool) -> None:
    """RFC 9113 6.8. Unless its client left, or had no room for it."""
    on = connection({"has_spoken": True, **streams}, **{"closed_at": 5.0, **facts})
    assert findings(on) == [("c0", "its connection ended wit")] * is_said
    assert findings(on, cut_off=True) == []


@pytest.mark.parametrize(
    ("begun_at", "last_at", "closed_at", "drained_at", "is_said"),
    [
        (0.0, None, LONG_S, 100.0, False),
        (0.0, None, before(LONG_S), 100.0, True),
        (0.0, LONG_S, LONG_S, 100.0, True),  # it was taken to its end
        (None, None, LONG_S, 100.0, True),  # it was not begun
        (1.0, None, LONG_S, 100.0, True),
        (0.0, None, SHORT_S, 0.0, False),
        (0.0, None, before(SHORT_S), 0.0, True),
        (0.0, None, 3.4999, 3.0, True),
        (0.0, None, 3.5, 3.0, False),
        (3.25, None, 3.7499, 3.0, True),
        (3.25, None, 3.75, 3.0, False),
    ],
)
def test_a_connection_whose_client_takes_no_answer_is_reset(
    begun_at: float | None, last_at: float | None, closed_at: float, drained_at: float, is_said: bool
) -> None:
    on = connection({"has_spoken": True}, closed_at=closed_at)
    answered(asked(on), at=0.0)  # that one is complete
    answered(asked(on, answered_at=begun_at), last_at=last_at, room_at=None)
    assert ("its connection ended wit" in told_of("c0", on, drained_at=drained_at)) is is_said


@pytest.mark.parametrize(
    ("waits", "closed_at", "drained_at", "is_said"),
    [
        ([(0.0, inf)], LONG_S, 100.0, False),
        ([(0.0, inf)], before(LONG_S), 100.0, True),
        ([(0.0, inf)], SHORT_S, 0.0, False),
        ([(0.0, inf)], before(SHORT_S), 0.0, True),
        ([(0.0, 1.0), (1.0, inf)], 10.9, 100.0, True),  # it waits since the last of them began
        ([(0.0, 1.0), (1.0, inf)], 11.0, 100.0, False),
        ([(0.0, 1.0)], 5.0, 100.0, False),  # it waits for nothing
        ([(5.0 - INSTANT_S, inf)], 5.0, 100.0, False),  # only for GOAWAY, and an idle connection ends without
        ([(before(5.0 - INSTANT_S), inf)], 5.0, 100.0, True),
    ],
)
def test_a_client_without_room_is_waited_for(
    waits: list[tuple[float, float]], closed_at: float, drained_at: float, is_said: bool
) -> None:
    """G10. For whatever is written: not only for answers."""
    on = connection({"has_spoken": True}, closed_at=closed_at, waits=waits)
    answered(asked(on))
    assert findings(on, drained_at=drained_at) == [("c0", "G10: its client was not ")] * is_said


@pytest.mark.parametrize(
    ("entered_at", "answered_until", "is_said"),
    [
        (0.0, 5.0, False),
        (0.0, after(5.0), True),
        (0.0, None, True),  # it is running, and cannot be idle
        (None, None, True),
    ],
)
def test_an_idle_connection_is_one_whose_answers_are_complete(
    entered_at: float | None, answered_until: float | None, is_said: bool
) -> None:
    on = connection(closed_at=5.0, waits=[(5.0, inf)])
    answered(asked(on, entered_at=entered_at), last_at=answered_until)
    assert told_of("c0", on) == ["G10: its client was not "] * is_said


@pytest.mark.parametrize(
    ("entered_at", "is_refused", "closed_at", "is_said"),
    [
        (None, False, LONG_S, False),
        (None, False, before(LONG_S), True),
        (0.5, False, LONG_S, True),
        (None, True, LONG_S, True),
    ],
)
def test_a_client_whose_settings_cannot_be_answered_is_waited_for_from_the_beginning(
    entered_at: float | None, is_refused: bool, closed_at: float, is_said: bool
) -> None:
    """G10. Its first head has come, and is not looked at."""
    on = connection(closed_at=closed_at, waits=[(1.0, inf)])
    answer = answered(asked(on, entered_at=entered_at), request_id="unread", last_at=None)
    if is_refused:
        on.streams.completed.append(answer)
    assert told_of("c0", on) == ["G10: its client was not "] * is_said


@pytest.mark.parametrize(
    ("waits", "last_at", "closed_at", "is_said"),
    [
        ([(2.0, inf)], 2.0, LONG_S, False),
        ([(2.0, inf)], 3.0, LONG_S, False),
        ([(2.0, inf)], before(2.0), LONG_S, True),  # its last bytes were in the write before
        ([(2.0, inf)], 2.0, before(LONG_S), True),
        ([(0.0, 1.0), (2.0, inf)], 1.0, LONG_S, True),
    ],
)
def test_an_answer_waits_with_the_write_in_which_its_last_bytes_are(
    waits: list[tuple[float, float]], last_at: float, closed_at: float, is_said: bool
) -> None:
    """G10. What else is in that write may belong to an answer that came later."""
    on = connection(closed_at=closed_at, waits=waits)
    answered(asked(on, answered_at=0.0), last_at=last_at)
    assert told_of("c0", on) == ["G10: its client was not "] * is_said


def test_a_connection_ends_with_the_answer_that_is_given_up_whoever_else_waits() -> None:
    on = connection({"has_spoken": True}, closed_at=10.0, waits=[(9.0, inf)])
    request = asked(on, answered_at=0.0)
    assert told_of("c0", on) == []
    request.answered_at = 1.0
    assert told_of("c0", on) == ["G10: its client was not "]


# GOAWAY


def goaway_of(on: StreamsFacts, at: float = 5.0, last: int = 9, error: int = 0) -> list[str]:
    on.streams.goaway = GoAway(at, last, error)
    return told_of("c0", on)


@pytest.mark.parametrize(
    ("last", "entered_at", "is_said"), [(3, 0.0, False), (2, 0.0, True), (2, None, False)]
)
def test_goaway_excludes_what_was_not_begun_and_nothing_else(
    last: int, entered_at: float | None, is_said: bool
) -> None:
    """G9. So a client may send again what it excludes."""
    on = connection()
    answered(asked(on))
    answered(asked(on, entered_at=entered_at), request_id="unread")
    assert goaway_of(on, last=last) == ["G9: GOAWAY excludes w2, "] * is_said


def test_what_goaway_excludes_is_not_owed_an_answer() -> None:
    on = connection()
    answered(asked(on))
    asked(on, entered_at=None)
    on.streams.goaway = GoAway(5.0, 1, 0)
    assert findings(on) == []
    on.streams.goaway = GoAway(5.0, 3, 0)
    assert findings(on) == [("w2", "G1: its head was read, a")]


@pytest.mark.parametrize(
    ("entered_at", "moment", "over", "is_said"),
    [
        (0.0, INSTANT_S, {}, False),  # the same instant
        (0.0, after(INSTANT_S), {}, True),
        (None, 1.0, {}, False),
        (0.0, 1.0, {"left_at": 1.0 + INSTANT_S}, False),
        (0.0, 1.0, {"left_at": after(1.0 + INSTANT_S)}, True),
        (0.0, 1.0, {"first_at": 1.0 + INSTANT_S}, False),
        (0.0, 1.0, {"first_at": after(1.0 + INSTANT_S)}, True),
        (0.0, 1.0, {"answered_at": 1.0 + INSTANT_S}, False),
        (0.0, 1.0, {"answered_at": after(1.0 + INSTANT_S)}, True),
        (0.0, 1.0, {"answered_at": 2.0, "first_at": 0.5}, False),  # any of them
    ],
)
@pytest.mark.parametrize("error", [0, 1])
def test_goaway_is_the_last_word_unless_it_says_an_error(
    entered_at: float | None, moment: float, over: dict[str, float], is_said: bool, error: int
) -> None:
    """G9. What runs is answered first."""
    on = connection()
    request = asked(on, entered_at=entered_at, answered_at=over.get("answered_at"))
    on.streams.streams[request.stream].left_at = over.get("left_at")
    if "first_at" in over:
        answered(request, over["first_at"])
    expected = ["G9: it said GOAWAY, and "] * (is_said and not error)
    assert goaway_of(on, at=moment, error=error) == expected


@pytest.mark.parametrize(
    ("frames", "error", "too_many", "is_said"),
    [
        (999, ENHANCE_YOUR_CALM, False, True),
        (1000, ENHANCE_YOUR_CALM, False, False),
        (999, ENHANCE_YOUR_CALM, True, False),  # it is one connection too many
        (999, 1, False, False),
    ],
)
def test_a_client_is_told_to_calm_down_after_a_thousand_frames(
    frames: int, error: int, too_many: bool, is_said: bool
) -> None:
    """G10."""
    on = connection({"frames": frames}, too_many=too_many)
    assert goaway_of(on, error=error) == ["G10: 999 frames were too"] * is_said


# Pings

UNTIL: Final = 1.0 + 0 + INSTANT_S


@pytest.mark.parametrize(
    ("facts", "streams"),
    [
        ({"closed_at": UNTIL}, {}),
        ({"left_at": UNTIL}, {}),
        ({}, {"left_at": UNTIL}),
        ({}, {"goaway": GoAway(UNTIL, 0, 0)}),
        ({"closed_at": 9.0}, {"left_at": UNTIL}),
        ({"closed_at": UNTIL, "left_at": 9.0}, {}),
    ],
)
def test_a_ping_is_answered_at_once_while_there_is_a_connection(
    facts: dict[str, Any], streams: dict[str, Any]
) -> None:
    """RFC 9113 6.7."""
    assert findings(connection({"pings": [1.0], **streams}, **facts)) == []
    assert findings(connection({"pings": [0.999999999, 1.0], **streams}, **facts)) == [
        ("c0", "a ping of 0.999999999 wa")
    ]


def test_a_ping_that_is_never_answered_is_missed() -> None:
    assert findings(connection({"pings": [1.0]})) == [("c0", "a ping of 1.0 was not an")]


@pytest.mark.parametrize(
    ("closed_at", "stalls", "is_said"),
    [
        (2.0 + 0 + INSTANT_S, [], False),  # when there is room again
        (after(2.0 + 0 + INSTANT_S), [], True),
        (2.0 + (2.5 - 2.25) + INSTANT_S, [(2.25, 2.5)], False),
        (after(2.0 + (2.5 - 2.25) + INSTANT_S), [(2.25, 2.5)], True),
        (2.25, [(0.5, 0.75)], True),  # it had been over by then
    ],
)
def test_a_ping_is_answered_when_there_is_room(
    closed_at: float, stalls: list[tuple[float, float]], is_said: bool
) -> None:
    on = connection({"pings": [1.0]}, closed_at=closed_at, waits=[(0.5, 2.0)])
    assert findings(on, stalls=stalls) == [("c0", "a ping of 1.0 was not an")] * is_said


# Requests and their answers


def test_a_head_arrives_when_the_server_need_not_wait_for_room_any_more() -> None:
    on = connection(waits=[(0.25, 1.0)])
    request = asked(on, read_at=0.5, entered_at=1.0)
    answered(request, 1.0)
    assert findings(on) == []
    request.entered_at = 1.5
    assert findings(on) == [("w1", "it was read at 1.0 and g"), ("w1", "G2/G4/G5/G8: it was answ")]


def test_an_answer_is_judged_as_over_http_1() -> None:
    on = connection()
    answered(asked(on), request_id="w7")
    assert findings(on) == [("w1", "G1: it got the answer to")]


@pytest.mark.parametrize(
    ("answered_at", "head_at", "facts", "is_said"),
    [
        (1.0, 1.0 + 0 + INSTANT_S, {}, False),
        (1.0, after(1.0 + 0 + INSTANT_S), {}, True),
        (1.0, 2.0 + INSTANT_S, {"waits": [(0.5, 2.0)]}, False),
        (1.0, after(2.0 + INSTANT_S), {"waits": [(0.5, 2.0)]}, True),
        (1.0, 1.0 + 0.25 + INSTANT_S, {"stalls": [(0.75, 1.0)]}, False),
        (1.0, after(1.0 + 0.25 + INSTANT_S), {"stalls": [(0.75, 1.0)]}, True),
        (None, 2.0, {}, False),  # the application has not said when
        (1.0, None, {}, False),  # not a byte of it
    ],
)
def test_the_head_of_an_answer_is_written_when_there_is_room(
    answered_at: float | None, head_at: float | None, facts: dict[str, Any], is_said: bool
) -> None:
    """G2."""
    on = connection(waits=facts.pop("waits", []))
    request = asked(on, read_at=0.0, entered_at=0.0, answered_at=answered_at)
    answered(request, 1.0, head_at=head_at, last_at=3.0, room_at=3.0)
    said = f"G2: it was answered at {answered_at}"[:24]
    assert (said in told_of("w1", on, **facts)) is is_said


@pytest.mark.parametrize(
    ("room_at", "last_at", "facts", "is_said"),
    [
        (1.0, 1.0 + 0 + INSTANT_S, {}, False),
        (1.0, after(1.0 + 0 + INSTANT_S), {}, True),
        (None, 0.0 + INSTANT_S, {}, False),  # it never had to wait for a window
        (None, after(0.0 + INSTANT_S), {}, True),
        (1.0, 2.0 + INSTANT_S, {"waits": [(0.5, 2.0)]}, False),
        (1.0, after(2.0 + INSTANT_S), {"waits": [(0.5, 2.0)]}, True),
        (1.0, 1.0 + 0.25 + INSTANT_S, {"stalls": [(1.0, 1.25)]}, False),
        (1.0, after(1.0 + 0.25 + INSTANT_S), {"stalls": [(1.0, 1.25)]}, True),
        (1.0, 1.25, {"stalls": [(0.25, 0.5)]}, True),  # it was over by then
    ],
)
def test_an_answer_is_complete_when_its_windows_have_room(
    room_at: float | None, last_at: float, facts: dict[str, Any], is_said: bool
) -> None:
    """G2."""
    on = connection(waits=facts.pop("waits", []))
    answered(asked(on), room_at=room_at, last_at=last_at)
    assert findings(on, **facts) == [("w1", "G2: its windows had room")] * is_said


@pytest.mark.parametrize(
    ("last_at", "stalls", "is_said"),
    [
        (1.0 + 0 + INSTANT_S, [], False),
        (after(1.0 + 0 + INSTANT_S), [], True),
        (1.0 + 0.25 + INSTANT_S, [(0.5, 0.75)], False),
        (after(1.0 + 0.25 + INSTANT_S), [(0.5, 0.75)], True),
        (1.25, [(1.5, 1.75)], True),  # it was written by then
    ],
)
def test_nothing_is_written_to_a_stream_that_its_client_has_reset(
    last_at: float, stalls: list[tuple[float, float]], is_said: bool
) -> None:
    """G6."""
    on = connection()
    answered(asked(on, stream={"left_at": 1.0}), room_at=last_at, last_at=last_at)
    assert findings(on, stalls=stalls) == [("w1", "G6: it was written until")] * is_said


GIVEN_UP_BY: Final = 0.0 + 10.0 + 0 + INSTANT_S


@pytest.mark.parametrize(
    ("ends", "is_said"),
    [
        ({"last_at": GIVEN_UP_BY}, False),
        ({"last_at": after(GIVEN_UP_BY)}, True),
        ({"reset_at": GIVEN_UP_BY}, False),
        ({"reset_at": after(GIVEN_UP_BY)}, True),
        ({"left_at": GIVEN_UP_BY}, False),
        ({"left_at": after(GIVEN_UP_BY)}, True),
        ({"closed_at": GIVEN_UP_BY}, False),
        ({"closed_at": after(GIVEN_UP_BY)}, True),
        ({"closed_at": 99.0, "reset_at": GIVEN_UP_BY}, False),  # whichever comes first
        ({}, True),
    ],
)
def test_an_answer_that_its_client_does_not_take_is_given_up(ends: dict[str, float], is_said: bool) -> None:
    """G10."""
    on = connection(closed_at=ends.get("closed_at"))
    stream = {"left_at": ends.get("left_at"), "reset_at": ends.get("reset_at"), "reset": CANCEL}
    answered(asked(on, stream=stream), last_at=ends.get("last_at"), room_at=None)
    assert ("G10: it was answered at " in told_of("w1", on)) is is_said


@pytest.mark.parametrize(
    ("closed_at", "facts", "is_said"),
    [
        (11.0 + INSTANT_S, {"waits": [(9.0, 11.0)]}, False),  # nobody could see that it was given up
        (after(11.0 + INSTANT_S), {"waits": [(9.0, 11.0)]}, True),
        (10.0 + 0.25 + INSTANT_S, {"stalls": [(5.0, 5.25)]}, False),
        (after(10.0 + 0.25 + INSTANT_S), {"stalls": [(5.0, 5.25)]}, True),
        (10.25, {"stalls": [(11.0, 11.25)]}, True),
    ],
)
def test_an_answer_is_given_up_later_when_nobody_looks(
    closed_at: float, facts: dict[str, Any], is_said: bool
) -> None:
    on = connection(closed_at=closed_at, waits=facts.pop("waits", []))
    answered(asked(on), last_at=None, room_at=None)
    assert ("G10: it was answered at " in told_of("w1", on, **facts)) is is_said


@pytest.mark.parametrize(
    ("facts", "stream", "room_at", "drained_at", "is_said"),
    [
        ({}, {}, None, 100.0, True),
        ({"left_at": 1.0}, {}, None, 100.0, False),
        ({}, {"left_at": 1.0}, None, 100.0, False),
        ({"left_at": 1.0}, {}, 0.5, 100.0, False),
        ({"closed_at": LONG_S}, {}, None, 100.0, False),
        ({"closed_at": before(LONG_S)}, {}, None, 100.0, True),
        ({"closed_at": LONG_S}, {}, 0.5, 100.0, True),  # there was room
        ({"closed_at": SHORT_S}, {}, None, 0.0, False),
        ({"closed_at": before(SHORT_S)}, {}, None, 0.0, True),
        ({}, {"reset_at": LONG_S, "reset": CANCEL}, None, 100.0, False),
        ({}, {"reset_at": before(LONG_S), "reset": CANCEL}, None, 100.0, True),
        ({}, {"reset_at": LONG_S, "reset": CANCEL + 1}, None, 100.0, True),
        ({"closed_at": LONG_S}, {"reset_at": 1.0, "reset": CANCEL}, None, 100.0, True),
        ({}, {"reset_at": 12.0, "reset": CANCEL}, 12.0 - INSTANT_S, 100.0, False),  # room came as it ended
        ({}, {"reset_at": 12.0, "reset": CANCEL}, before(12.0 - INSTANT_S), 100.0, True),
    ],
)
def test_an_answer_may_be_cut_for_a_client_that_left_or_gives_no_room(
    facts: dict[str, Any], stream: dict[str, Any], room_at: float | None, drained_at: float, is_said: bool
) -> None:
    on = connection(**facts)
    answered(asked(on, stream=stream), last_at=None, room_at=room_at)
    assert ("G1: its answer is not co" in told_of("w1", on, drained_at=drained_at)) is is_said


@pytest.mark.parametrize(
    ("read_at", "begun_at", "facts", "is_said"),
    [
        (11.0 - INSTANT_S, 0.0, {"closed_at": 11.0}, False),
        (before(11.0 - INSTANT_S), 0.0, {"closed_at": 11.0}, True),
        (before(11.0 - INSTANT_S), 0.0, {"closed_at": 11.0, "left_at": 11.0 - INSTANT_S}, False),
        (11.0, 2.0, {"closed_at": 11.0}, True),  # that one was not waited for long enough
        (11.0, 0.0, {"closed_at": None}, True),
        (11.0, 2.0, {"closed_at": 11.0, "left_at": 11.0}, False),
    ],
)
def test_a_request_may_come_in_the_instant_in_which_another_answer_is_given_up(
    read_at: float, begun_at: float, facts: dict[str, Any], is_said: bool
) -> None:
    on = connection(**facts)
    answered(asked(on, answered_at=begun_at), last_at=None, room_at=None)
    asked(on, read_at=read_at, entered_at=None)
    assert told_of("w2", on) == ["G1: its head was read, a"] * is_said


@pytest.mark.parametrize(
    ("answered_at", "closed_at", "is_said"),
    [
        (0.0, LONG_S, False),
        (0.0, before(LONG_S), True),
        (0.0, None, True),
        (None, LONG_S, True),  # it was not begun
    ],
)
def test_an_answer_that_was_begun_may_have_no_room_for_a_byte(
    answered_at: float | None, closed_at: float | None, is_said: bool
) -> None:
    on = connection(closed_at=closed_at)
    asked(on, answered_at=answered_at)
    assert findings(on) == [("w1", "G1: it has no answer, an")] * is_said


def test_of_an_answer_that_was_begun_a_client_that_leaves_need_not_see_anything() -> None:
    on = connection(left_at=5.0)
    request = asked(on, answered_at=0.0)
    assert findings(on) == []
    request.answered_at = None  # it was due at 0
    assert findings(on) == [("w1", "G1: it has no answer, an")]


# Streams that the server resets


@pytest.mark.parametrize(
    ("reset_at", "facts", "is_said"),
    [
        (1.0 + 0 + INSTANT_S, {}, False),
        (after(1.0 + 0 + INSTANT_S), {}, True),
        (1.0 + 0.25 + INSTANT_S, {"stalls": [(1.125, 1.375)]}, False),
        (after(1.0 + 0.25 + INSTANT_S), {"stalls": [(1.125, 1.375)]}, True),
        (1.25, {"stalls": [(1.5, 1.75)]}, True),
        (2.0 + INSTANT_S, {"waits": [(0.5, 2.0)]}, False),
        (after(2.0 + INSTANT_S), {"waits": [(0.5, 2.0)]}, True),
    ],
)
def test_the_stream_of_a_malformed_request_is_reset_at_once(
    reset_at: float, facts: dict[str, Any], is_said: bool
) -> None:
    """RFC 9113 8.1.1."""
    on = connection(waits=facts.pop("waits", []))
    reset(asked(on, MALFORMED, read_at=1.0, entered_at=None), 1, reset_at)
    assert [what[:19] for what in told_of("w1", on, **facts)] == ["G2: it was read at "] * is_said


@pytest.mark.parametrize(
    ("script", "error", "is_said"),
    [(MALFORMED, 1, False), (MALFORMED, 2, True), (GARBAGE, 1, True), (FIXED, 1, True)],
)
def test_a_stream_is_reset_with_the_error_that_its_request_is(
    script: RequestScript, error: int, is_said: bool
) -> None:
    on = connection()
    reset(asked(on, script, entered_at=None), error, 0.0)
    assert findings(on) == [("w1", "G1: its stream was reset")] * is_said


DRAINED_AT: Final = 5.0


@pytest.mark.parametrize(
    ("error", "read_at", "entered_at", "stalls", "is_said"),
    [
        (REFUSED_STREAM, DRAINED_AT - INSTANT_S, None, [], False),
        (REFUSED_STREAM, before(DRAINED_AT - INSTANT_S), None, [], True),
        (REFUSED_STREAM, DRAINED_AT, DRAINED_AT, [], True),  # the application was given it
        (CANCEL, DRAINED_AT, None, [], True),
        (REFUSED_STREAM, 1.25, None, [(1.0, 1.25)], False),  # G8: the loop was behind
        (REFUSED_STREAM, 2.0, None, [(1.0, 1.25)], True),
        (CANCEL, 1.25, None, [(1.0, 1.25)], True),
    ],
)
def test_a_stream_is_refused_in_the_shutdown_and_when_the_loop_is_behind(
    error: int, read_at: float, entered_at: float | None, stalls: list[tuple[float, float]], is_said: bool
) -> None:
    """G9. Refused is what the application was not given: so a client may send it again."""
    on = connection()
    reset(asked(on, read_at=read_at, entered_at=entered_at), error, read_at)
    found = findings(on, drained_at=DRAINED_AT, stalls=stalls)
    assert found == [("w1", "G1: its stream was reset")] * is_said


# The driver's own answers


@pytest.mark.parametrize(("status", "is_said"), [(400, False), (431, True)])
def test_what_is_no_request_gets_its_status_and_its_connection_goes_on(status: int, is_said: bool) -> None:
    """Its size is its own, too: nothing behind it on the connection is a part of it."""
    on = connection()
    answered(asked(on, GARBAGE, entered_at=None), status=status, request_id="unread")
    answered(asked(on, replace(GARBAGE, status=431), entered_at=None), status=431, request_id="unread")
    assert findings(on) == [("w1", "what is no request got 4")] * is_said


def test_a_request_is_shed_when_it_comes() -> None:
    """G8. And not before."""
    on = connection()
    shed = answered(asked(on, read_at=1.25, entered_at=None), 1.25, 503, request_id="world-1")
    shed.fields |= {"content-type": "application/problem+json", "connection": "close"}
    shed.body = b'{"reason": "overloaded"}'
    assert findings(on, stalls=[(1.0, 1.25)]) == []
    shed.first_at = 1.2
    assert told_of("w1", on, stalls=[(1.0, 1.25)]) == ["G1: it was answered befo"]
    shed.first_at = 1.25
    on.streams.goaway = GoAway(5.0, 0, 0)  # which says that it did not come in time
    assert "G1: it was answered befo" in told_of("w1", on, stalls=[(1.0, 1.25)])


# What is judged of the whole run


def test_late_answers_are_forgiven_to_a_client_whose_window_held_one_back() -> None:
    """G2."""
    on = connection()
    ended = ended_run(on, late_answers=3, cut_off=False)
    assert [str(violation) for violation in judge(ended)] == ["server: G2: it counts 3 late answers"]
    on.streams.was_held = True
    assert judge(ended) == []


@pytest.mark.parametrize(
    ("first_at", "goaway_at", "stalls", "is_said"),
    [
        (1.0 + INSTANT_S, None, [], False),
        (2.0, None, [], True),
        (2.0, 2.0, [], False),
        (2.0, 3.0, [], True),
        (2.0, 3.0, [(2.5, 3.5)], False),
        (2.0, 3.0, [(0.5, 1.5)], True),  # that was over when it was answered
        (2.0, 3.0, [(9.5, 10.5)], True),  # and that began when all was over
    ],
)
def test_after_the_signal_a_connection_ends_with_its_last_answer(
    first_at: float, goaway_at: float | None, stalls: list[tuple[float, float]], is_said: bool
) -> None:
    """G9. By GOAWAY: no field of an answer says so."""
    on = connection(number=3)
    answered(asked(on, read_at=first_at, entered_at=first_at), first_at)
    on.streams.goaway = None if goaway_at is None else GoAway(goaway_at, 1, 0)
    ended = ended_run(on, signalled_at=1.0, drained_at=1.0, stalls=stalls, ended_at=9.0)
    said = f"G9: an answer at {first_at} keeps c3 open after the signal"
    assert (said in [violation.what for violation in judge(ended)]) is is_said


def test_who_breaks_what_on_a_connection_of_http_2_is_said() -> None:
    on = connection({"pings": [1.0]}, number=3)
    asked(on)
    found = [(violation.of, violation.what[:12]) for violation in judge(ended_run(on, cut_off=False))]
    assert found == [("w1", "G1: it has n"), ("c3", "a ping of 1.")]
