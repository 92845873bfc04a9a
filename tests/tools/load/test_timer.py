"""The timer: never early, and finer than a millisecond."""

from __future__ import annotations

import trio

from fanout.tools.load.timer import precise_timer


async def test_it_never_wakes_early_and_is_finer_than_epolls_millisecond() -> None:
    """The best of twenty sleeps of 0.2 ms is late by less than epoll's rounding would make it."""
    late_s = []
    with precise_timer() as sleep_until:
        for _ in range(20):
            deadline = trio.current_time() + 0.0002
            await sleep_until(deadline)
            late_s.append(trio.current_time() - deadline)
    assert min(late_s) >= 0
    assert min(late_s) < 0.0006


async def test_it_can_be_cancelled_and_used_again() -> None:
    """A cancelled sleep leaves no expiry behind for the next one."""
    with precise_timer() as sleep_until:
        with trio.move_on_after(0.01) as scope:
            await sleep_until(trio.current_time() + 60)
        assert scope.cancelled_caught
        deadline = trio.current_time() + 0.02
        await sleep_until(deadline)
        assert trio.current_time() >= deadline
