"""No client is waited for without a bound, exact in virtual time, and each wait ends for its own reason."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock

from fanout.server.asgi import Receive, Scope, Send
from fanout.server.limits import Limits
from tests.server.apps import Echo, answer
from tests.server.serving import Client, get, in_memory, on_socket

LIMITS = Limits(
    idle_timeout_s=75, head_timeout_s=10, body_timeout_s=12, write_timeout_s=7, linger_timeout_s=2
)


async def test_an_idle_connection_ends_after_its_time(autojump_clock: MockClock) -> None:
    """Counted from the last answer, and from the beginning if there was none."""
    async with in_memory(Echo(), LIMITS) as world:
        silent, used = world.connect(), world.connect()
        began = trio.current_time()
        await trio.sleep(50)
        await used.ask(get())
        assert await silent.closed()
        assert trio.current_time() == began + 75
        assert await used.closed()
        assert trio.current_time() == began + 50 + 75
        await world.all_ended()
    assert world.ended == {"idle": 2}


async def test_a_running_request_is_not_idle(autojump_clock: MockClock) -> None:
    async with in_memory(Echo(slow_s=1000), LIMITS) as world:
        assert (await world.connect().ask(get("/slow")))[0] == 200


async def test_a_slow_head_ends_ten_seconds_after_its_first_byte() -> None:
    """On a real socket the client receives a 408. The clock is real, so the bound is short."""
    async with on_socket(Echo(), Limits(head_timeout_s=0.1)) as world:
        client = await world.connect()
        await client.send(b"GET / HTTP")
        status, _, _ = await client.answer()
        await world.settled()
    assert status == 408
    assert world.ended == {"slow_head": 1}


async def test_bytes_now_and_then_do_not_extend_the_time_for_a_head(autojump_clock: MockClock) -> None:
    async with in_memory(Echo(), LIMITS) as world:
        client = world.connect()
        await trio.sleep(30)
        began = trio.current_time()

        async def drip() -> None:
            for byte in get("/", "X: " + "y" * 100):
                await client.send(bytes([byte]))
                await trio.sleep(0.9)

        world.nursery.start_soon(drip)
        assert await client.closed()
        assert trio.current_time() == began + 10
    assert world.ended == {"slow_head": 1}
    assert world.crashes == []


async def test_a_slow_body_ends_twelve_seconds_after_the_head(autojump_clock: MockClock) -> None:
    ended_at = []

    async def reading(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            while (await receive())["more_body"]:
                pass
        finally:
            ended_at.append(trio.current_time())

    async with in_memory(reading, LIMITS) as world:
        client = world.connect()
        began = trio.current_time()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
        for _ in range(12):
            await client.send(b"x")
            await trio.sleep(1)
        await world.all_ended()
    assert ended_at == [began + 12]
    assert world.ended == {"slow_body": 1}


async def test_an_app_that_gives_up_on_a_body_is_not_cut(autojump_clock: MockClock) -> None:
    async def impatient(scope: Scope, receive: Receive, send: Send) -> None:
        with trio.move_on_after(1):
            await receive()
        await trio.sleep(60)
        await answer(send, b"done")

    async with in_memory(impatient, LIMITS) as world:
        client = world.connect()
        status, _, body = await client.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
    assert (status, body) == (200, b"done")


async def test_a_client_that_does_not_read_is_cut_with_its_app(autojump_clock: MockClock) -> None:
    """G10. Seven seconds after the write began."""
    app = Echo()
    async with in_memory(app, LIMITS) as world:
        client = world.connect(lockstep=True)
        began = trio.current_time()
        await client.send(get("/big"))
        await trio.sleep(6.9)
        assert app.running == 1
        await trio.sleep(0.2)
        assert app.running == 0
        await world.all_ended()
        assert trio.current_time() < began + 8
    assert world.ended == {"slow_reader": 1}
    assert world.crashes == []


async def test_an_answer_that_the_app_breaks_off_is_not_followed_by_another(
    autojump_clock: MockClock,
) -> None:
    """A part of it may be sent: the connection is of no more use, even if the app thinks otherwise."""

    async def impatient(scope: Scope, receive: Receive, send: Send) -> None:
        with trio.move_on_after(1):
            await answer(send, b"x" * 100_000)

    async with in_memory(impatient, LIMITS) as world:
        client = world.connect(lockstep=True)
        await client.send(get())
        await client.stream.receive_some(1000)
        await trio.sleep(2)
        assert (await client.rest()).count(b"HTTP/1.1") == 0
        await world.all_ended()
    assert world.ended == {"crashed": 1}
    assert len(world.crashes) == 1


async def test_on_a_socket_a_client_that_does_not_read_gets_a_reset() -> None:
    """Also one that pipelines and never reads: what is held for it is bounded by the kernel's buffers."""
    app = Echo()
    async with on_socket(app, Limits(write_timeout_s=0.2)) as world:
        big, pipelining = await world.connect(), await world.connect()
        await big.send(get("/big"))
        with trio.fail_after(5), suppress(trio.BrokenResourceError):
            while True:
                await pipelining.send(get("/") * 1000)
        await world.settled()
        assert app.running == 0
        with pytest.raises(trio.BrokenResourceError):
            await big.rest_or_reset()
    assert world.ended == {"slow_reader": 2}


async def _drip(client: Client) -> None:
    while True:
        await client.send(b"more")
        await trio.sleep(0.5)


async def test_lingering_is_bounded_in_time(autojump_clock: MockClock) -> None:
    async with in_memory(Echo(), LIMITS) as world:
        client = world.connect()
        began = trio.current_time()
        await client.send(b"nonsense\r\n\r\n")
        await client.answer()
        with pytest.raises(trio.BrokenResourceError):
            await _drip(client)
        assert began + 2 <= trio.current_time() <= began + 2.5
    assert world.ended == {"refused": 1}


async def test_lingering_is_bounded_in_bytes(autojump_clock: MockClock) -> None:
    async with in_memory(Echo(), LIMITS) as world:
        client = world.connect()
        began = trio.current_time()
        await client.send(b"nonsense\r\n\r\n" + b"x" * 400_000)
        await client.rest()
        await world.all_ended()
        assert trio.current_time() == began


async def test_lingering_reads_as_many_bytes_as_it_may_and_no_more(autojump_clock: MockClock) -> None:
    async with in_memory(Echo(), Limits(linger_max_bytes=1000)) as world:
        client = world.connect()
        began = trio.current_time()
        await client.send(b"nonsense\r\n\r\n")
        await client.answer()
        await client.send(b"x" * 999)
        await trio.testing.wait_all_tasks_blocked()
        assert world.driver.statistics().open == 1
        await client.send(b"x")
        await world.all_ended()
        assert trio.current_time() == began


async def test_an_app_that_does_not_return_after_its_answer_is_cut(autojump_clock: MockClock) -> None:
    """No task is left behind: it has as long as an idle client."""

    async def staying(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"done")
        await trio.sleep_forever()

    async with in_memory(staying, LIMITS) as world:
        client = world.connect()
        began = trio.current_time()
        assert (await client.ask(get()))[2] == b"done"
        assert await client.closed()
        assert trio.current_time() == began + 75
        await world.all_ended()
    assert world.ended == {"slow_app": 1}
