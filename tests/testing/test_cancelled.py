"""docs/cancel-safety.md: the test kit itself, when it is cancelled."""

from __future__ import annotations

from functools import partial

import pytest
import trio
import trio.testing

from fanout.race.timings import CallTimings
from fanout.testing import Point, Points, Program, answers, cancel_at, hangs, run_scenario, running


@pytest.mark.parametrize("clean_up_ms", [0, 50])
async def test_a_scripted_call_knows_that_it_has_ended_wherever_it_is_cancelled(
    clean_up_ms: float, autojump_clock: trio.testing.MockClock
) -> None:
    n = reached = 1
    while n <= reached:
        call = answers(10)
        call.cleanup_ms = clean_up_ms

        reached = await cancel_at(partial(call, CallTimings("test", 0)), n)
        assert (call.started, call.running) == (1, 0)
        n += 1
    assert n > 2


async def test_the_clean_up_of_a_scripted_call_is_not_cut(autojump_clock: trio.testing.MockClock) -> None:
    call = hangs()
    call.cleanup_ms = 500
    with trio.move_on_after(0.1) as scope:
        await call(CallTimings("test", 0))
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(0.6)


async def test_a_scripted_call_in_a_cancelled_scope_has_begun_and_ended() -> None:
    call = answers(0)
    with trio.CancelScope() as scope:
        scope.cancel()
        await call(CallTimings("test", 0))
    assert scope.cancelled_caught
    assert (call.started, call.running) == (1, 0)


async def test_points_are_counted_no_more_when_a_cancelled_block_is_left() -> None:
    seen: list[int] = []

    def act(n: int, point: Point) -> None:
        seen.append(n)

    with trio.CancelScope() as scope:
        with Points(act) as points:
            points.follow(trio.lowlevel.current_task())
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    counted = len(seen)
    await trio.lowlevel.checkpoint()
    assert len(seen) == counted > 0


async def test_cancel_at_passes_on_a_cancellation_from_outside(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """And cancels nothing afterwards: its own scope is gone."""
    with trio.move_on_after(1) as scope:
        await cancel_at(trio.sleep_forever, 99)
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(1)
    for _ in range(100):
        await trio.lowlevel.checkpoint()


async def test_cancel_at_in_a_cancelled_scope_ends_at_the_first_checkpoint() -> None:
    began = []

    async def two_checkpoints() -> None:
        for n in (1, 2):
            began.append(n)
            await trio.lowlevel.checkpoint()

    with trio.CancelScope() as scope:
        scope.cancel()
        await cancel_at(two_checkpoints, 99)
    assert scope.cancelled_caught
    assert began == [1]


async def test_a_scenario_is_no_part_of_a_running_loop() -> None:
    """It has a loop of its own, so no scope of another loop can reach it."""
    with pytest.raises(RuntimeError, match="from inside"):
        run_scenario("/api/first", [answers(1)])


async def test_a_program_ends_with_its_block_when_a_cancel_leaves_it() -> None:
    programs: list[Program] = []
    with trio.CancelScope() as scope:
        with running("upstream", "--bind", "127.0.0.1:0") as program:
            programs.append(program)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    [ended] = programs
    assert ended.process.returncode is not None
