"""Schedules: as text, as the choices of a run, and how many there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import comb

import pytest
import trio
import trio.testing

from fanout.testing.prove.choices import (
    Choices,
    Deviation,
    NoSuchChoice,
    Schedule,
    extensions,
    schedule_of,
    text_of,
)
from fanout.testing.prove.moments import Moments
from fanout.testing.world.scheduler import run_ordered
from fanout.testing.world.trace import Trace
from fanout.testing.world.world import HORIZON_S


def every_schedule(
    run: Program, deviations: int, prefix: Schedule = ()
) -> Iterator[tuple[Schedule, Sequence[str]]]:
    """As the search does it, in one process: the schedules and what came of each."""
    seen, after = run(prefix)
    yield prefix, seen
    if len(prefix) < deviations:
        for schedule in extensions(prefix, after):
            yield from every_schedule(run, deviations, schedule)


class Program:
    """So many choices, each between a default and so many alternatives."""

    def __init__(self, choices: int, alternatives: int) -> None:
        self._choices = choices
        self._alternatives = [f"a{number}" for number in range(alternatives)]

    def __call__(self, schedule: Schedule) -> tuple[Sequence[str], list[tuple[int, Sequence[str]]]]:
        choices = Choices(schedule)
        taken = [choices.choose(self._alternatives) or "-" for _ in range(self._choices)]
        choices.check()
        return taken, choices.after


@pytest.mark.parametrize(
    ("choices", "alternatives", "deviations"), [(5, 1, 2), (6, 2, 3), (4, 3, 4), (3, 2, 9)]
)
def test_every_schedule_is_run_once(choices: int, alternatives: int, deviations: int) -> None:
    """So many as the closed formula says, each of them another, and each with its own result."""
    found = list(every_schedule(Program(choices, alternatives), deviations))
    for count in range(deviations + 1):
        schedules = [schedule for schedule, _ in found if len(schedule) == count]
        assert len(schedules) == comb(choices, count) * alternatives**count
    assert len({schedule for schedule, _ in found}) == len(found)
    assert len({tuple(taken) for _, taken in found}) == len(found)


class Tasks(Program):
    """The main task and three others, all to run in one iteration. The result is their order."""

    def __init__(self) -> None:
        super().__init__(0, 0)

    def __call__(self, schedule: Schedule) -> tuple[Sequence[str], list[tuple[int, Sequence[str]]]]:
        choices, order = Choices(schedule), list[str]()
        moments = Moments(choices, Trace(kept=False))

        async def note(name: str) -> None:  # noqa: ASYNC910 - one step, and no more
            order.append(name)

        async def main(clock: trio.testing.MockClock) -> None:
            async with trio.open_nursery() as nursery:
                for name in "abc":
                    nursery.start_soon(note, name)
                moments.is_on = True
                await trio.lowlevel.checkpoint()
                moments.is_on = False
                order.append("main")

        run_ordered(main, moments.order)
        return order, choices.after


def test_every_order_of_runnable_tasks_is_reached() -> None:
    """n tasks: n! orders. One deviation reaches those in which one task has come forward."""
    orders = [tuple(order) for _, order in every_schedule(Tasks(), 9)]
    assert len(set(orders)) == len(orders) == 24
    first = [tuple(order) for _, order in every_schedule(Tasks(), 1)]
    assert len(set(first)) == len(first) == 1 + 3 + 2 + 1
    assert first[0] == ("main", "a", "b", "c")


def test_a_schedule_is_a_text_and_back() -> None:
    schedule = (Deviation(4, "2nd"), Deviation(41, "c0.fin"))
    assert text_of(schedule) == "4:2nd,41:c0.fin"
    assert schedule_of("4:2nd, 41:c0.fin") == schedule
    assert schedule_of("") == ()


@pytest.mark.parametrize(
    "text", ["x", "4", "4:", ":fin", "0:fin", "4:fin,", "5:fin,4:fin", "4:fin,4:rst", "-1:fin"]
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"deviation|increase"):
        schedule_of(text)


def test_a_schedule_that_does_not_fit_the_run_is_refused() -> None:
    with pytest.raises(NoSuchChoice, match="2:b: there, it is one of a0, a1"):
        Program(3, 2)(schedule_of("2:b"))
    with pytest.raises(NoSuchChoice, match="9:a0: the run has 3 choices"):
        Program(3, 2)(schedule_of("9:a0"))


def test_tasks_that_run_on_and_on_meet_the_end_of_the_world() -> None:
    """No time passes while they run, so no bound of virtual time would end them."""
    moments = Moments(Choices(()), Trace(kept=False))

    async def main(clock: trio.testing.MockClock) -> bool:
        trio.lowlevel.add_instrument(moments)
        with trio.move_on_after(HORIZON_S) as horizon:
            while True:
                await trio.lowlevel.checkpoint()
        return horizon.cancelled_caught

    assert run_ordered(main, moments.order)
