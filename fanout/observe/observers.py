"""Several observers as one. What one of them gets wrong costs the others, and the request, nothing."""

from __future__ import annotations

from collections.abc import Sequence

from loguru import logger

from fanout.race.events import Event, Observer


class Observers:
    """Tells each observer in turn. One that raises is a bug: it is logged, and the next one is told.

    An observer that has an attribute `told_of`, types of events, is told of these only.
    """

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)
        self._told_of: dict[type[Event], tuple[Observer, ...]] = {}

    def notify(self, event: Event) -> None:
        kind = type(event)
        observers = self._told_of.get(kind)
        if observers is None:
            observers = self._told_of[kind] = tuple(
                observer for observer in self._observers if kind in getattr(observer, "told_of", {kind})
            )
        for observer in observers:
            try:
                observer.notify(event)
            except Exception as error:  # noqa: BLE001 - a bug in a story must not change what happens
                logger.opt(exception=error).error(
                    "observer {} failed on {}", type(observer).__name__, type(event).__name__
                )
