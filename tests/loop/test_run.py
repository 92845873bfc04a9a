"""A loop of ours does what Trio's does: time, deadlines, instruments, results, errors."""

from __future__ import annotations

import time

import pytest
import trio
import trio.testing

from fanout.loop.instruments import QuickInstruments
from fanout.loop.run import run_loop


def test_it_returns_what_main_returns_and_raises_what_it_raises() -> None:
    async def seven() -> int:
        await trio.lowlevel.checkpoint()
        return 7

    async def bug() -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    assert run_loop(seven) == 7
    with pytest.raises(ZeroDivisionError):
        run_loop(bug)


def test_its_time_is_the_processs_and_deadlines_go_by_it() -> None:
    async def main() -> tuple[float, float]:
        assert trio.lowlevel.current_clock().current_time is time.perf_counter
        assert abs(trio.current_time() - time.perf_counter()) < 1
        began_at = trio.current_time()
        with trio.move_on_after(0.05) as scope:
            await trio.sleep_forever()
        assert scope.cancelled_caught
        return began_at, trio.current_time()

    began_at, ended_at = run_loop(main)
    assert 0.05 <= ended_at - began_at < 1


class Heard(trio.abc.Instrument):
    def __init__(self) -> None:
        self.spawned: list[str] = []
        self.steps = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.spawned.append(task.name)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1


def test_instruments_come_and_go_and_one_that_raises_is_taken_out(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Heard):
        def task_spawned(self, task: trio.lowlevel.Task) -> None:
            super().task_spawned(task)
            raise ZeroDivisionError

    heard, broken = Heard(), Broken()

    async def spawn(name: str) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.checkpoint, name=name)

    async def main() -> None:
        trio.lowlevel.add_instrument(heard)
        trio.lowlevel.add_instrument(heard)  # once all the same
        trio.lowlevel.add_instrument(broken)
        await spawn("first")
        await spawn("second")
        trio.lowlevel.remove_instrument(heard)
        with pytest.raises(KeyError):
            trio.lowlevel.remove_instrument(heard)
        await spawn("third")

    run_loop(main)
    assert (heard.spawned, broken.spawned) == (["first", "second"], ["first"])
    assert heard.steps > 4
    assert "Instrument has been disabled" in caplog.text


def test_nobody_listens_where_nobody_was_added() -> None:
    seen: list[bool] = []

    async def main() -> None:
        hooks = QuickInstruments({"_all": {}})
        seen.append("task_spawned" in hooks)
        hooks.add_instrument(Heard())
        seen.append("task_spawned" in hooks)
        seen.append("task_exited" in hooks)
        await trio.lowlevel.checkpoint()

    run_loop(main)
    assert seen == [False, True, False]
