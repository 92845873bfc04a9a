"""The scopes that a task is in are found as Trio has them: in order, with deadline and reason."""

from __future__ import annotations

from math import inf

import trio
from trio.testing import MockClock

from fanout.testing.scopes import scopes_of


async def test_scopes_are_found_from_the_outside_to_the_inside(autojump_clock: MockClock) -> None:
    task = trio.lowlevel.current_task()
    around = len(scopes_of(task))
    with trio.CancelScope() as outer, trio.move_on_at(7) as timed:
        async with trio.open_nursery() as nursery:
            found = scopes_of(task)[around:]
    assert [each.scope for each in found] == [outer, timed, nursery.cancel_scope]
    assert [each.deadline for each in found] == [inf, 7, inf]
    assert [each.why for each in found] == [None, None, None]
    assert len(scopes_of(task)) == around


async def test_a_cancelled_scope_says_why_and_those_around_it_nothing(autojump_clock: MockClock) -> None:
    task = trio.lowlevel.current_task()
    with trio.CancelScope() as outer, trio.CancelScope() as inner:
        inner.cancel(reason="enough")
        assert [each.why for each in scopes_of(task)[-2:]] == [None, "enough"]
        outer.cancel()
        assert [each.why for each in scopes_of(task)[-2:]] == ["explicit", "enough"]
        await trio.sleep_forever()


async def test_a_scope_whose_deadline_has_come_says_so(autojump_clock: MockClock) -> None:
    with trio.move_on_after(1):
        try:
            await trio.sleep(2)
        finally:
            why = scopes_of(trio.lowlevel.current_task())[-1].why
    assert why == "deadline"
