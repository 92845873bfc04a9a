"""The simulated network does what sockets do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from fanout.testing.world.network import End, Network


@asynccontextmanager
async def ends(
    latency_s: float = 0.0, window: int = 100, segment: int = 0, late_iterations: int = 0
) -> AsyncIterator[tuple[End, End]]:
    network = Network(late_iterations)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.run)
        yield network.pair(latency_s=latency_s, window_bytes=(window, window), segment_bytes=segment)
        nursery.cancel_scope.cancel()


async def test_bytes_take_the_latency_and_stay_in_order(autojump_clock: trio.testing.MockClock) -> None:
    async with ends(latency_s=0.5) as (one, other):
        one.write(b"a")
        one.write(b"b")
        one.close()
        assert other.read(9) is None
        await other.readable()
        assert trio.current_time() == 0.5
        assert (other.read(9), other.read(9)) == (b"ab", b"")


async def test_what_is_late_stays_in_order_and_takes_no_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It is seen pass by pass: one byte alone, then more, then the end."""
    async with ends(late_iterations=9) as (one, other):
        for byte in b"abc":
            one.write(bytes([byte]))
        one.close()
        reads: list[bytes] = []
        while not reads or reads[-1]:
            await other.readable()
            reads.append(other.read(9) or b"")
        assert b"".join(reads) == b"abc"
        assert len(reads) > 2
        assert trio.current_time() == 0


async def test_a_full_window_stops_the_writer_until_it_is_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with ends(window=3) as (one, other):
        assert (one.write(b"12345"), one.write(b"45")) == (3, 0)
        with trio.move_on_after(1) as waited:
            await one.writable()
        assert waited.cancelled_caught
        assert other.read(9) == b"123"
        await one.writable()
        assert one.write(b"45") == 2


async def test_a_read_gives_no_more_than_a_segment(autojump_clock: trio.testing.MockClock) -> None:
    async with ends(segment=2) as (one, other):
        one.write(b"123")
        assert (other.read(9), other.read(9), other.read(9)) == (b"12", b"3", None)


async def test_what_came_before_a_reset_can_be_read(autojump_clock: trio.testing.MockClock) -> None:
    async with ends() as (one, other):
        one.write(b"last words")
        one.reset()
        assert other.read(99) == b"last words"
        with pytest.raises(ConnectionResetError):
            other.read(99)
        with pytest.raises(ConnectionResetError):
            other.write(b"?")


async def test_to_close_on_unread_bytes_is_a_reset(autojump_clock: trio.testing.MockClock) -> None:
    async with ends() as (one, other):
        one.write(b"unread")
        other.close()
        with pytest.raises(ConnectionResetError):
            one.read(9)


async def test_to_write_to_a_closed_end_is_answered_by_a_reset(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with ends(latency_s=1) as (one, other):
        other.close()
        assert one.write(b"too late") == 8
        await trio.sleep(2.5)
        assert one.broken_at == 2


async def test_a_half_closed_end_reads_on(autojump_clock: trio.testing.MockClock) -> None:
    async with ends() as (one, other):
        one.send_end()
        assert other.read(9) == b""
        other.write(b"answer")
        assert one.read(9) == b"answer"
        with pytest.raises(BrokenPipeError):
            one.write(b"more")


async def test_a_hang_up_is_seen_behind_unread_bytes(autojump_clock: trio.testing.MockClock) -> None:
    async with ends() as (one, other):
        left = trio.Event()
        other.on_hang_up(left.set)
        one.write(b"unread")
        one.close()
        with trio.fail_after(1):
            await left.wait()
        assert other.unread == 6
