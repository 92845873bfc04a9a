"""Every private name of Trio's that `fanout.loop` relies on. It fails when one of them moves."""

from __future__ import annotations

import inspect
from collections import UserDict, deque
from importlib.metadata import version
from typing import Any

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
    # What is there to be run is one deque for good, and whoever runs is not in it.
    assert isinstance(runner.runq, deque)
    assert loop.count("runner.runq.clear()") == 1
    assert "runq =" not in inspect.getsource(_run.Runner.reschedule) + loop


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


def test_a_scope_is_due_whenever_one_of_these_says_so() -> None:
    asks = "with self._might_change_registered_deadline():"
    scope: Any = trio.CancelScope
    setters = (scope.deadline.fset, scope.relative_deadline.fset)
    for method in (scope.__enter__, scope._close, scope._cancel, *setters):
        assert asks in inspect.getsource(method)
    for name in ("_cancel_status", "_cancel_called", "_deadline", "_registered_deadline"):
        assert hasattr(trio.CancelScope, name), name
    deadlines = _run.Deadlines
    assert list(inspect.signature(deadlines.add).parameters) == ["self", "deadline", "cancel_scope"]
    assert list(inspect.signature(deadlines.remove).parameters) == ["self", "deadline", "cancel_scope"]
    assert inspect.isfunction(deadlines.next_deadline)
    assert inspect.isfunction(_run.Runner.force_guest_tick_asap)


def test_a_clock_has_these_methods() -> None:
    assert trio.abc.Clock.__abstractmethods__ == {"start_clock", "current_time", "deadline_to_sleep_time"}
