"""Several observers as one. What one of them gets wrong costs the others, and the request, nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from loguru import logger

from fanout.race.events import EVENTS, Event, Observer


class Observers:
    """Tells each observer in turn. One that raises is a bug: it is logged, and the next one is told.

    told_of: every kind of event that any of them wants now. Who joins or leaves changes it.
    """

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = list(observers)
        self._sort()

    @property
    def told_of(self) -> Mapping[type[Event], tuple[Observer, ...]]:
        return self._told

    def join(self, observer: Observer) -> None:
        """Tell this one as well, of what happens from now on."""
        self._observers.append(observer)
        self._sort()

    def leave(self, observer: Observer) -> None:
        self._observers.remove(observer)
        self._sort()

    def notify(self, event: Event) -> None:
        for observer in self._told.get(type(event), ()):
            try:
                observer.notify(event)
            except Exception as error:  # noqa: BLE001 - a bug in a story must not change what happens
                logger.opt(exception=error).error(
                    "observer {} failed on {}", type(observer).__name__, type(event).__name__
                )

    def _sort(self) -> None:
        by_kind = {kind: tuple([o for o in self._observers if kind in o.told_of]) for kind in EVENTS}
        self._told = {kind: observers for kind, observers in by_kind.items() if observers}
