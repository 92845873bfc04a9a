"""The bookkeeping of one origin's connections: synchronous, bounded, O(1)."""

from __future__ import annotations

import socket
import time
import timeit
from collections.abc import Sequence
from dataclasses import replace

import pytest
import trio
import trio.testing

from fanout.upstream.messages import Origin
from fanout.upstream.pool import CloseReason, OriginPool, PooledConnection, PoolLimitExceeded
from fanout.upstream.statistics import OriginStatistics
from tests.loop.test_stream import RST, connected, received, settled
from tests.upstream.scripted_wire import Piece, ScriptedWire

ORIGIN = Origin("http", "192.0.2.1", 80)


def new_pool(max_connections: int = 10) -> OriginPool:
    return OriginPool(
        ORIGIN, max_connections, keepalive_expiry_s=30.0, on_news=lambda pool, connection: False
    )


def opened(pool: OriginPool) -> tuple[PooledConnection, ScriptedWire]:
    connection, wire = pool.take(), ScriptedWire()
    assert connection.wire is None
    pool.connected(connection, wire)
    return connection, wire


def idle(pool: OriginPool, count: int) -> Sequence[tuple[PooledConnection, ScriptedWire]]:
    """Several idle connections, in the order in which they were given back."""
    connections = [opened(pool) for _ in range(count)]
    for connection, _ in connections:
        pool.give_back(connection, None)
    return connections


async def test_a_connection_that_cannot_be_kept_for_want_of_memory_is_closed() -> None:
    """It is in no list then, so nobody else would."""

    class Full(dict[PooledConnection, None]):
        def __setitem__(self, key: PooledConnection, value: None) -> None:
            raise MemoryError

    pool = new_pool()
    connection, wire = opened(pool)
    pool._idle = Full()
    with pytest.raises(MemoryError):
        pool.give_back(connection, None)
    assert wire.closed == ["abort"]
    statistics = pool.statistics()
    assert (statistics.open, statistics.in_use, statistics.opened) == (0, 0, 1)
    assert sum(statistics.closed.values()) == 1


async def test_the_connection_given_back_last_is_taken_first() -> None:
    pool = new_pool()
    first, second = (connection for connection, _ in idle(pool, 2))
    assert pool.take() is second
    assert pool.take() is first
    assert pool.take().wire is None
    assert pool.statistics().reused == 2


async def test_more_calls_than_agreed_are_a_loud_error_and_not_a_queue() -> None:
    pool = new_pool(max_connections=2)
    pool.take()
    connection = pool.take()
    with pytest.raises(PoolLimitExceeded, match=r"more than 2 calls to http://192\.0\.2\.1:80"):
        pool.take()
    with pytest.raises(PoolLimitExceeded):
        pool.take_for_retry()
    assert pool.statistics().in_use == 2
    pool.give_back(connection, CloseReason.CANCELLED)
    pool.take()


@pytest.mark.parametrize("reason", [CloseReason.CANCELLED, CloseReason.BROKEN, CloseReason.PEER])
async def test_a_connection_given_back_with_a_reason_is_reset_and_counted(reason: CloseReason) -> None:
    pool = new_pool()
    connection, wire = opened(pool)
    pool.give_back(connection, reason)
    assert wire.closed == ["abort"]
    statistics = pool.statistics()
    assert (statistics.open, statistics.in_use, statistics.closed[reason]) == (0, 0, 1)
    assert sum(statistics.closed.values()) == 1


async def test_an_idle_connection_expires_by_age(mock_clock: trio.testing.MockClock) -> None:
    pool = new_pool()
    [(_, wire)] = idle(pool, 1)
    mock_clock.jump(29.9)
    connection = pool.take()
    assert connection.wire is wire
    pool.give_back(connection, None)
    mock_clock.jump(30.0)
    assert pool.take().wire is None
    assert wire.closed == ["close"]
    assert pool.statistics().closed["expired"] == 1


@pytest.mark.parametrize("piece", [b"HTTP/1.1 408 Timeout\r\n\r\n", b"", ConnectionResetError()])
async def test_an_idle_connection_on_which_something_happened_is_never_handed_out(
    piece: Piece,
) -> None:
    """G7: bytes, the end or an error: none of them can be the answer to the next call."""
    pool = new_pool()
    [(_, healthy), (_, spoiled)] = idle(pool, 2)
    spoiled.arrive(piece)
    assert pool.take().wire is healthy
    assert spoiled.closed == ["abort"]
    assert pool.statistics().closed["peer"] == 1


async def test_one_call_does_not_pay_for_all_dead_connections() -> None:
    """After a restart of the upstream all idle ones are dead; a call closes a few and opens a new one."""
    pool = new_pool(max_connections=1000)
    wires = [wire for _, wire in idle(pool, 1000)]
    for wire in wires:
        wire.arrive(b"")
    assert pool.take().wire is None
    assert 1 <= sum(bool(wire.closed) for wire in wires) <= 10


async def test_the_sweep_closes_what_expired_a_batch_at_a_time(mock_clock: trio.testing.MockClock) -> None:
    pool = new_pool(max_connections=100)
    old = [wire for _, wire in idle(pool, 30)]
    mock_clock.jump(20)
    taken = [pool.take() for _ in range(10)]
    for connection in taken:
        pool.give_back(connection, None)
    mock_clock.jump(15)
    assert pool.close_expired(at_most=15)
    assert pool.statistics().idle == 15
    assert not pool.close_expired(at_most=15)
    assert pool.statistics().idle == 10
    assert sum(wire.closed == ["close"] for wire in old) == 20


async def test_after_shut_down_everything_is_closed_when_it_comes_back() -> None:
    pool = new_pool()
    in_use, in_use_wire = opened(pool)
    [(_, idle_wire)] = idle(pool, 1)
    pool.shut_down()
    assert idle_wire.closed == ["close"]
    assert not in_use_wire.closed
    pool.give_back(in_use, None)
    assert in_use_wire.closed == ["abort"]
    assert pool.statistics().closed["shutdown"] == 2
    assert pool.statistics().open == 0


async def test_the_statistics_tell_connected_from_connecting_and_count_every_end(
    mock_clock: trio.testing.MockClock,
) -> None:
    pool = new_pool()
    idle(pool, 4)
    in_use = pool.take(), pool.take()
    pool.take_for_retry()  # connecting, and stays so
    pool.take_for_retry()
    expected = OriginStatistics(
        origin="http://192.0.2.1:80",
        open=4,
        idle=2,
        in_use=4,
        connecting=2,
        opened=4,
        reused=2,
        retries=2,
        failed_connects=0,
        cancelled_connects=0,
        closed={"cancelled": 0, "expired": 0, "broken": 0, "peer": 0, "shutdown": 0},
    )
    assert pool.statistics() == expected
    assert pool.in_use == 4
    mock_clock.jump(30)
    pool.close_expired(at_most=10)
    for connection in in_use:
        pool.give_back(connection, CloseReason.PEER)
    assert pool.statistics() == replace(
        expected, open=0, idle=0, in_use=2, closed={**expected.closed, "expired": 2, "peer": 2}
    )


async def test_a_connection_that_never_came_about_is_counted_as_failed_or_as_cancelled() -> None:
    """Where no connection ever comes about before the deadline, no other figure tells."""
    pool = new_pool()
    for _ in range(3):
        assert pool.give_back(pool.take(), CloseReason.BROKEN) is False
    for _ in range(2):
        assert not pool.give_back(pool.take(), CloseReason.CANCELLED)
    statistics = pool.statistics()
    assert (statistics.failed_connects, statistics.cancelled_connects) == (3, 2)
    assert statistics.in_use == statistics.connecting == statistics.open == statistics.opened == 0


async def test_a_connection_is_kept_unless_it_has_ended_or_the_pool_has() -> None:
    pool = new_pool()
    kept, ended, late = opened(pool), opened(pool), opened(pool)
    assert pool.give_back(kept[0], None) is True
    ended[1].has_ended = True
    assert pool.give_back(ended[0], None) is False
    pool.shut_down()
    assert pool.give_back(late[0], None) is False
    assert [wire.closed for _, wire in (kept, ended, late)] == [["close"], ["abort"], ["abort"]]
    closed = pool.statistics().closed
    assert (closed["peer"], closed["shutdown"]) == (1, 2)


async def test_news_names_the_pool_and_the_connection() -> None:
    told: list[tuple[OriginPool, PooledConnection]] = []

    def on_news(pool: OriginPool, connection: PooledConnection) -> bool:
        told.append((pool, connection))
        return True

    pool = OriginPool(ORIGIN, 10, keepalive_expiry_s=30.0, on_news=on_news)
    connection, wire = opened(pool)
    wire.arrive(b"x")
    assert told == [(pool, connection)]


@pytest.mark.parametrize("piece", [b"", b"x"], ids=["ended", "unrequested bytes"])
async def test_after_news_an_idle_connection_is_closed_and_no_other(piece: bytes) -> None:
    pool = new_pool()
    in_use, (sound, sound_wire), (dead, dead_wire) = opened(pool), *idle(pool, 2)
    in_use[1].arrive(piece)
    dead_wire.arrive(piece)
    for connection in (in_use[0], sound, dead):
        pool.look_at(connection)
    assert (in_use[1].closed, sound_wire.closed, dead_wire.closed) == ([], [], ["abort"])
    statistics = pool.statistics()
    assert (statistics.idle, statistics.in_use, statistics.closed["peer"]) == (1, 1, 1)


async def test_taking_and_giving_back_cost_the_same_with_ten_and_with_ten_thousand_open() -> None:
    def cost(idle_connections: int) -> float:
        pool = new_pool(max_connections=idle_connections)
        idle(pool, idle_connections)
        return min(timeit.repeat(lambda: pool.give_back(pool.take(), None), number=500, repeat=9))

    assert cost(10_000) < 3 * cost(10)


@pytest.mark.parametrize("news", ["bytes", "end", "reset"])
async def test_an_idle_connection_is_not_quiet_from_the_moment_something_has_come(news: str) -> None:
    """The kernel is asked, not the loop: a second answer that comes in the pass in which the first one was
    read, and the next call begins, would be taken for that call's."""
    with connected() as (theirs, wire):
        theirs.sendall(b"answer")
        await settled()
        assert await received(wire) == b"answer"
        connection = PooledConnection()
        connection.wire = wire
        assert connection.is_reusable()
        if news == "bytes":
            theirs.sendall(b"unasked")
        elif news == "reset":
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
        if news != "bytes":
            theirs.close()
        time.sleep(0.02)  # noqa: ASYNC251 - the kernel shall know, and the loop not yet
        assert not connection.is_reusable()
