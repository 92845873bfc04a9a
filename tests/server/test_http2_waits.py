"""What HTTP/2 clients that do not read, or take requests back, make the server do: little, in small parts."""

from __future__ import annotations

import h2.events
import trio
import trio.testing
from h2.settings import SettingCodes
from trio.testing import MockClock

from fanout.server.asgi import CLIENT_KEY, Receive, Scope, Send
from fanout.server.http2_write import _WRITE_BYTES
from tests.server.apps import Echo, answer
from tests.server.http2 import H2Client, http2_in_memory, request, serve_http2
from tests.server.serving import MemoryTransport, in_memory


async def test_a_request_that_was_taken_back_knows_when(autojump_clock: MockClock) -> None:
    """G6: its connection stays, and its receipt says how fast its calls ended."""
    left_at = []

    async def racing(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await trio.sleep_forever()
        finally:
            left_at.append(scope[CLIENT_KEY].left_at)

    async with http2_in_memory(racing) as world:
        client = world.connect()
        await client.send(request())
        await trio.sleep(3)
        client.connection.reset_stream(1)
        await client.flush()
        await trio.testing.wait_all_tasks_blocked()
        assert left_at == [trio.current_time()]
        assert world.driver.statistics().open == 1


async def test_of_a_client_that_does_not_read_no_more_is_read(autojump_clock: MockClock) -> None:
    """G10. Each of its frames may ask for an answer, which the server would have to keep."""
    async with in_memory(Echo()) as world:
        theirs, ours = trio.testing.lockstep_stream_pair()
        world.nursery.start_soon(serve_http2, world.app, world.driver, MemoryTransport(ours))
        client, sent = H2Client(theirs), 0
        with trio.move_on_after(1) as patience:
            for number in range(100):
                client.connection.ping(b"%8d" % number)
                await client.flush()
                sent += 1
        assert patience.cancelled_caught
        assert sent <= 2


async def test_bodies_are_written_in_bounded_parts(autojump_clock: MockClock) -> None:
    """G10. However many answers are ready at one moment, and however wide the client opens its windows."""
    streams, written = 20, []

    class Recorded(MemoryTransport):
        def send_now(self, data: bytes) -> bool:
            written.append(len(data))
            return super().send_now(data)

    async def big(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(1)
        await answer(send, b"x" * 300_000)

    async with in_memory(big) as world:
        theirs, ours = trio.testing.memory_stream_pair()
        world.nursery.start_soon(serve_http2, big, world.driver, Recorded(ours, theirs.send_stream))
        client = H2Client(theirs)
        client.connection.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1_000_000})
        client.connection.increment_flow_control_window(20_000_000)
        for number in range(streams):
            client.connection.send_headers(2 * number + 1, request(), end_stream=True)
        await client.flush()
        received = 0
        while received < streams * 300_000:
            received += len((await client.next(h2.events.DataReceived)).data)
    frame = client.connection.max_inbound_frame_size
    assert _WRITE_BYTES <= max(written) <= _WRITE_BYTES + frame + 100 * streams
