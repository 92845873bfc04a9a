"""An event loop whose upstream acts only when nothing else would happen, so that a sweep is repeatable."""

from __future__ import annotations

import selectors
from collections.abc import Callable
from typing import Final

DELIVERED_WITHIN_S: Final = 0.3  # loopback delivers at once, unless the machine is very busy
LOOK_EVERY_S: Final = 0.002


class Stuck(Exception):
    """The event loop waits for something that will never happen."""


class IdleSelector(selectors.DefaultSelector):
    """Before the event loop would wait, `on_idle` is called until something is ready. It says whether it did
    anything.

    Raises `Stuck`, out of the event loop, when nothing happens any more.
    """

    def __init__(self, on_idle: Callable[[], bool]) -> None:
        super().__init__()
        self._on_idle = on_idle

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        waited_s = 0.0
        while waited_s < DELIVERED_WITHIN_S:
            did_something = self._on_idle()
            ready = super().select(0 if did_something else LOOK_EVERY_S)
            waited_s = 0.0 if did_something else waited_s + LOOK_EVERY_S
            if ready or (timeout is not None and waited_s >= timeout):
                return ready
        raise Stuck
