"""How an HTTP/2 connection ends, after how long, and what is counted then. G6, G10, G11."""

from __future__ import annotations

from collections.abc import Callable

import h2.events
import h2.settings
import pytest
import trio
import trio.testing
from h2.errors import ErrorCodes
from trio.testing import MockClock

from fanout.server.asgi import ANSWER, CLIENT_KEY, Receive, Scope, Send
from fanout.server.connection import DISCONNECT
from fanout.server.driver import Driver
from fanout.server.limits import Limits
from tests.blackbox.front_door.http2_frames import (
    CONTINUATION,
    END_HEADERS,
    PING,
    block,
    fields,
    frame,
    headers,
)
from tests.server.apps import Echo, answer
from tests.server.http2 import H2Client, Http2World, http2_in_memory, request, serve_http2, unread
from tests.server.http2_hostile import get
from tests.server.recorded import Recorded
from tests.server.serving import MemoryTransport, in_memory

LIMITS = Limits(head_timeout_s=10, idle_timeout_s=75, linger_timeout_s=1, drain_grace_s=0.5)


async def seconds_until_the_end(client: H2Client) -> float:
    began = trio.current_time()
    await client.end()
    return trio.current_time() - began


@pytest.mark.parametrize("sent", [b"", b"PRI * HTTP/2.0\r\n\r\nSM\r"])
async def test_half_a_preface_is_half_a_head(sent: bytes, autojump_clock: MockClock) -> None:
    async with http2_in_memory(Echo(), LIMITS) as world:
        client = world.connect()
        await client.stream.send_all(sent)
        assert await seconds_until_the_end(client) == pytest.approx(10)
        assert world.driver.statistics().ended == {"slow_head": 1}


@pytest.mark.parametrize("asks", [False, True])
async def test_a_client_that_asks_for_nothing_is_idle(asks: bool, autojump_clock: MockClock) -> None:
    """From its preface on, or from its last answer; frames of any other kind do not count as a request."""
    async with http2_in_memory(Echo(), LIMITS) as world:
        client = world.connect()
        await client.flush()
        if asks:
            await client.send(request())
            await client.ended()
        await trio.testing.wait_all_tasks_blocked()
        statistics = world.driver.statistics()
        assert (statistics.waiting, statistics.busy) == (1, 0)
        assert await seconds_until_the_end(client) == pytest.approx(75)
        assert world.driver.statistics().ended == {"idle": 1}


async def test_a_connection_with_a_request_is_busy_until_its_answer(autojump_clock: MockClock) -> None:
    app = Echo(slow_s=200)
    async with http2_in_memory(app, LIMITS) as world:
        client = world.connect()
        await client.send(request(b"/slow"))
        await trio.sleep(100)
        statistics = world.driver.statistics()
        assert (statistics.waiting, statistics.busy, statistics.requests) == (0, 1, 1)
        client.connection.ping(b"12345678")  # is answered, and changes nothing
        await client.flush()
        await client.next(h2.events.PingAckReceived)
        assert world.driver.statistics().busy == 1
        assert await client.ended() == 1
        assert trio.current_time() == 200
        await trio.testing.wait_all_tasks_blocked()
        assert world.driver.statistics().waiting == 1


async def test_a_mistake_that_ends_the_connection_is_counted_once_and_cancels_what_runs(
    autojump_clock: MockClock,
) -> None:
    """G6, G10. Nothing behind it is read."""
    app = Echo(slow_s=60)
    async with http2_in_memory(app, LIMITS) as world:
        for count in (1, 2):
            client = world.connect()
            await client.send(request(b"/slow"))
            await trio.testing.wait_all_tasks_blocked()
            client.connection.send_headers(3, request(), end_stream=True)
            await client.stream.send_all(
                frame(PING, 0, 1, bytes(8)) + client.connection.data_to_send() + frame(PING, 0, 1, bytes(8))
            )
            assert await client.goodbye() == ErrorCodes.PROTOCOL_ERROR
            await client.end()
            statistics = world.driver.statistics()
            assert (statistics.malformed, statistics.requests) == (count, count)
            assert statistics.ended == {"refused": count}
            assert app.running == 0
            assert app.told_at == [trio.current_time()] * count


async def test_a_frame_that_is_too_long_ends_the_connection(autojump_clock: MockClock) -> None:
    """RFC 9113 4.2: FRAME_SIZE_ERROR. With the head of the frame, not with its end: h2 would keep it."""
    async with http2_in_memory(Echo(), LIMITS) as world:
        client = world.connect()
        await client.flush()
        await client.stream.send_all(frame(PING, 0, 0, bytes(2**14 + 1))[:9])
        assert await client.goodbye() == ErrorCodes.FRAME_SIZE_ERROR
        await client.end()
        assert world.driver.statistics().ended == {"flooding": 1}
        assert world.driver.statistics().malformed == 0


async def test_a_continuation_of_nothing_ends_the_connection(autojump_clock: MockClock) -> None:
    """RFC 9113 6.10: PROTOCOL_ERROR. h2 lets it pass on a stream that was reset."""
    async with http2_in_memory(Echo(slow_s=60)) as world:
        client = world.connect()
        await client.send(request(b"/slow"))
        client.connection.reset_stream(1)
        await client.flush()
        await client.stream.send_all(frame(CONTINUATION, END_HEADERS, 1, b"\x82"))
        assert await client.goodbye() == ErrorCodes.PROTOCOL_ERROR
        await client.end()
        assert world.driver.statistics().ended == {"refused": 1}
        assert world.driver.statistics().malformed == 1


async def test_malformed_requests_are_counted_as_what_was_taken_back(autojump_clock: MockClock) -> None:
    """G10. Two mistakes and a reset are three; the fourth is one too many."""
    async with http2_in_memory(Echo(slow_s=60), Limits(max_resets=3, resets_per_s=0)) as world:
        client = world.connect()
        for stream_id in (1, 3):
            await client.send(request(b""), stream_id=stream_id)
            assert await client.reset() == ErrorCodes.PROTOCOL_ERROR
        await client.send(request(b"/slow"), stream_id=5)
        client.connection.reset_stream(5)
        await client.flush()
        await client.send(request(b""), stream_id=7)
        assert await client.goodbye() == ErrorCodes.ENHANCE_YOUR_CALM
        await client.end()
        assert world.driver.statistics().malformed == 3
        assert world.driver.statistics().ended == {"flooding": 1}


async def test_answers_that_a_client_does_not_take_are_counted_as_taken_back(
    autojump_clock: MockClock,
) -> None:
    """G10. Each holds a request's memory for as long as a write may take."""
    limits = Limits(max_resets=2, resets_per_s=0, write_timeout_s=1)
    async with http2_in_memory(Echo(slow_s=60), limits) as world:
        client = world.connect()
        client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        await client.send(request(b"/slow"))
        for stream_id in (3, 5, 7):
            await client.send(request(), stream_id=stream_id)
            assert (await client.next(h2.events.StreamReset)).stream_id == stream_id
        await client.send(request(), stream_id=9)
        assert await client.goodbye() == ErrorCodes.ENHANCE_YOUR_CALM


async def test_a_goodbye_of_the_client_cancels_its_requests(autojump_clock: MockClock) -> None:
    """G6. RFC 9113 6.8 lets a client close what it has said goodbye to; ours counts it as a disconnect."""
    app = Echo(slow_s=60)
    async with http2_in_memory(app, LIMITS) as world:
        client = world.connect()
        await client.send(request(b"/slow"))
        await trio.sleep(1)
        client.connection.close_connection()
        await client.flush()
        await client.end()
        assert app.told_at == [trio.current_time()]
        assert world.driver.statistics().ended == {"client_disconnected": 1}


async def test_an_app_may_report_that_its_client_reads_too_slowly(autojump_clock: MockClock) -> None:
    """As over HTTP/1.1: the connection ends with a reset, and all its requests with it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(1)
        scope[CLIENT_KEY].reads_too_slowly()
        await trio.sleep_forever()

    async with http2_in_memory(app, LIMITS) as world:
        client = world.connect()
        await client.send(request())
        assert await seconds_until_the_end(client) == 1
        assert world.driver.statistics().ended == {"slow_reader": 1}
    assert world.crashes == []


@pytest.mark.parametrize("others", [0, 1])
async def test_an_app_that_only_sends_is_cancelled_when_its_client_takes_nothing(
    others: int, autojump_clock: MockClock
) -> None:
    """G6, G10: it does not go on as if its answer were sent, and that is no bug of the app's.

    Its client has left if its stream alone ends, and not if it is cut off with its connection.
    """
    went_on, left_at = [], []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            await trio.sleep(60)
        try:
            await send({"type": ANSWER, "status": 200, "headers": [], "body": b"x"})
            went_on.append(scope["path"])
        finally:
            left_at.append(scope[CLIENT_KEY].left_at)

    async with http2_in_memory(app, Limits(write_timeout_s=2)) as world:
        client = world.connect()
        client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        await client.send(request())
        for number in range(others):
            await client.send(request(b"/slow"), stream_id=3 + 2 * number)
        await trio.sleep(3)
        assert went_on == []
        assert left_at == ([2] if others else [None])
        assert world.driver.statistics().ended == ({} if others else {"slow_reader": 1})
        assert not world.driver.timeouts.of_streams
    assert world.crashes == []


async def test_bounds_of_answers_are_forgotten_with_them(autojump_clock: MockClock) -> None:
    """G10: sent, taken back, or left behind by a client that is gone."""
    async with http2_in_memory(Echo(slow_s=1), LIMITS) as world:
        client = world.connect()
        await client.send(request())
        await client.ended()
        client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        for stream_id in (3, 5):
            await client.send(request(), stream_id=stream_id)
            await client.status()
        await trio.testing.wait_all_tasks_blocked()
        assert len(world.driver.timeouts.of_streams) == 2
        client.connection.reset_stream(3)
        await client.flush()
        await trio.testing.wait_all_tasks_blocked()
        assert len(world.driver.timeouts.of_streams) == 1
        await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert not world.driver.timeouts.of_streams
        assert world.driver.statistics().open == 0


async def test_a_shutdown_waits_for_the_answers_and_for_nothing_else(autojump_clock: MockClock) -> None:
    """G9. One connection waits for its preface, one is idle, and one has a request."""
    async with http2_in_memory(Echo(slow_s=5), LIMITS) as world:
        clients = [world.connect() for _ in range(3)]
        for client in clients[1:]:
            await client.flush()
        await clients[2].send(request(b"/slow"))
        await trio.testing.wait_all_tasks_blocked()
        world.driver.drain()
        began = trio.current_time()
        assert await seconds_until_the_end(clients[1]) == 0
        assert await seconds_until_the_end(clients[0]) == pytest.approx(0.5)
        assert await clients[2].ended() == 1
        assert await clients[2].goodbye() == ErrorCodes.NO_ERROR
        assert trio.current_time() - began == pytest.approx(5)
        await clients[2].stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert world.driver.statistics().ended == {"drained": 2, "slow_head": 1}


async def test_a_request_behind_the_goodbye_is_not_begun(autojump_clock: MockClock) -> None:
    """G9: the goodbye has said which request was the last, so its client may send this one elsewhere."""
    app = Echo(slow_s=1)
    async with http2_in_memory(app, LIMITS) as world:
        client = world.connect()
        await client.send(request(b"/slow"))
        await trio.testing.wait_all_tasks_blocked()
        world.driver.enter_lame_duck()
        goodbye = await client.next(h2.events.ConnectionTerminated)
        assert (goodbye.error_code, goodbye.last_stream_id) == (ErrorCodes.NO_ERROR, 1)
        assert trio.current_time() == 1
        await client.stream.send_all(headers(3, block(*fields())))
        await client.end()
        await client.stream.aclose()
        await trio.sleep(2)
        assert world.driver.statistics().ended == {"drained": 1}
    assert len(app.scopes) == world.driver.requests == 1


@pytest.mark.parametrize("begin", [Driver.drain, Driver.enter_lame_duck])
async def test_a_shutdown_that_begins_while_an_answer_is_written_ends_its_connection_too(
    begin: Callable[[Driver], None], autojump_clock: MockClock
) -> None:
    """G9. When the answer was complete, it was not known to be the last one. And its app has returned."""

    async def hasty(scope: Scope, receive: Receive, send: Send) -> None:
        with trio.move_on_after(1):
            await answer(send, b"x")

    async with in_memory(hasty, LIMITS) as world:
        client = await unread(world)
        await client.send(request())
        await trio.sleep(2)
        begin(world.driver)
        assert await client.ended() == 1
        assert await client.goodbye() == ErrorCodes.NO_ERROR
        await client.end()
        await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert world.ended == {"drained": 1}
        assert trio.current_time() == 2


async def test_a_request_is_not_begun_while_the_last_answer_is_written(autojump_clock: MockClock) -> None:
    """The goodbye comes with that answer, so the client may send this request elsewhere."""
    async with in_memory(Echo(), LIMITS) as world:
        client = await unread(world)
        world.driver.enter_lame_duck()
        for stream_id in (1, 3):
            await client.send(request(), stream_id=stream_id)
            await trio.testing.wait_all_tasks_blocked()
        assert (await client.next(h2.events.ConnectionTerminated)).last_stream_id == 1
        await client.end()
        statistics = world.driver.statistics()
        assert (statistics.requests, statistics.malformed) == (1, 0)  # it is not even parsed


async def test_of_a_request_that_is_shed_it_is_said_how_many_begin(autojump_clock: MockClock) -> None:
    """As of one over HTTP/1.1: those that were admitted, and whose app has yet to run."""
    asked: list[int] = []

    def shed(beginning: int) -> None:
        asked.append(beginning)

    app = Echo()
    async with in_memory(app, refuse=shed) as in_http1:
        client = Http2World(in_http1).connect()
        for stream_id in (1, 3, 5):
            client.connection.send_headers(stream_id, request(), end_stream=True)
        await client.flush()
        for _ in range(3):
            await client.ended()
        await client.send(request(), stream_id=7)
        await client.ended()
    assert asked == [0, 1, 2, 0]
    assert in_http1.driver.beginning == 0


async def test_a_request_that_cannot_begin_is_not_counted_as_one_that_does(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its place would never be given back, and each such request would shed more of the others."""

    def no_memory(*_: object) -> None:
        raise MemoryError

    async with http2_in_memory(Echo()) as world:
        with monkeypatch.context() as patch:
            patch.setattr("fanout.server.http2.http_scope", no_memory)
            client = world.connect()
            await client.send(request())
            await client.end()
        assert world.driver.beginning == 0
        assert [type(bug) for bug in world.crashes] == [MemoryError]
        healthy = world.connect()
        await healthy.send(request())
        assert await healthy.ended() == 1


async def test_a_body_that_is_not_wanted_is_stopped_where_a_request_is_shed_or_refused(
    autojump_clock: MockClock,
) -> None:
    """RFC 9113 8.1: NO_ERROR asks the client to stop, and its answer counts."""
    busy = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy"
    async with in_memory(Echo(), refuse=lambda _: busy) as world:
        client = Http2World(world).connect()
        for stream_id, sent, status in (
            (1, request(method=b"POST"), b"503"),
            (3, get((b"expect", b"x"), method=b"POST"), b"417"),
        ):
            await client.send(sent, stream_id=stream_id, end=False)
            assert await client.status() == status
            assert await client.ended() == stream_id
            assert await client.reset() == ErrorCodes.NO_ERROR
    assert world.crashes == []


async def test_what_sheds_a_request_says_the_same_over_http_2(autojump_clock: MockClock) -> None:
    """Its answer is one of HTTP/1.1. A value may have a colon in it, as a URL has."""
    busy = b"HTTP/1.1 503 Busy\r\nlink: <a: b>; rel=help\r\ncontent-length: 4\r\n\r\nbusy"
    async with in_memory(Echo(), refuse=lambda _: busy) as world:
        client = Http2World(world).connect()
        await client.send(request())
        assert (await client.next(h2.events.ResponseReceived)).headers == [
            (b":status", b"503"),
            (b"link", b"<a: b>; rel=help"),
            (b"content-length", b"4"),
        ]
        assert (await client.next(h2.events.DataReceived)).data == b"busy"


async def test_trailers_of_a_request_that_was_shed_are_no_mistake(autojump_clock: MockClock) -> None:
    """They may come in the same bytes. Of its body, nothing is missing: nobody waits for it."""
    busy = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy"
    async with in_memory(Echo(), refuse=lambda _: busy) as world:
        client = Http2World(world).connect()
        client.connection.send_headers(1, request(method=b"POST"))
        client.connection.send_headers(1, [(b"x", b"y")], end_stream=True)
        await client.flush()
        assert await client.status() == b"503"
        statistics = world.driver.statistics()
        assert (statistics.refused, statistics.malformed) == (1, 0)


async def test_a_shed_request_without_a_window_may_be_repeated(autojump_clock: MockClock) -> None:
    """RFC 9113 8.7: REFUSED_STREAM says that nothing was done. With a window of its length it is answered."""
    busy = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy"
    async with in_memory(Echo(), refuse=lambda _: busy) as world:
        client = Http2World(world).connect()
        client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: len(busy) - 1})
        await client.send(request())
        assert await client.reset() == ErrorCodes.REFUSED_STREAM
        client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: len(busy)})
        await client.send(request(), stream_id=3)
        assert await client.ended() == 3
        assert world.driver.statistics().refused == 2


async def test_a_refusal_whose_body_just_fits_the_window_has_it(autojump_clock: MockClock) -> None:
    async with http2_in_memory(Echo()) as world:
        client = world.connect()
        await client.send(get(method=b"get"))
        body = (await client.next(h2.events.DataReceived)).data
        for size, has_body in ((len(body), True), (len(body) - 1, False)):
            other = world.connect()
            other.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: size})
            await other.send(get(method=b"get"))
            answered = await other.next(h2.events.ResponseReceived)
            assert (b"content-length" in dict(answered.headers)) == has_body
            assert (answered.stream_ended is None) == has_body
            assert await other.ended() == 1


async def test_a_window_that_is_taken_back_holds_the_answer(autojump_clock: MockClock) -> None:
    """RFC 9113 6.9.2: a smaller initial window can make one negative. Nothing is sent until it is open."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 900, "more_body": True})
        await trio.sleep(1)
        await answer_body(send)

    async def answer_body(send: Send) -> None:
        await send({"type": "http.response.body", "body": b"y" * 900})

    async with http2_in_memory(app, LIMITS) as world:
        client = world.connect()
        client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1000})
        await client.send(request())
        assert (await client.next(h2.events.DataReceived)).data == b"x" * 900
        client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 500})
        await client.flush()
        await trio.sleep(2)
        client.connection.increment_flow_control_window(1400, 1)
        await client.flush()
        received = 0
        while received < 900:
            received += len((await client.next(h2.events.DataReceived)).data)
        assert await client.ended() == 1
    assert world.crashes == []


async def test_answers_take_turns_in_the_window_that_they_share(autojump_clock: MockClock) -> None:
    """Rule 1 of the writer: a frame each. One long answer does not hold the others back."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"x" * 100_000)

    async with http2_in_memory(app, LIMITS) as world:
        client = world.connect()
        client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1_000_000})
        client.connection.increment_flow_control_window(1_000_000)
        for stream_id in (1, 3, 5):
            client.connection.send_headers(stream_id, request(), end_stream=True)
        await client.flush()
        turns = [(await client.next(h2.events.DataReceived)).stream_id for _ in range(12)]
        assert all({*turns[at : at + 3]} == {1, 3, 5} for at in range(3, 10))  # once all have begun


class AlwaysReads(Recorded):
    """A client that sends these bytes, with a pause between them, and stays. It takes each write at once."""

    async def receive(self) -> bytes:
        if not self.arriving:
            await trio.sleep_forever()
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        return await super().receive()


class Iterations(trio.abc.Instrument):
    count = 0

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1


async def test_long_answers_to_a_client_that_always_reads_let_others_run(autojump_clock: MockClock) -> None:
    """G10. There is nothing to wait for between their parts, of 64 KiB each: four frames and their heads."""
    sent_bytes, part_bytes, streams = 480 * 1024, 64 * 1024, (1, 3, 5, 7, 9)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"x" * sent_bytes)

    client = H2Client(trio.testing.memory_stream_pair()[0])
    client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: sent_bytes})
    client.connection.increment_flow_control_window(sent_bytes * len(streams))
    for stream_id in streams:
        client.connection.send_headers(stream_id, request(), end_stream=True)
    transport, iterations = AlwaysReads(client.connection.data_to_send()), Iterations()
    async with in_memory(app) as world:
        world.nursery.start_soon(serve_http2, app, world.driver, transport)
        trio.lowlevel.add_instrument(iterations)
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(iterations)
        written = [len(part) for part in transport.done]
        assert sum(written) > sent_bytes * len(streams)
        assert part_bytes < max(written) < part_bytes + 1000
        assert iterations.count > sum(written) // part_bytes
    assert world.crashes == []


async def test_nothing_behind_the_mistake_that_ended_a_connection_is_begun(autojump_clock: MockClock) -> None:
    """G10. Also what came in the same bytes; and the first cause of the end is the one that is counted."""
    app = Echo(slow_s=60)
    async with http2_in_memory(app, Limits(max_resets=1, resets_per_s=0)) as world:
        client = world.connect()
        for stream_id in (1, 3):
            client.connection.send_headers(stream_id, request(b""), end_stream=True)
        client.connection.send_headers(5, request(), end_stream=True)
        await client.flush()
        assert await client.goodbye() == ErrorCodes.ENHANCE_YOUR_CALM
        await client.end()
        assert world.driver.statistics().ended == {"flooding": 1}
        assert (app.scopes, world.driver.requests) == ([], 0)


@pytest.mark.parametrize("running", [0, 1, 2])
async def test_a_client_that_does_not_read_its_goodbye_is_not_waited_for(
    running: int, autojump_clock: MockClock
) -> None:
    """G10. As over HTTP/1.1, it has `linger_timeout_s`, and not the time that an answer has."""
    app = Echo(slow_s=60)
    limits = Limits(max_spare_frames=20, linger_timeout_s=1, write_timeout_s=10)
    async with in_memory(app, limits) as world:
        theirs, ours = trio.testing.lockstep_stream_pair()
        world.nursery.start_soon(serve_http2, app, world.driver, MemoryTransport(ours))
        client = H2Client(theirs)
        await client.flush()
        await client.next(h2.events.SettingsAcknowledged)
        for number in range(running):
            await client.send(request(b"/slow"), stream_id=2 * number + 1)
        began = trio.current_time()
        await client.stream.send_all(frame(PING, 0, 0, bytes(8)) * 50)
        await trio.sleep_until(began + 0.9)
        assert world.driver.statistics().open == 1
        await trio.sleep_until(began + 1.1)
        assert world.driver.statistics().ended == {"flooding": 1}
        assert app.running == 0


async def test_a_client_that_cannot_be_written_to_is_gone(autojump_clock: MockClock) -> None:
    """G6. Although nothing that is read says so: no app waits, whether it has answered or not."""
    left_at, reasons = [], []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await trio.sleep(60 if scope["path"] == "/slow" else 1)
            await answer(send, b"x")
        except trio.Cancelled as cancelled:
            reasons.append(cancelled.reason)
            if scope["path"] == "/slow":
                left_at.append(scope[CLIENT_KEY].left_at)
            raise

    client = H2Client(trio.testing.memory_stream_pair()[0])
    client.connection.send_headers(1, request(b"/slow"), end_stream=True)
    client.connection.send_headers(3, request(), end_stream=True)
    transport = AlwaysReads(client.connection.data_to_send())
    async with in_memory(app) as world:
        world.nursery.start_soon(serve_http2, app, world.driver, transport)
        await trio.testing.wait_all_tasks_blocked()
        transport.is_broken = True
        await trio.sleep(1)
        await trio.testing.wait_all_tasks_blocked()
        assert world.ended == {"client_disconnected": 1}
        assert (reasons, left_at) == ([DISCONNECT] * 2, [trio.current_time()])
    assert world.crashes == []


@pytest.mark.parametrize(("path", "takes"), [(b"/slow", True), (None, False)], ids=["request", "write"])
async def test_a_connection_that_ends_within_a_request_or_a_write_says_no_goodbye(
    path: bytes | None, takes: bool, autojump_clock: MockClock
) -> None:
    """NO_ERROR would say that no request is lost. Behind half a frame it would be read as the rest of it."""
    client = H2Client(trio.testing.memory_stream_pair()[0])
    if path is not None:
        client.connection.send_headers(1, request(path), end_stream=True)
    transport = AlwaysReads(client.connection.data_to_send(), takes=takes, flush_s=60)
    async with in_memory(Echo(slow_s=60)) as world:
        world.nursery.start_soon(serve_http2, world.app, world.driver, transport)
        await trio.testing.wait_all_tasks_blocked()
        sent = list(transport.done)
    assert world.ended == {"stopped": 1}
    assert transport.done == [*sent, "abort"]


@pytest.mark.parametrize(("has_preface", "cause"), [(False, "slow_head"), (True, "idle")])
async def test_a_goodbye_that_cannot_be_sent_hides_no_cause(
    has_preface: bool, cause: str, autojump_clock: MockClock
) -> None:
    """A client may be gone without a word by then."""
    client = H2Client(trio.testing.memory_stream_pair()[0])
    transport = AlwaysReads(*[client.connection.data_to_send()] * has_preface)
    async with in_memory(Echo(), LIMITS) as world:
        world.nursery.start_soon(serve_http2, world.app, world.driver, transport)
        await trio.testing.wait_all_tasks_blocked()
        transport.is_broken = True
        await trio.sleep(76)
        assert world.ended == {cause: 1}
    assert world.crashes == []


class BreaksAtTheLast(AlwaysReads):
    """With the last bytes it sends, it is gone."""

    async def receive(self) -> bytes:
        piece = await super().receive()
        self.is_broken = not self.arriving
        return piece


async def test_the_first_cause_of_an_end_is_the_one_that_counts(autojump_clock: MockClock) -> None:
    """A client that floods and leaves has flooded: its goodbye cannot be written."""
    client = H2Client(trio.testing.memory_stream_pair()[0])
    flood = frame(PING, 0, 0, bytes(8)) * 50
    async with in_memory(Echo(), Limits(max_spare_frames=20)) as world:
        transport = BreaksAtTheLast(client.connection.data_to_send(), flood)
        world.nursery.start_soon(serve_http2, world.app, world.driver, transport)
        await trio.testing.wait_all_tasks_blocked()
        assert world.ended == {"flooding": 1}


async def test_a_connection_that_ends_within_long_answers_writes_no_more_of_them(
    autojump_clock: MockClock,
) -> None:
    """G10: behind its own GOAWAY h2 makes no frames, and says so with an exception, which is no bug here."""
    sent_bytes = 4_000_000

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"x" * sent_bytes)

    async with in_memory(app, Limits(max_spare_frames=20)) as world:
        transports = []
        for _ in range(10):
            client = H2Client(trio.testing.memory_stream_pair()[0])
            client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: sent_bytes})
            client.connection.increment_flow_control_window(sent_bytes)
            client.connection.send_headers(1, request(), end_stream=True)
            flood = frame(PING, 0, 0, bytes(8)) * 50
            transports.append(AlwaysReads(client.connection.data_to_send(), flood))
            world.nursery.start_soon(serve_http2, app, world.driver, transports[-1])
        await trio.testing.wait_all_tasks_blocked()
        assert world.ended == {"flooding": 10}
        assert all(0 < sum(map(len, transport.done)) < sent_bytes for transport in transports)
    assert world.crashes == []


async def iterations_until(done: Callable[[], bool]) -> int:
    iterations = Iterations()
    trio.lowlevel.add_instrument(iterations)
    while not done():
        await trio.lowlevel.checkpoint()
    trio.lowlevel.remove_instrument(iterations)
    return iterations.count


async def test_clients_that_send_little_do_not_wait_for_each_other(autojump_clock: MockClock) -> None:
    """Rule 2: only a piece of many frames waits for its turn, however many frames came before."""
    async with http2_in_memory(Echo(slow_s=5)) as world:
        clients = [world.connect() for _ in range(20)]
        for client in clients:
            for number in range(10):
                client.connection.ping(b"%8d" % number)
            client.connection.send_headers(1, request(), end_stream=True)
            await client.flush()
            assert await client.ended() == 1
        for client in clients:
            client.connection.send_headers(3, request(b"/slow"), end_stream=True)
            world.nursery.start_soon(client.flush)
        assert await iterations_until(lambda: world.driver.requests == 40) < 8


async def test_a_long_body_has_its_window_opened_again_and_again(autojump_clock: MockClock) -> None:
    """RFC 9113 6.9: as the app receives it. A client may send 64 KiB before."""
    received = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal received
        message = {"more_body": True}
        while message["more_body"]:
            message = await receive()
            received += len(message["body"])
        await answer(send, b"")

    async with http2_in_memory(app) as world:
        client, left = world.connect(), 300_000
        await client.send(request(method=b"POST"), end=False)
        while left:
            size = min(left, 16_384, client.connection.local_flow_control_window(1))
            if not size:
                await client.next(h2.events.WindowUpdated)
                continue
            left -= size
            client.connection.send_data(1, bytes(size), end_stream=not left)
            await client.flush()
        assert await client.ended() == 1
    assert received == 300_000


async def test_a_long_read_is_taken_in_parts_between_which_others_run(autojump_clock: MockClock) -> None:
    """G10, rule 2: 64 KiB of a body come at once, in few frames."""
    received = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        message = {"more_body": True}
        while message["more_body"]:
            message = await receive()
            received.append(len(message["body"]))
        await answer(send, b"")

    async with http2_in_memory(app) as world:
        client = world.connect()
        await client.send(request(method=b"POST"), end=False)
        for number in range(4):
            client.connection.send_data(1, bytes(15_000), end_stream=number == 3)
        await client.flush()
        assert await iterations_until(lambda: sum(received) == 60_000) > 50
        assert max(received) == 15_000
