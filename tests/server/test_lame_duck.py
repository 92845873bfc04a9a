"""The time before a graceful shutdown: everything is served, and every answer sends its client elsewhere."""

from __future__ import annotations

import h2.events
import trio
from h2.errors import ErrorCodes
from trio.testing import MockClock

from tests.server.apps import Echo
from tests.server.http2 import http2_in_memory, request
from tests.server.serving import get, in_memory
from tests.server.test_refuse import Switch


async def test_every_answer_is_the_last_on_its_connection_and_new_connections_are_served(
    autojump_clock: MockClock,
) -> None:
    """A request that was running, one over an idle connection, and one over a new connection."""
    async with in_memory(Echo(slow_s=5)) as world:
        idle, busy = world.connect(), world.connect()
        await idle.ask(get())
        await busy.send(get("/slow"))
        await trio.sleep(1)
        world.driver.enter_lame_duck()
        await trio.sleep(1)
        assert world.driver.statistics().open == 2, (
            "an idle connection stays, for its request may be on its way"
        )
        for client in (idle, world.connect()):
            status, fields, body = await client.ask(get("/late"))
            assert (status, fields["connection"], body) == (200, "close", b"GET /late")
            assert await client.closed()
        status, fields, _ = await busy.answer()
        assert (status, fields["connection"]) == (200, "close")
        assert await busy.closed()
        assert not world.driver.draining
        await world.all_ended()
    assert world.ended == {"answered": 3}


async def test_a_request_that_is_shed_is_the_last_one_too(autojump_clock: MockClock) -> None:
    async with in_memory(Echo(), refuse=Switch()) as world:
        client = world.connect()
        assert "connection" not in (await client.ask(get()))[1]
        world.driver.enter_lame_duck()
        status, fields, _ = await client.ask(get())
        assert (status, fields["connection"]) == (503, "close")
        assert await client.closed()


async def test_an_http2_connection_ends_with_the_last_of_the_answers_that_run_together(
    autojump_clock: MockClock,
) -> None:
    """The goodbye says which request was the last, so its client may send any later one elsewhere."""
    async with http2_in_memory(Echo(slow_s=5)) as world:
        client, new = world.connect(), world.connect()
        await client.send(request(b"/slow"))
        await trio.sleep(1)
        world.driver.enter_lame_duck()
        await client.send(request(b"/slow"), stream_id=3)
        assert await client.ended() == 1
        assert await client.ended() == 3
        goodbye = await client.next(h2.events.ConnectionTerminated)
        assert (goodbye.error_code, goodbye.last_stream_id) == (ErrorCodes.NO_ERROR, 3)
        await new.flush()  # its preface, and a second later its request
        await trio.sleep(1)
        await new.send(request())
        assert await new.ended() == 1
        assert (await new.next(h2.events.ConnectionTerminated)).last_stream_id == 1
        assert not world.driver.draining
    assert world.crashes == []


async def test_an_idle_http2_connection_stays_open(autojump_clock: MockClock) -> None:
    async with http2_in_memory(Echo()) as world:
        client = world.connect()
        await client.send(request())
        assert await client.ended() == 1
        world.driver.enter_lame_duck()
        await trio.sleep(1)
        await client.send(request(), stream_id=3)
        assert await client.ended() == 3
        assert (await client.next(h2.events.ConnectionTerminated)).last_stream_id == 3
