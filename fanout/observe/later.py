"""Notifies observers of ended requests in batches.

Work for a single request must first fetch its code and data from memory, and takes three to four times as
long as for the tenth request in a row. So a request only appends to a list, and this module does the rest for
all requests that have ended.

Rule 1: nothing waits longer than `EVERY_S`, or than the event loop takes to get here. `catch_up` never waits.
Rule 2: an event-loop iteration handles at most `AT_ONCE` requests more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Container, Sequence
from typing import Final

import trio

from fanout.observe.observers import Observers
from fanout.race.events import Event, Observer, RequestEnded

EVERY_S: Final = 0.25  # rarer is cheaper: each batch first fetches its code and data from memory
AT_ONCE: Final = 16  # half a millisecond


class Later:
    """An observer that tells others: of requests that have ended while `run` runs, of all else at once."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = Observers(observers)
        self._waiting: deque[RequestEnded] = deque()
        self._first_came = trio.Event()

    @property
    def told_of(self) -> Container[type[Event]]:
        return self._observers.told_of

    def notify(self, event: Event) -> None:
        if not isinstance(event, RequestEnded):
            self._observers.notify(event)
            return
        if not self._waiting:
            self._first_came.set()
        self._waiting.append(event)

    async def run(self) -> None:
        """Tell, until cancelled. Sleeps while there is nothing to tell."""
        while True:
            await self._first_came.wait()
            await trio.sleep(EVERY_S)
            self._first_came = trio.Event()
            while self._waiting:
                await self.caught_up()

    async def caught_up(self, turn: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint) -> None:
        """Notify the observers of all requests that had ended at the call, `AT_ONCE` per `turn`."""
        left = len(self._waiting)
        while left > 0 and self._waiting:
            await turn()
            self.catch_up(AT_ONCE)
            left -= AT_ONCE
        await turn()

    def catch_up(self, at_most: int | None = None) -> None:
        """Tell of all that has ended, or of so many, now."""
        waiting = self._waiting
        for _ in range(len(waiting) if at_most is None else min(at_most, len(waiting))):
            self._observers.notify(waiting.popleft())
