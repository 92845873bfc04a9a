"""From the core's events to everything that makes something of them.

Work for a single request must first fetch its code and data from memory, and takes three to four times as
long as for the tenth request in a row. So a request that ends only appends to a list; `BatchedObserver` does
the rest, for all requests that have ended.

Rule 1: an observer or a consumer that raises is a bug. It is logged, and costs neither the request nor the
        other observers anything.
Rule 2: nothing waits longer than `BATCH_EVERY_S`, or than the event loop takes to get here.
Rule 3: one event-loop iteration handles at most `BATCH_PER_TURN` requests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from typing import Final

import trio
from loguru import logger

from fanout.observe.receipt import Receipt, make_receipt
from fanout.race.events import EVENTS, Event, Observer, RequestEnded

BATCH_EVERY_S: Final = 0.25  # rarer is cheaper: each batch first fetches its code and data from memory
BATCH_PER_TURN: Final = 16  # half a millisecond; 1.3 more if all of them are traced
KEPT_RECEIPTS: Final = 4000  # about 2.5 KB each with two calls: 10 MB


class Observers:
    """Notifies each observer in turn (Rule 1).

    interests: every kind of event that any of them wants now. It changes when an observer joins or leaves.
    """

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = list(observers)
        self._sort()

    @property
    def interests(self) -> Mapping[type[Event], tuple[Observer, ...]]:
        return self._told

    def join(self, observer: Observer) -> None:
        """Notify this one as well, of what happens from now on."""
        self._observers.append(observer)
        self._sort()

    def leave(self, observer: Observer) -> None:
        self._observers.remove(observer)
        self._sort()

    def notify(self, event: Event) -> None:
        for observer in self._told.get(type(event), ()):
            try:
                observer.notify(event)
            except Exception as error:  # noqa: BLE001 - Rule 1
                logger.opt(exception=error).error(
                    "observer {} failed on {}", type(observer).__name__, type(event).__name__
                )

    def _sort(self) -> None:
        by_kind = {kind: tuple([o for o in self._observers if kind in o.interests]) for kind in EVENTS}
        self._told = {kind: observers for kind, observers in by_kind.items() if observers}


class BatchedObserver:
    """Notifies observers of ended requests in batches, while `run` runs, and of all other events at once."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = Observers(observers)
        self._waiting: deque[RequestEnded] = deque()
        self._first_came = trio.Event()

    @property
    def interests(self) -> Container[type[Event]]:
        return self._observers.interests

    def notify(self, event: Event) -> None:
        if not isinstance(event, RequestEnded):
            self._observers.notify(event)
            return
        if not self._waiting:
            self._first_came.set()
        self._waiting.append(event)

    async def run(self) -> None:
        """Notify, until cancelled. Sleeps while no request has ended."""
        while True:
            await self._first_came.wait()
            await trio.sleep(BATCH_EVERY_S)
            self._first_came = trio.Event()
            while self._waiting:
                await self.caught_up()

    async def caught_up(self, turn: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint) -> None:
        """Notify the observers of all requests that had ended at the call, `BATCH_PER_TURN` per `turn`."""
        left = len(self._waiting)
        while left > 0 and self._waiting:
            await turn()
            self.catch_up(BATCH_PER_TURN)
            left -= BATCH_PER_TURN
        await turn()

    def catch_up(self, at_most: int | None = None) -> None:
        """Notify the observers of all requests that have ended, or of so many, now. Never waits."""
        waiting = self._waiting
        for _ in range(len(waiting) if at_most is None else min(at_most, len(waiting))):
            self._observers.notify(waiting.popleft())


class Receipts:
    """An observer that makes one receipt per request, keeps the latest, and hands each to the consumers.

    Consumers are called in turn and synchronously, after the answer was handed to the connection. They
    must not block. Rule 1 holds for them too.
    """

    interests: Final = frozenset({RequestEnded})

    def __init__(
        self, consumers: Sequence[Callable[[Receipt], object]] = (), *, kept: int = KEPT_RECEIPTS
    ) -> None:
        self._consumers = tuple(consumers)
        self._latest: deque[Receipt] = deque(maxlen=kept)

    def notify(self, event: Event) -> None:
        if isinstance(event, RequestEnded):
            receipt = make_receipt(event)
            self._latest.append(receipt)
            for consume in self._consumers:
                try:
                    consume(receipt)
                except Exception as error:  # noqa: BLE001 - Rule 1
                    logger.opt(exception=error).error("a receipt could not be used by {!r}", consume)

    @property
    def latest(self) -> Sequence[Receipt]:
        """The latest receipts, the newest last. It changes while requests end: copy it to keep it."""
        return self._latest
