"""The mechanism of the sweeps: which points there are, and what can be done at them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from fanout.testing.points import Point, Points, can_throw, cancel_at, repeatable, throw


class Taken:
    """Something that is taken and given back, with a checkpoint in between."""

    def __init__(self, *, careless: bool) -> None:
        self.held = 0
        self._careless = careless

    async def use(self) -> None:
        self.held += 1
        if self._careless:
            await trio.lowlevel.checkpoint()
        try:
            await trio.lowlevel.checkpoint()
        finally:
            self.held -= 1


@pytest.mark.parametrize(("careless", "lost_at"), [(False, []), (True, [1, 2])])
async def test_cancel_at_finds_the_checkpoint_that_loses_something(
    careless: bool, lost_at: list[int]
) -> None:
    lost = []
    n = reached = 1
    while n <= reached:
        taken = Taken(careless=careless)
        reached = await cancel_at(taken.use, n)
        lost += [n] * taken.held
        n += 1
    assert lost == lost_at
    assert reached == n - 2  # the last run came to its end


async def test_the_points_of_tasks_below_are_counted_and_those_of_others_are_not() -> None:
    async def two_tasks() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.checkpoint)
            nursery.start_soon(trio.lowlevel.checkpoint)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        # Each child starts, waits, resumes; the parent waits for them and resumes.
        assert await cancel_at(two_tasks, 0) == 8
        nursery.cancel_scope.cancel()


def thrown_at(n: int, async_fn: Callable[[], Awaitable[object]]) -> bool | None:
    """Whether a `KeyError` could be raised at a point. `None`: there is no such point."""
    could: list[bool] = []

    def act(nth: int, point: Point) -> None:
        if nth == n:
            could.append(can_throw(point))
            if could[0]:
                throw(point, KeyError())

    async def main() -> None:
        with Points(act) as points:
            points.follow(trio.lowlevel.current_task())
            try:
                await async_fn()
            except KeyError:
                assert could == [True]
            else:
                assert could != [True]

    trio.run(main)
    return could[0] if could else None


def test_an_exception_comes_out_of_the_checkpoint() -> None:
    """As a task begins to wait; not as it resumes, except where a `Cancelled` would have come."""

    async def cancelled() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await trio.sleep_forever()

    async def waiting() -> None:
        event = trio.Event()
        trio.lowlevel.current_trio_token().run_sync_soon(event.set)
        await event.wait()

    assert [thrown_at(n, waiting) for n in (1, 2, 3)] == [True, False, None]
    assert [thrown_at(n, cancelled) for n in (1, 2, 3)] == [False, True, None]


async def test_what_act_raises_is_not_lost() -> None:
    def act(n: int, point: Point) -> None:
        raise KeyError(n)

    async def one_checkpoint() -> None:
        with Points(act) as points:
            points.follow(trio.lowlevel.current_task())
            await trio.lowlevel.checkpoint()

    with pytest.raises(KeyError):
        await one_checkpoint()


def test_the_same_seed_gives_the_same_order_of_tasks() -> None:
    def order(seed: int) -> list[int]:
        seen: list[int] = []

        async def note(number: int) -> None:
            seen.append(number)

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(note, number)

        with repeatable(seed):
            trio.run(main)
        return seen

    assert order(1) == order(1)
    assert order(1) != order(2)
