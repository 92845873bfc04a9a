"""G10: many requests in few bytes from many HTTP/2 clients do not make one long event-loop iteration."""

from __future__ import annotations

import h2.connection
import h2.events
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from fanout.server.driver import PIECES_PER_ITERATION
from tests.server.apps import Echo
from tests.server.http2 import H2Client, http2_in_memory, request, serve_http2
from tests.server.serving import MemoryTransport, in_memory

_CLIENTS = 6
_STREAMS = 100
_MANY_BYTES = 200  # as it is encoded here, a request takes 14


class Parsed(trio.abc.Instrument):
    """How many pieces with many requests were parsed in one event-loop iteration, at most."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._parse = h2.connection.H2Connection.receive_data
        self.now = self.most = 0
        parsed = self

        def receive_data(connection: h2.connection.H2Connection, data: bytes) -> list[h2.events.Event]:
            parsed.now += not connection.config.client_side and len(data) > _MANY_BYTES
            return parsed._parse(connection, data)

        monkeypatch.setattr(h2.connection.H2Connection, "receive_data", receive_data)

    def before_io_wait(self, timeout: float) -> None:
        self.now, self.most = 0, max(self.most, self.now)


async def test_requests_that_come_all_at_once_are_parsed_in_turns(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3,000 requests of 30 clients were parsed in one iteration of 250 ms."""
    parsed = Parsed(monkeypatch)
    async with http2_in_memory(Echo(slow_s=5)) as world:
        clients = [world.connect() for _ in range(_CLIENTS)]
        for client in clients:
            await client.flush()
        await trio.sleep(1)
        trio.lowlevel.add_instrument(parsed)
        began = trio.current_time()
        for client in clients:
            for number in range(_STREAMS):
                client.connection.send_headers(2 * number + 1, request(b"/slow"), end_stream=True)
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(client.flush)
        for client in clients:
            assert await client.status() == b"200"
        assert trio.current_time() == began + 5
        assert world.driver.requests == _CLIENTS * _STREAMS
        assert 0 < parsed.most <= PIECES_PER_ITERATION
        for client in clients:
            await client.stream.aclose()


@pytest.mark.parametrize("later", range(6))
async def test_a_reader_that_has_its_turn_when_the_connection_ends_parses_no_more(
    later: int, autojump_clock: MockClock
) -> None:
    """G9. The goodbye excludes what has come: those are no mistakes of the client.

    later: in event-loop iterations, so that both meet in one of them.
    """

    class Prompt(MemoryTransport):
        """As the kernel, which usually takes what is sent at once."""

        def send_now(self, data: bytes) -> bool:
            theirs.receive_stream.put_data(data)
            return True

    for _ in range(10):  # Trio draws which of two tasks comes first
        app = Echo(slow_s=5)
        async with in_memory(app) as world:
            theirs, ours = trio.testing.memory_stream_pair()
            world.nursery.start_soon(serve_http2, app, world.driver, Prompt(ours, theirs.send_stream))
            client = H2Client(theirs)
            await client.send(request(b"/slow"))
            await trio.sleep(1)
            world.driver.enter_lame_duck()
            for number in range(1, 40):
                client.connection.send_headers(2 * number + 1, request(b"/slow"), end_stream=True)
            world.nursery.start_soon(client.flush)
            for _ in range(later):
                await trio.lowlevel.checkpoint()
            app.no_longer_slow.set()
            goodbye = await client.next(h2.events.ConnectionTerminated)
            assert goodbye.error_code == 0
            await client.end()
            await client.stream.aclose()
        assert world.driver.malformed == 0
