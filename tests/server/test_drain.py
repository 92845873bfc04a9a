"""Draining: what was admitted is answered, and nobody else is waited for."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from h2.settings import SettingCodes
from trio.testing import MockClock

from fanout.server.asgi import Receive, Scope, Send
from fanout.server.limits import Limits
from tests.server.apps import Echo, answer
from tests.server.http2 import http2_in_memory, request
from tests.server.serving import Client, get, in_memory, on_socket, until

LIMITS = Limits(drain_grace_s=0.5)


async def test_idle_connections_end_at_once_and_busy_ones_after_their_answer(
    autojump_clock: MockClock,
) -> None:
    """G9."""
    async with in_memory(Echo(slow_s=5), LIMITS) as world:
        fresh, used, busy = world.connect(), world.connect(), world.connect()
        await used.ask(get())
        await busy.send(get("/slow"))
        await trio.sleep(1)
        drained_at = trio.current_time()
        world.driver.drain()
        assert await fresh.closed()
        assert await used.closed()
        assert trio.current_time() == drained_at
        status, fields, _ = await busy.answer()
        assert (status, fields["connection"]) == (200, "close")
        assert trio.current_time() == drained_at + 4
        assert await busy.closed()
        await world.all_ended()
    assert world.ended == {"drained": 2, "answered": 1}


async def test_no_wait_for_a_client_is_longer_than_the_grace(autojump_clock: MockClock) -> None:
    """Half a head, a lingering close, and two answers that are not read, one of them only begun later."""
    async with in_memory(Echo(slow_s=5), LIMITS) as world:
        await world.connect().send(b"GET / HT")
        lingering = world.connect()
        await lingering.send(b"nonsense\r\n\r\n")
        await world.connect(lockstep=True).send(get("/big"))
        late = world.connect(lockstep=True)
        await late.send(get("/slow"))
        await trio.sleep(0.1)
        began = trio.current_time()
        world.driver.drain()
        await trio.sleep(0.6)
        assert world.driver.statistics().open == 1
        await trio.sleep(4.9)
        assert world.driver.statistics().open == 0
        assert trio.current_time() - began == pytest.approx(5.5)
    assert world.ended == {"slow_head": 1, "refused": 1, "slow_reader": 2}


async def test_a_connection_that_comes_while_draining_ends_unserved(autojump_clock: MockClock) -> None:
    app = Echo()
    async with in_memory(app, LIMITS) as world:
        world.driver.drain()
        assert await world.connect().closed()
    assert world.ended == {"drained": 1}


async def test_a_request_that_was_in_the_kernel_is_answered() -> None:
    """It came before the end of service and is not read yet: it gets what the app says, not an RST."""
    async with on_socket(Echo(), LIMITS) as world:
        client = await world.connect()
        await client.ask(get())
        await trio.testing.wait_all_tasks_blocked()
        await client.send(get("/late"))  # a checkpoint at most: the server has not had its turn
        world.driver.drain()
        status, fields, body = await client.answer()
        assert (status, fields["connection"], body) == (200, "close", b"GET /late")
        await world.settled()


async def test_a_request_that_was_read_and_whose_task_has_yet_to_run_is_answered() -> None:
    """It was told of and let pass: nothing of it is with the kernel any more, and it is not idle either."""

    class DrainBetween(trio.abc.Instrument):
        let_pass = False

        def refuse(self, beginning: int) -> None:
            self.let_pass = True

        def after_task_step(self, task: trio.lowlevel.Task) -> None:
            if self.let_pass:
                world.driver.drain()

    between = DrainBetween()
    async with on_socket(Echo(), LIMITS, between.refuse) as world:
        client = await world.connect()
        await world.settled(1)
        trio.lowlevel.add_instrument(between)
        status, fields, _ = await client.ask(get())
        trio.lowlevel.remove_instrument(between)
        assert (status, fields["connection"]) == (200, "close")
        await world.settled()


async def test_shutdown_ends_the_server_whatever_its_clients_do(mock_clock: MockClock) -> None:
    """G9: 100 requests in flight are answered; 50 idle clients and 5 that never read are not waited for."""
    mock_clock.rate = 1
    app = Echo(slow_s=60)
    async with on_socket(app, Limits(drain_grace_s=0.2)) as world:
        idle = [await world.connect() for _ in range(50)]
        await idle[0].ask(get())
        stuck = [await world.connect() for _ in range(5)]
        for client in stuck:
            await client.send(get("/big"))
        answered = []

        async def slow(client: Client) -> None:
            answered.append((await client.ask(get("/slow")))[0])

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(slow, await world.connect())
            await until(lambda: app.running == 105)
            world.shutdown.set()
            await trio.sleep(0.1)
            mock_clock.rate = 0  # a machine that stands still now is not an app that does not return
            app.no_longer_slow.set()
        assert answered == [200] * 100
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.rate = 1
        await until(lambda: not world.nursery.child_tasks, 1)
    assert world.ended == {"drained": 50, "slow_reader": 5, "answered": 100}


async def test_what_outlasts_the_grace_of_the_app_is_cancelled() -> None:
    app = Echo(slow_s=60)
    async with on_socket(app, grace_s=0.1) as world:
        client = await world.connect()
        await client.send(get("/slow"))
        await until(lambda: app.running)
        world.shutdown.set()
        with pytest.raises(trio.BrokenResourceError):  # RST: a FIN could be taken for the end of an answer
            await client.rest_or_reset()
        await until(lambda: not world.nursery.child_tasks, 1)
    assert world.ended == {"stopped": 1}


@pytest.mark.parametrize("answers_after_s", [0, 5])
async def test_an_app_that_does_not_return_after_its_answer_is_cut_within_the_grace(
    answers_after_s: float, autojump_clock: MockClock
) -> None:
    """G9: whether it was answered before the drain, or during it."""

    async def staying(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(answers_after_s)
        await answer(send, b"done")
        await trio.sleep_forever()

    async with in_memory(staying, LIMITS) as world:
        client = world.connect()
        await client.send(get())
        await trio.sleep(2)
        began = trio.current_time()
        world.driver.drain()
        assert (await client.answer())[2] == b"done"
        assert await client.closed()
        assert trio.current_time() - began == pytest.approx(max(0, answers_after_s - 2) + 0.5)
        await world.all_ended()
    assert world.ended == {"slow_app": 1}


@pytest.mark.parametrize("answers_after_s", [0, 5])
async def test_an_http2_client_that_opens_no_window_is_not_waited_for(
    answers_after_s: float, autojump_clock: MockClock
) -> None:
    """G9: whether its answer began before the drain, or during it."""

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(answers_after_s)
        await answer(send, b"done")

    async with http2_in_memory(late, LIMITS) as world:
        client = world.connect()
        client.connection.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        await client.send(request())
        await trio.sleep(2)
        began = trio.current_time()
        world.driver.drain()
        await client.end()
        assert trio.current_time() - began == pytest.approx(max(0, answers_after_s - 2) + 0.5)
        assert world.driver.statistics().ended == {"slow_reader": 1}
