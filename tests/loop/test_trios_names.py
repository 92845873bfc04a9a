"""Every private name of Trio's that `fanout.loop` relies on. It fails when one of them moves."""

from __future__ import annotations

import inspect
from collections import UserDict
from importlib.metadata import version

import trio
from trio._core import _run
from trio._core._instrumentation import Instruments
from trio._core._io_epoll import EpollIOManager
from trio._core._run import GLOBAL_RUN_CONTEXT

from fanout.loop.instruments import QuickInstruments
from fanout.loop.sockets import Sockets


def test_the_pin_is_the_one_this_was_written_for() -> None:
    assert version("trio") == "0.35.0"


async def test_a_run_looks_up_its_io_manager_and_its_instruments_each_time() -> None:
    runner = GLOBAL_RUN_CONTEXT.runner
    assert isinstance(runner.io_manager, EpollIOManager)
    assert isinstance(runner.instruments, Instruments | QuickInstruments)
    loop = inspect.getsource(_run.unrolled_run)
    assert "runner.io_manager.process_events(events)" in loop
    assert 'if "before_task_step" in runner.instruments:' in loop
    assert loop.index("process_events(events)") < loop.index("batch = list(runner.runq)")
    assert "runner.io_manager.get_events(timeout)" in inspect.getsource(_run.run)


def test_the_io_manager_has_these_parts_and_no_others() -> None:
    """`Sockets` takes over each of them."""
    assert {name for name in EpollIOManager.__slots__ if name != "__weakref__"} == {
        "_epoll",
        "_registered",
        "_force_wakeup",
        "_force_wakeup_fd",
    }
    called_by_the_loop = {name for name, _ in inspect.getmembers(EpollIOManager, inspect.isfunction)}
    assert {"get_events", "process_events", "close", "force_wakeup", "statistics"} <= called_by_the_loop
    assert list(inspect.signature(EpollIOManager.get_events).parameters) == ["self", "timeout"]
    assert list(inspect.signature(EpollIOManager.process_events).parameters) == ["self", "events"]
    assert "max(1, len(self._registered))" in inspect.getsource(EpollIOManager.get_events)  # as `_tell_trio`
    assert issubclass(Sockets, EpollIOManager)


def test_instruments_are_a_dictionary_with_these_methods() -> None:
    assert issubclass(Instruments, UserDict)
    own = {name for name in vars(Instruments) if not name.startswith("_")}
    assert own == {"add_instrument", "remove_instrument", "call"}
    for name in own:
        assert inspect.signature(getattr(QuickInstruments, name)) == inspect.signature(
            getattr(Instruments, name)
        )


def test_a_clock_has_these_methods() -> None:
    assert trio.abc.Clock.__abstractmethods__ == {"start_clock", "current_time", "deadline_to_sleep_time"}
