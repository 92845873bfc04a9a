"""An observer that keeps what it receives."""

from __future__ import annotations

from fanout.race.events import EVENTS, BugFound, Event, LeftTaskEnded, TaskLeft


class Reports:
    """interests: all. left, ended: the tasks that calls left, and those of them that have ended."""

    interests = EVENTS

    def __init__(self) -> None:
        self.events: list[Event] = []

    def notify(self, event: Event) -> None:
        self.events.append(event)

    @property
    def left(self) -> list[TaskLeft]:
        return [event for event in self.events if isinstance(event, TaskLeft)]

    @property
    def ended(self) -> list[LeftTaskEnded]:
        return [event for event in self.events if isinstance(event, LeftTaskEnded)]

    @property
    def bugs(self) -> list[BaseException]:
        return [event.exception for event in self.events if isinstance(event, BugFound)]
