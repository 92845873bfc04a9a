"""What is done at a point: whom it strikes, and what the client may get then."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import trio

from fanout.testing.points import Point, Points, can_throw, throw
from tests.sweep.situations import Endpoint, Situation
from tests.sweep.stack import Client, Stack

Task = trio.lowlevel.Task


class Injected(RuntimeError):
    """A bug that nobody expects."""


@dataclass(frozen=True, slots=True)
class Blow:
    """`strike` does it. doomed: the tasks that must end then, before any time goes by."""

    strike: Callable[[], object]
    doomed: frozenset[Task]


@dataclass(frozen=True, slots=True)
class Moment:
    """races: how many of the client's requests had begun theirs. settled: the last of these was decided."""

    races: int = 0
    settled: bool = False


@dataclass(slots=True)
class Sight:
    """What an action can see and reach."""

    stack: Stack
    client: Client
    points: Points


class Action(ABC):
    name: str
    is_bug: bool = False  # exactly one report, of `Injected`
    is_fault: bool = False  # there may be a report
    is_the_end: bool = False  # the server takes no requests afterwards

    @abstractmethod
    def aim(self, sight: Sight, point: Point) -> Blow | None:
        """What to do at this point; `None` where there is nothing to strike."""

    @abstractmethod
    def allows(self, got: list[int], situation: Situation, endpoint: Endpoint, moment: Moment) -> bool:
        """Whether the client may get these answers and then, if some are missing, the end.

        moment: when it was struck.
        """


def is_prefix(got: list[int], usual: list[int]) -> bool:
    return usual[: len(got)] == got


def each(got: list[int], *allowed: list[int]) -> bool:
    """Every answer is there, and is what one of the lists says."""
    return len(got) == len(allowed[0]) and all(
        status in choice for status, *choice in zip(got, *allowed, strict=True)
    )


def below(tasks: Iterable[Task]) -> Iterator[Task]:
    for task in tasks:
        yield task
        for nursery in task.child_nurseries:
            yield from below(nursery.child_tasks)


def living(sight: Sight, name: str) -> list[Task]:
    return [task for task in sight.points.living if name in task.name]


class CancelCall(Action):
    """One call alone. The race goes on with the other."""

    def __init__(self, call: int) -> None:
        self.name = f"cancel call {call}"
        self._call = call

    def aim(self, sight: Sight, point: Point) -> Blow | None:
        for task in living(sight, f"call {self._call}"):
            scope = sight.stack.calls[self._call].scopes.get(task)
            if scope is not None:
                return Blow(scope.cancel, frozenset(below([task])))
        return None

    def allows(self, got: list[int], situation: Situation, endpoint: Endpoint, moment: Moment) -> bool:
        return each(got, situation.statuses(endpoint), situation.statuses(endpoint, self._call))


class Deadline(Action):
    """The handler's deadline comes now: what has been recorded counts (G4)."""

    name = "the deadline comes"

    def aim(self, sight: Sight, point: Point) -> Blow | None:
        for task in living(sight, "call "):
            assert task.parent_nursery is not None
            nursery = task.parent_nursery
            outside = nursery._cancel_status.parent
            assert outside is not None  # of the nursery's own scope: `trio.move_on_at` of `run_race`
            return Blow(outside._scope.cancel, frozenset(below(nursery.child_tasks)))
        return None

    def allows(self, got: list[int], situation: Situation, endpoint: Endpoint, moment: Moment) -> bool:
        usual = situation.statuses(endpoint)
        struck = [*usual[: moment.races - 1], 500, *usual[moment.races :]]
        return got == usual or (got == struck and not moment.settled)


class CancelHandler(Action):
    """The framework's nursery, for no reason. That is a bug of somebody's, so a missing answer is a 500."""

    name = "cancel the handler"
    is_fault = True

    def aim(self, sight: Sight, point: Point) -> Blow | None:
        for task in living(sight, "connection"):
            for nursery in task.child_nurseries[:1]:  # the outermost
                return Blow(nursery.cancel_scope.cancel, frozenset(below(nursery.child_tasks)))
        return None

    def allows(self, got: list[int], situation: Situation, endpoint: Endpoint, moment: Moment) -> bool:
        usual = situation.statuses(endpoint)
        return each(got, usual[: len(got)], [500] * len(got))


class CancelConnection(Action):
    name = "cancel the connection"

    def aim(self, sight: Sight, point: Point) -> Blow | None:
        for task in living(sight, "connection"):
            scope = sight.stack.scopes.get(task)
            if scope is not None:
                return Blow(scope.cancel, frozenset(below([task])))
        return None

    def allows(self, got: list[int], situation: Situation, endpoint: Endpoint, moment: Moment) -> bool:
        return is_prefix(got, situation.statuses(endpoint))


class CancelServer(CancelConnection):
    name = "cancel the server"
    is_the_end = True

    def aim(self, sight: Sight, point: Point) -> Blow | None:
        nursery = sight.stack.nursery
        return Blow(nursery.cancel_scope.cancel, frozenset(below(nursery.child_tasks)))


class HangUp(CancelConnection):
    def __init__(self, how: str) -> None:
        self.name = f"the client sends {how.upper()}"
        self._how = how

    def aim(self, sight: Sight, point: Point) -> Blow | None:
        if sight.client.to_server.end is not None:
            return None
        return Blow(lambda: sight.client.close(self._how), frozenset(sight.points.living))


class Drain(Action):
    name = "drain"
    is_the_end = True

    def aim(self, sight: Sight, point: Point) -> Blow | None:
        return Blow(sight.stack.drain, frozenset())

    def allows(self, got: list[int], situation: Situation, endpoint: Endpoint, moment: Moment) -> bool:
        """Whose race had started is answered; what came behind may get a refusal or the end."""
        usual = situation.statuses(endpoint)
        answered = len(got) - (got[-1:] == [503] != usual[-1:])
        return got[:answered] == usual[:answered] and answered >= min(moment.races, len(usual))


class Raise(Action):
    """An exception in whichever task has come to the point."""

    name = "raise"
    is_bug = True

    def aim(self, sight: Sight, point: Point) -> Blow | None:
        if not can_throw(point):
            return None
        return Blow(lambda: throw(point, Injected("a bug")), frozenset())

    def allows(self, got: list[int], situation: Situation, endpoint: Endpoint, moment: Moment) -> bool:
        usual = situation.statuses(endpoint)
        return each(got, usual[: len(got)], [500] * len(got))


ACTIONS: Final = (
    CancelCall(0),
    CancelCall(1),
    Deadline(),
    CancelHandler(),
    CancelConnection(),
    CancelServer(),
    HangUp("fin"),
    HangUp("rst"),
    Drain(),
    Raise(),
)
