"""HTTP/2 in a simulation run: what a client does to one request, and what becomes of the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fanout.testing.world import frames
from fanout.testing.world.answers import BadAnswer
from fanout.testing.world.clients_http2 import NOISE, fields_of
from fanout.testing.world.ended import Ended
from fanout.testing.world.frames import Splitter, continued, frame
from fanout.testing.world.judge import judge
from fanout.testing.world.met import met
from fanout.testing.world.plan import Extra, Http2Script, Leave, RequestScript
from fanout.testing.world.streams import StreamsReader
from fanout.testing.world.world import run_plan
from tests.testing.world.plans import answers, plan_of, race

HTTP2 = Http2Script()


def run(*requests: RequestScript, http2: Http2Script = HTTP2, **limits: Any) -> Ended:
    """A run with one client of HTTP/2, in which every guarantee was kept."""
    ended = run_plan(plan_of(*requests, http2=http2, **limits), 0)
    assert [str(violation) for violation in judge(ended)] == []
    return ended


def told(ended: Ended) -> list[tuple[int, int | None, float | None]]:
    """Of each request: the status of its answer, the error that reset its stream, and when it ended."""
    found = []
    for request in sorted(ended.requests, key=lambda request: request.script.id):
        answer = request.connection.answer_to(request)
        assert answer is not None
        found.append((answer.status, answer.reset, answer.last_at and round(answer.last_at, 6)))
    return found


def situations(ended: Ended) -> set[str]:
    return {name for name, count in met(ended).items() if count}


def test_requests_of_one_connection_run_at_once() -> None:
    ended = run(
        race(1, answers(300), answers(200)),
        race(2, answers(50), answers(70), ask="all", pipelined=True),
        race(3, answers(200), answers(400), pipelined=True),
    )
    assert told(ended) == [(200, None, 0.2), (200, None, 0.07), (200, None, 0.2)]
    assert len(ended.connections) == 1
    assert "a connection ends two requests at once" in situations(ended)


def test_a_reset_ends_the_calls_of_its_request_and_no_others() -> None:
    """G6. In the instant in which the server reads it."""
    ended = run(
        race(1, answers(300), answers(300)),
        race(2, answers(300), answers(300), pipelined=True, leave=Leave("cancel", 50)),
    )
    first, second = sorted(ended.requests, key=lambda request: request.script.id)
    assert second.connection.answer_to(second) is None
    assert {round(call.ended_at or 0, 6) for call in second.calls.values()} == {0.05}
    answer = first.connection.answer_to(first)
    assert answer is not None
    assert (answer.status, round(answer.first_at, 6)) == (200, 0.3)
    assert situations(ended) >= {
        "a stream is reset while its calls run",
        "a stream is reset, and another one of its connection is answered",
    }


@pytest.mark.parametrize("how", ["fin", "rst", "half", "goaway", "noise"])
@pytest.mark.parametrize("after_ms", range(50, 50 + len(NOISE)))
def test_the_end_of_a_connection_is_the_end_of_all_its_requests(how: Any, after_ms: int) -> None:
    """G6. Whatever bytes are no HTTP/2."""
    ended = run(
        race(1, answers(300), answers(300)),
        race(2, answers(300), answers(300), pipelined=True, leave=Leave(how, after_ms)),
    )
    ends = {round(call.ended_at or 0, 6) for request in ended.requests for call in request.calls.values()}
    assert ends == {after_ms / 1000}
    assert ended.connections[0].answers == []


def test_an_answer_waits_for_its_window_and_comes_when_that_is_opened() -> None:
    ended = run(race(1, answers(100), answers(200)), http2=Http2Script(0, opens_after_ms=3000))
    (answer,) = ended.connections[0].answers
    assert [answer.first_at, answer.last_at] == pytest.approx([0.1, 3.0])
    assert situations(ended) >= {
        "an answer waits for its window",
        "an answer waits for its window until its time is over",
    }


def test_an_answer_without_a_window_is_given_up_and_the_others_are_not() -> None:
    """G10. After 10 seconds; w2 has a whole window by then, and runs on."""
    late = race(2, answers(1), answers(1), gap_ms=9_000, pipelined=True, timeout_ms=2_500, extras=("grow",))
    ended = run(race(1, answers(1), answers(1)), late, http2=Http2Script(0))
    assert "an answer waits for its window" in situations(ended)
    ended = run(race(1, answers(1), answers(1)), http2=Http2Script(0))
    assert ended.connections[0].closed_at == pytest.approx(10.001)
    assert "an answer is given up for want of a window" in situations(ended)


@pytest.mark.parametrize("bytes_", [1, 7, 100])
def test_a_tiny_window_is_used_to_the_last_byte(bytes_: int) -> None:
    ended = run(race(1, answers(10), answers(20), ask="all"), http2=Http2Script(bytes_))
    assert told(ended) == [(200, None, 0.02)]


@pytest.mark.parametrize(
    "extra", ["ping", "priority", "unknown", "table", "grow", "shrink", "window", "continuation"]
)
def test_other_frames_change_nothing(extra: Extra) -> None:
    twice = race(1, answers(10), answers(20)), race(2, answers(10), answers(20), extras=(extra,))
    assert told(run(*twice)) == [(200, None, 0.01), (200, None, 0.02)]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_head_may_be_cut_anywhere(share: float) -> None:
    """The others wait for the rest of the frame, and the answer does not."""
    ended = run(
        race(1, answers(10), answers(20)),
        race(2, answers(10), answers(20), split_at=share, pause_ms=500),
        race(3, answers(10), answers(20), pipelined=True),
    )
    assert told(ended) == [(200, None, 0.01), (200, None, 0.52), (200, None, 0.52)]


def test_the_shutdown_answers_what_runs_and_refuses_what_comes() -> None:
    """G9. Then it says GOAWAY, and closes."""
    ended = run(
        race(1, answers(300), answers(300)),
        race(2, answers(200), answers(300), pipelined=True),
        race(3, answers(1), answers(1), gap_ms=250, pipelined=True),
        drain_at_ms=100,
    )
    assert told(ended) == [(200, None, 0.3), (200, None, 0.2), (0, 7, 0.25)]
    (connection,) = ended.connections
    assert situations(ended) >= {
        "a stream is refused in the shutdown",
        "the shutdown waits for two requests of a connection",
    }
    assert "an idle HTTP/2 connection gets GOAWAY in the shutdown" not in situations(ended)
    goaway = connection.streams.goaway  # type: ignore[attr-defined]  # it is one of HTTP/2
    assert (goaway.at, goaway.last, goaway.error) == (pytest.approx(0.3), 5, 0)


def test_an_answer_that_its_client_has_yet_to_take_survives_the_shutdown() -> None:
    """G1, G9. Its last frame waits for room on the connection, which is not idle for that."""
    ended = run(race(1, answers(10), answers(10), stall_ms=300), window_bytes=100, drain_at_ms=50)
    assert told(ended) == [(200, None, 0.3)]


def test_an_idle_connection_gets_goaway_in_the_shutdown() -> None:
    """RFC 9113 6.8."""
    ended = run(race(1, answers(1), answers(1)), race(2, gap_ms=1000), drain_at_ms=100)
    assert "an idle HTTP/2 connection gets GOAWAY in the shutdown" in situations(ended)


def test_in_the_lame_duck_goaway_follows_the_last_answer() -> None:
    ended = run(
        race(1, answers(300), answers(300)),
        race(2, answers(300), answers(300), gap_ms=200, pipelined=True),
        drain_at_ms=100,
        lame_duck_ms=1000,
    )
    assert told(ended) == [(200, None, 0.3), (200, None, 0.5)]
    (connection,) = ended.connections
    assert connection.streams.goaway.at == pytest.approx(0.5)  # type: ignore[attr-defined]  # as above


@pytest.mark.parametrize("http2", [None, HTTP2])
def test_over_tls_it_is_the_same(http2: Http2Script | None) -> None:
    plan = plan_of(
        race(1, answers(100), answers(200)),
        race(2, answers(1), answers(1), leave=Leave("fin", 0)),
        race(3, answers(1), answers(1)),
        http2=http2,
        tls=True,
    )
    ended = run_plan(plan, 0)
    assert judge(ended) == []
    assert "a client over TLS is answered" in situations(ended)
    assert [answer.status for connection in ended.connections for answer in connection.answers] == [200, 200]


# What is read from the frames.


def test_frames_are_split_wherever_they_are_cut() -> None:
    data = frame(frames.PING, 0, 0, bytes(8)) + frame(frames.DATA, 1, 3, b"abc")
    for cut in range(len(data)):
        splitter = Splitter(b"skipped")
        found = [*splitter.feed(b"skip"), *splitter.feed(b"ped" + data[:cut]), *splitter.feed(data[cut:])]
        assert found == [(frames.PING, 0, 0, bytes(8)), (frames.DATA, 1, 3, b"abc")]


def test_a_continued_head_is_the_same_head() -> None:
    head = frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 5, b"0123456789")
    first, *others = Splitter().feed(continued(head))
    assert first[:3] == (frames.HEADERS, frames.END_STREAM, 5)
    assert [one[:3] for one in others] == [
        (frames.CONTINUATION, 0, 5),
        (frames.CONTINUATION, frames.END_HEADERS, 5),
    ]
    assert b"".join(one.payload for one in (first, *others)) == b"0123456789"


def test_a_head_of_http_1_is_the_same_fields_over_http_2() -> None:
    request = RequestScript(7, b"GET /x?y HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx: 1\r\n", "fixed")
    assert fields_of(request) == [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/x?y"),
        (b":authority", b"a"),
        (b"x", b"1"),
        (b"x-request-id", b"w7"),
    ]


HEAD = b"\x88"  # :status 200
ACKNOWLEDGED = frame(frames.SETTINGS, frames.ACK, 0)
ASKED = frames.PREFACE + frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, b"")
ANSWERED = frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, HEAD)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (frame(frames.HEADERS, frames.END_HEADERS, 3, HEAD), "stream 3 was not asked for"),
        (frame(frames.DATA, 0, 1, b"a"), "a body before its head"),
        (ANSWERED + frame(frames.DATA, 0, 1, b"a"), "frame 0 behind the end of stream 1"),
        (ANSWERED + ANSWERED, "frame 1 behind the end"),
        (frame(frames.RST_STREAM, 0, 1, bytes(4)) * 2, "frame 3 behind the end"),
        (frame(frames.HEADERS, frames.END_HEADERS, 1, HEAD) * 2, "a head with the status 200"),
        (
            frame(frames.HEADERS, frames.END_HEADERS, 1, HEAD) + frame(frames.DATA, 0, 1, bytes(9)) * 8000,
            "9 bytes, and a window -",
        ),
        (
            frame(frames.HEADERS, frames.END_HEADERS, 1, HEAD + b"\x0f\x0d\x015")
            + frame(frames.DATA, frames.END_STREAM, 1, b"four"),
            "4 bytes of 5 on stream 1",
        ),
    ],
)
def test_what_is_no_answer_is_found(written: bytes, said: str) -> None:
    reader = StreamsReader()
    reader.take(ASKED, 0.0)
    with pytest.raises(BadAnswer, match=said):
        reader.feed(written, 0.0)


def test_the_windows_are_those_that_the_server_has_read_of() -> None:
    settings = frame(frames.SETTINGS, 0, 0, b"\0\4" + (3).to_bytes(4, "big"))
    reader = StreamsReader()
    reader.take(frames.PREFACE + settings + ASKED[len(frames.PREFACE) :], 0.0)
    reader.feed(ACKNOWLEDGED, 0.0)
    reader.feed(frame(frames.HEADERS, frames.END_HEADERS, 1, HEAD + b"\x0f\x0d\x015"), 1.0)
    (answer,) = reader.answers
    rooms = [answer.room_at]
    steps: tuple[Callable[[], None], ...] = (
        lambda: reader.feed(frame(frames.DATA, 0, 1, b"fir"), 1.0),
        lambda: reader.take(frame(frames.WINDOW_UPDATE, 0, 1, (1).to_bytes(4, "big")), 2.0),
        lambda: reader.take(frame(frames.SETTINGS, 0, 0, b"\0\4" + bytes(4)), 3.0),
        lambda: reader.feed(ACKNOWLEDGED, 3.0),
        lambda: reader.take(frame(frames.SETTINGS, 0, 0, b"\0\4" + (9).to_bytes(4, "big")), 4.0),
    )
    for step in steps:
        step()
        rooms.append(answer.room_at)
    assert rooms == [1.0, None, 2.0, 2.0, None, 4.0]
    reader.feed(frame(frames.DATA, frames.END_STREAM, 1, b"st"), 4.0)
    assert (answer.last_at, answer.was_held, reader.completed) == (4.0, True, [answer])
