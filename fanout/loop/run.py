"""The programs' own `trio.run`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from fanout.loop.clock import LoopClock
from fanout.loop.instruments import look_up_quickly
from fanout.loop.scopes import note_deadlines_quickly

T = TypeVar("T")


def run_loop(main: Callable[[], Awaitable[T]]) -> T:
    """`trio.run(main)`, by our own clock."""

    async def quickly() -> T:
        look_up_quickly()
        note_deadlines_quickly()
        return await main()

    return trio.run(quickly, clock=LoopClock())
