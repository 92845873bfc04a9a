"""What connections share: their limits, the queue of those that wait, the graceful shutdown, the counts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import groupby
from math import inf

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from fanout.server import rejections
from fanout.server.connection import Connection, State
from fanout.server.driver import Driver
from fanout.server.limits import Limits
from fanout.server.statistics import End
from tests.server.recorded import Recorded
from tests.server.serving import NOON, VIRTUAL_DAY_S

DATE = b"date: Mon, 23 Nov 2026 12:00:00 GMT\r\n"

Serve = Callable[[Connection], Awaitable[None]]


class Desk:
    """A driver and what it reports. `serve` runs a connection, idle until it is ended."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.crashes: list[BaseException] = []
        self.driver = Driver(limits or Limits(), on_crash=self.crashes.append, wall_clock=lambda: NOON)
        self.connections: list[Connection] = []
        self.nursery: trio.Nursery

    @property
    def ended(self) -> dict[str, int]:
        return self.driver.statistics().ended

    async def hold(self, serve: Serve, transport: Recorded | None = None) -> Recorded:
        """Run one connection to its end."""
        transport = transport or Recorded()
        await self.driver.hold(transport, serve)
        return transport

    def begin(self, serve: Serve, transport: Recorded | None = None) -> Recorded:
        """Run one connection in the background."""
        transport = transport or Recorded()
        self.nursery.start_soon(self.driver.hold, transport, serve)
        return transport

    async def idle(self, connection: Connection) -> None:
        self.connections.append(connection)
        connection.wait_idle()
        await trio.sleep_forever()

    async def busy(self, connection: Connection) -> None:
        self.connections.append(connection)
        connection.work()
        await trio.sleep_forever()


@asynccontextmanager
async def desk(limits: Limits | None = None) -> AsyncIterator[Desk]:
    """At 100 s by Trio's clock, so that a time is not taken for a moment."""
    await trio.sleep(100)
    desk = Desk(limits)
    with trio.fail_after(VIRTUAL_DAY_S):
        async with trio.open_nursery() as desk.nursery:
            yield desk
            desk.nursery.cancel_scope.cancel()


async def test_a_last_answer_says_that_it_is_the_last(autojump_clock: MockClock) -> None:
    answer = Desk().driver.last_answer(rejections.TOO_MANY_CONNECTIONS)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body.startswith(b"Too many connections. ")
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 503 Service Unavailable",
        b"content-type: text/plain; charset=utf-8",
        b"retry-after: 1",
        b"content-length: %d" % len(body),
        DATE.strip(),
        b"connection: close",
    ]


async def test_a_bug_resets_its_connection_and_is_reported_once(autojump_clock: MockClock) -> None:
    """G11."""

    async def serve(connection: Connection) -> None:
        await trio.lowlevel.checkpoint()
        raise ExceptionGroup("", [ExceptionGroup("", [KeyError("a bug")])])

    async with desk() as here:
        transport = await here.hold(serve)
        assert transport.done == ["abort"]
        assert [repr(crash) for crash in here.crashes] == ["KeyError('a bug')"]
        assert here.ended == {"crashed": 1}
        assert here.driver.statistics().crashes == 1


async def test_several_bugs_are_reported_together(autojump_clock: MockClock) -> None:
    bugs = ExceptionGroup("", [KeyError("a"), KeyError("b")])
    async with desk() as here:
        here.driver.report(bugs)
        here.driver.report(bugs)
        assert here.crashes == [bugs, bugs]
        assert here.driver.statistics().crashes == 2


@pytest.mark.parametrize("before", [None, End.DRAINED])
async def test_a_client_that_is_gone_is_no_bug(autojump_clock: MockClock, before: End | None) -> None:
    async def serve(connection: Connection) -> None:
        await trio.lowlevel.checkpoint()
        connection.end = before
        raise trio.BrokenResourceError

    async with desk() as here:
        transport = await here.hold(serve)
        assert here.crashes == []
        assert transport.done == ["close"]
        assert here.ended == {before or End.CLIENT_DISCONNECTED: 1}


async def test_a_disconnect_reaches_its_own_connection(autojump_clock: MockClock) -> None:
    """G6."""
    async with desk() as here:
        first, second = here.begin(here.busy), here.begin(here.busy)
        await trio.testing.wait_all_tasks_blocked()
        assert second.client_left is not None
        second.client_left()
        await trio.testing.wait_all_tasks_blocked()
        assert (first.done, second.done) == ([], ["close"])
        assert here.ended == {"client_disconnected": 1}


async def test_what_is_counted(autojump_clock: MockClock) -> None:
    async with desk() as here:
        for serve in (here.idle, here.idle, here.busy):
            here.begin(serve)
            await trio.testing.wait_all_tasks_blocked()
        statistics = here.driver.statistics()
        assert (statistics.open, statistics.waiting, statistics.busy, statistics.accepted) == (3, 2, 1, 3)
        assert (statistics.ended, statistics.draining) == ({}, False)
        here.connections[0].cut(End.ANSWERED)
        await trio.testing.wait_all_tasks_blocked()
        statistics = here.driver.statistics()
        assert (statistics.open, statistics.waiting, statistics.busy, statistics.accepted) == (2, 1, 1, 3)
        assert statistics.ended == {"answered": 1}
    statistics = here.driver.statistics()
    assert (statistics.open, statistics.ended) == (0, {"answered": 1, "stopped": 2})


async def test_a_connection_over_the_limit_gets_an_answer_and_some_time_to_read_it(
    autojump_clock: MockClock,
) -> None:
    """One at a time here: a second one finds no place among the rejected, a later one does."""
    async with desk(Limits(max_connections=1, max_rejected=1)) as here:
        here.begin(here.busy)
        answer = here.driver.last_answer(rejections.TOO_MANY_CONNECTIONS)
        for _ in range(2):
            await trio.testing.wait_all_tasks_blocked()
            answered = here.begin(here.idle, Recorded(handshake_s=0.5))
            await trio.testing.wait_all_tasks_blocked()
            closed = await here.hold(here.idle)
            assert closed.done == ["close"]
            await trio.sleep(0.6)
            assert answered.done == [answer, "eof", "close"]
        assert here.ended == {"over_limit": 4}
        assert len(here.connections) == 1


@pytest.mark.parametrize("handshake_s", [0.9, 1.1])
async def test_a_connection_over_the_limit_has_a_second_in_all(
    autojump_clock: MockClock, handshake_s: float
) -> None:
    async with desk(Limits(max_connections=0, linger_timeout_s=1)) as here:
        transport = await here.hold(here.idle, Recorded(handshake_s=handshake_s, alpn="h2"))
        assert transport.done == ([rejections.OVER_HTTP2, "eof", "close"] if handshake_s < 1 else ["close"])
        assert trio.current_time() == pytest.approx(100 + min(handshake_s, 1))
        assert here.ended == {"over_limit": 1}


async def test_where_nobody_is_open_nobody_can_be_evicted(autojump_clock: MockClock) -> None:
    async with desk(Limits(max_connections=0, evict_busy=True)) as here:
        await here.hold(here.idle)
        assert here.ended == {"over_limit": 1}
        assert here.crashes == []


@pytest.mark.parametrize(("waited_s", "evicted"), [(0.9, "busy"), (1.0, "idle")])
async def test_a_client_that_just_came_is_not_evicted_if_busy_ones_may_be(
    autojump_clock: MockClock, waited_s: float, evicted: str
) -> None:
    """It may be about to send its request. Where only waiting ones may be, there is no choice."""
    async with desk(Limits(max_connections=2, evict_busy=True)) as here:
        busy = here.begin(here.busy)
        await trio.testing.wait_all_tasks_blocked()
        idle = here.begin(here.idle)
        await trio.sleep(waited_s)
        here.begin(here.idle)
        await trio.testing.wait_all_tasks_blocked()
        assert (busy.done, idle.done) == ((["close"], []) if evicted == "busy" else ([], ["close"]))
        assert here.ended == {"evicted": 1}


@pytest.mark.parametrize("again", [Connection.wait_idle, Connection.answered])
async def test_an_evicted_connection_waits_in_no_queue_any_more(
    autojump_clock: MockClock, again: Callable[[Connection], None]
) -> None:
    """Its task may still run, such as when bytes came in the same iteration."""

    async def restless(connection: Connection) -> None:
        connection.wait_idle()
        try:
            await trio.sleep_forever()
        finally:
            again(connection)
            with trio.CancelScope(shield=True):
                await trio.sleep(1)

    async with desk(Limits(max_connections=1)) as here:
        here.begin(restless)
        await trio.testing.wait_all_tasks_blocked()
        here.begin(here.busy)
        await trio.testing.wait_all_tasks_blocked()
        statistics = here.driver.statistics()
        assert (statistics.waiting, statistics.busy) == (0, 1)
        here.begin(here.busy)
        await trio.testing.wait_all_tasks_blocked()
        assert here.crashes == []
        assert here.ended == {"over_limit": 1}
        await trio.sleep(2)
        assert here.ended == {"over_limit": 1, "evicted": 1}


async def test_busy_connections_are_evicted_only_where_they_may_be(autojump_clock: MockClock) -> None:
    async with desk(Limits(max_connections=2)) as here:
        busy = here.begin(here.busy)
        await trio.testing.wait_all_tasks_blocked()
        idle = here.begin(here.idle)
        await trio.testing.wait_all_tasks_blocked()
        here.begin(here.busy)
        await trio.testing.wait_all_tasks_blocked()
        assert (busy.done, idle.done) == ([], ["close"])
        here.begin(here.busy)
        await trio.testing.wait_all_tasks_blocked()
        assert here.ended == {"evicted": 1, "over_limit": 1}


@pytest.mark.parametrize(
    ("state", "is_http2", "says"),
    [(State.HEAD, False, True), (State.HEAD, True, False), (State.BUSY, False, False)],
)
async def test_half_a_head_that_takes_too_long_is_answered(
    autojump_clock: MockClock, state: State, is_http2: bool, says: bool
) -> None:
    async def serve(connection: Connection) -> None:
        connection.is_http2 = is_http2
        connection.wait(state, 10)
        await trio.sleep_forever()

    async with desk() as here:
        transport = await here.hold(serve)
        assert trio.current_time() == 110
        answer = here.driver.last_answer(rejections.SLOW_HEAD)
        assert transport.done == ([answer] if says else []) + ["close"]


async def test_many_that_are_idle_for_too_long_end_some_at_a_time(autojump_clock: MockClock) -> None:
    """Each iteration ends sixteen. What is not idle is in nobody's way."""
    async with desk(Limits(idle_timeout_s=75)) as here:
        for number in range(50):
            here.begin(here.idle)
            await trio.testing.wait_all_tasks_blocked()
            if number % 5 == 0:
                here.connections[-1].wait(State.HEAD, 1000)
        here.nursery.start_soon(here.driver.run)
        await trio.sleep(75 - 0.001)
        ended: list[int] = []

        class Iterations(trio.abc.Instrument):
            def before_io_wait(self, timeout: float) -> None:
                ended.append(sum(connection.scope.cancel_called for connection in here.connections))

        trio.lowlevel.add_instrument(Iterations())
        await trio.sleep_until(175.001)
        assert [count for count, _ in groupby(ended)] == [0, 16, 32, 40]
        assert here.connections[0].end is None
    assert here.ended["idle"] == 40


async def test_each_idle_connection_ends_at_its_own_moment(autojump_clock: MockClock) -> None:
    """Also one that begins to wait while there is none."""
    ends: list[float] = []

    class Timed(Recorded):
        def close(self) -> None:
            ends.append(trio.current_time() - 100)

    async with desk(Limits(idle_timeout_s=75)) as here:
        here.nursery.start_soon(here.driver.run)
        for _ in range(3):
            here.begin(here.idle, Timed())
            await trio.sleep(10)
        await trio.sleep(200)
    assert ends == [75, 85, 95]


async def test_a_bug_as_one_connection_ends_is_reported_and_the_others_end(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G10, G11."""
    bugs = [KeyError("a bug")]
    waited_too_long = Connection.waited_too_long

    def broken(connection: Connection) -> bool:
        if bugs:
            raise bugs.pop()
        return waited_too_long(connection)

    monkeypatch.setattr(Connection, "waited_too_long", broken)
    async with desk(Limits(idle_timeout_s=75)) as here:
        for _ in range(3):
            here.begin(here.idle)
        await trio.testing.wait_all_tasks_blocked()
        here.nursery.start_soon(here.driver.run)
        await trio.sleep(76)
        assert [repr(crash) for crash in here.crashes] == ["KeyError('a bug')"]
        assert here.ended == {"idle": 2}


async def test_two_tasks_per_iteration_parse_what_http_2_clients_send(autojump_clock: MockClock) -> None:
    async with desk() as here:
        done: list[int] = []
        begun = 0

        class Iterations(trio.abc.Instrument):
            def before_io_wait(self, timeout: float) -> None:
                done.append(begun)

        async def parse() -> None:
            nonlocal begun
            await here.driver.pieces.next()
            begun += 1

        trio.lowlevel.add_instrument(Iterations())
        for _ in range(6):
            here.nursery.start_soon(parse)
        await trio.sleep(1)
    assert [count for count, _ in groupby(done)] == [0, 2, 4, 6]


async def test_a_graceful_shutdown_ends_idle_connections_some_at_a_time(autojump_clock: MockClock) -> None:
    """G9. The requests that are running, and the clients that still read a rejection, are not cut."""
    async with desk(Limits(drain_grace_s=0.5)) as here:
        here.begin(here.busy)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(40):
            here.begin(here.idle)
        await trio.testing.wait_all_tasks_blocked()
        busy, *idle = here.connections
        here.driver.drain()
        assert [connection.scope.cancel_called for connection in idle] == [True] * 16 + [False] * 24
        later = [round(connection.scope.deadline - 100, 6) for connection in idle[16:]]
        assert later == [0.0015] * 16 + [0.003] * 8
        assert (busy.end, busy.scope.deadline) == (None, inf)
        await trio.sleep(1)
        assert here.ended == {"drained": 40}
        statistics = here.driver.statistics()
        assert (statistics.draining, statistics.open) == (True, 1)
        assert here.driver.timeouts.closes_after_answer


async def test_a_graceful_shutdown_of_very_many_takes_its_grace_and_no_longer(
    autojump_clock: MockClock,
) -> None:
    async with desk(Limits(drain_grace_s=0.004)) as here:
        for _ in range(64):
            here.begin(here.idle)
        await trio.testing.wait_all_tasks_blocked()
        here.driver.drain()
        deadlines = {round(connection.scope.deadline - 100, 6) for connection in here.connections[16:]}
        assert deadlines == {0.001, 0.002, 0.003}


async def test_a_graceful_shutdown_shortens_what_rejected_clients_and_streams_have(
    autojump_clock: MockClock,
) -> None:
    async with desk(Limits(max_connections=0, linger_timeout_s=10, drain_grace_s=0.5)) as here:
        rejected = here.begin(here.idle, Recorded(handshake_s=5))
        later, sooner = trio.CancelScope(deadline=110), trio.CancelScope(deadline=100.25)
        here.driver.timeouts.of_streams.update({later: None, sooner: None})
        await trio.testing.wait_all_tasks_blocked()
        here.driver.drain()
        assert (later.deadline, sooner.deadline) == (100.5, 100.25)
        await trio.sleep(0.6)
        assert rejected.done == ["close"]


async def test_a_lame_duck_serves_on_and_makes_each_answer_the_last(autojump_clock: MockClock) -> None:
    async with desk() as here:
        here.begin(here.idle)
        await trio.testing.wait_all_tasks_blocked()
        here.driver.enter_lame_duck()
        await trio.sleep(1)
        assert here.driver.timeouts.closes_after_answer
        assert not here.driver.draining
        assert here.driver.statistics().open == 1
