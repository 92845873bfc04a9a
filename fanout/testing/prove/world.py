"""One simulation run whose every choice is made by a schedule, and not by chance.

The choices, from when the first client connects until the last connection is closed:

- order: which of the tasks of an event-loop iteration runs next.
- `fin`, `rst`: a client disconnects. At the beginning of each iteration, where epoll reports it, and just
  before each system call of the server on that connection, which would notice it.
- `deadline` of a race, and `sigterm`: at the beginning of each iteration. Only there does Trio look at
  deadlines, and start the task that handles a signal.
- `cancel` of a connection's task: at the beginning of each iteration, and between two of its tasks.
- late arrival, if the plan has `late_iterations`: data comes over the network so many iterations later.

Rule: an interruption is offered again only when something has changed for the server: one of its tasks has
      run or was woken, or time has passed. In between, the run would be the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio
import trio.testing

from fanout.testing.prove.choices import Choices, Schedule
from fanout.testing.prove.moments import Interruptions, Moments
from fanout.testing.world.counted import ThreadStarts
from fanout.testing.world.ended import Ended
from fanout.testing.world.facts import ConnectionFacts, RequestFacts
from fanout.testing.world.judge import Violation, judge
from fanout.testing.world.network import End, Network
from fanout.testing.world.plan import ClientScript, Plan
from fanout.testing.world.scheduler import run_ordered
from fanout.testing.world.trace import Trace
from fanout.testing.world.upstreams import CURRENT_REQUEST
from fanout.testing.world.world import World

_LATE: Final = ("late1", "late2", "late3")


@dataclass(frozen=True, slots=True)
class Proved:
    """One run and its judgement. ended: `None` if it did not come to its end; `violations` say why.

    after: the choices behind the last deviation, each with its alternatives. choices: how many there were.
    states: see `Moments`.
    """

    ended: Ended | None
    violations: tuple[Violation, ...]
    trace: Trace
    after: list[tuple[int, Sequence[str]]]
    choices: int
    states: set[int]


def prove(plan: Plan, schedule: Schedule) -> Proved:
    """Run the plan by this schedule, and judge it. Raises `NoSuchChoice` if the schedule does not fit."""
    choices, trace = Choices(schedule), Trace(kept=True)
    moments = Moments(choices, trace)

    async def main(clock: trio.testing.MockClock) -> Ended:
        return await ProvedWorld(plan, moments, clock, trace).run()

    ended = None
    try:
        with ThreadStarts() as threads:
            ended = run_ordered(main, moments.order)
        ended.threads_started = threads.started
        violations = judge(ended)
    except Exception as error:  # noqa: BLE001 - whatever ends a run is a finding
        violations = [Violation("server", f"the run ended with {_leaf(error)!r}")]
    if moments.error is not None:
        raise moments.error
    if moments.misfit is not None:
        raise moments.misfit
    choices.check()
    return Proved(ended, tuple(violations), trace, choices.after, choices.made, moments.states)


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if error.__cause__ is None else error.__cause__


class ProvedWorld(World):
    """A world whose interruptions are chosen."""

    def __init__(self, plan: Plan, moments: Moments, clock: trio.testing.MockClock, trace: Trace) -> None:
        super().__init__(plan, 0, clock, trace, ChosenNetwork(plan.late_iterations, moments))
        self._moments = moments
        self._open: dict[int, _Open] = {}
        self._races: dict[RequestFacts, trio.CancelScope] = {}
        self._is_told = False  # to shut down
        moments.at_iterations = self._at_iterations
        moments.between_tasks = self._cancellations
        moments.spawned = self._spawned
        moments.look = self._look
        self._server.instruments.append(moments)

    async def _play(self) -> None:
        self._moments.follow(self._connections)
        self._moments.is_on = True
        await super()._play()

    async def _drain(self, at: float) -> None:  # noqa: ASYNC910 - nothing to do the second time
        if not self._is_told:
            self._is_told = True
            await super()._drain(at)

    def _drain_begins(self) -> None:
        super()._drain_begins()
        self._moments.is_on = bool(self._open)

    def connect(self, client: ClientScript) -> tuple[ConnectionFacts, End] | None:
        connected = super().connect(client)
        if connected is not None:
            facts, end = connected
            number = facts.number
            self._open[number] = _Open(facts, end, trio.CancelScope())
            assert isinstance(end.peer, WatchedEnd)
            end.peer.before_call = lambda: self._moments.interrupt(lambda: self._departures(number))
        return connected

    async def _serve(self, facts: ConnectionFacts, end: End) -> None:
        with self._open[facts.number].scope:
            await super()._serve(facts, end)
        if facts.closed_at is None:
            facts.closed_at = trio.current_time()
        del self._open[facts.number]
        if not self._open and not self._listening:
            self._moments.is_on = False

    def _spawned(self, task: trio.lowlevel.Task) -> None:
        """The first call of a race tells where the scope of its deadline is: around the calls' nursery."""
        if task.name == "call 0":
            assert task.parent_nursery is not None
            outside = task.parent_nursery._cancel_status.parent
            assert outside is not None
            self._races[task.context[CURRENT_REQUEST]] = outside._scope

    def _look(self) -> tuple[int, ...]:
        seen = [self._server.admission.in_flight, self._server.driver.draining]
        for pool in self._server.transport.statistics().origins:
            seen += pool.in_use, pool.idle, pool.connecting
        for one in self._open.values():
            seen += one.end.received, one.end.peer.received, one.end.has_ended, one.end.peer.has_ended
        return tuple(seen)

    # What can happen now, by name.

    def _at_iterations(self) -> Interruptions:
        found: Interruptions = {}
        now = trio.current_time()
        for number in self._open:
            found |= self._departures(number)
        found |= self._cancellations()
        for request, scope in self._races.items():
            if scope._cancel_status is not None and not scope.cancel_called and scope.deadline > now:
                found[f"w{request.script.id}.deadline"] = partial(_end_race, request, scope)
        if self._listening and not self._is_told:
            found["sigterm"] = partial(self._connections.start_soon, self._drain, now)
        return found

    def _departures(self, number: int) -> Interruptions:
        if number not in self._open:
            return {}
        facts, end = self._open[number].facts, self._open[number].end
        if end.closed_at is not None or end.peer.closed_at is not None or end.peer.has_ended:
            return {}
        return {
            f"c{number}.fin": partial(_leave, facts, end, end.close),
            f"c{number}.rst": partial(_leave, facts, end, end.reset),
        }

    def _cancellations(self) -> Interruptions:
        return {
            f"c{number}.cancel": partial(_cancel, one.facts, one.scope)
            for number, one in self._open.items()
            if not one.scope.cancel_called
        }


@dataclass(frozen=True, slots=True)
class _Open:
    """A connection that the server has not closed. end: the client's. scope: around its task."""

    facts: ConnectionFacts
    end: End
    scope: trio.CancelScope


def _leave(facts: ConnectionFacts, end: End, close: Callable[[], None]) -> None:
    close()
    end.wake()
    if facts.left_at is None and end.peer.has_ended:  # before the server has begun to watch
        facts.left_at = trio.current_time()


def _cancel(facts: ConnectionFacts, scope: trio.CancelScope) -> None:
    """From then on nobody is there to be answered: the judge asks for the same as when the client leaves."""
    if facts.left_at is None:
        facts.left_at = trio.current_time()
    scope.cancel(reason="fanout prove")


def _end_race(request: RequestFacts, scope: trio.CancelScope) -> None:
    """Its deadline comes. If its calls have decided it by now, the answer is still theirs (G4)."""
    scope.deadline = trio.current_time()
    ended = [call.outcome for call in request.calls.values() if call.ended_at is not None]
    if len(ended) < len(request.script.calls) and not (request.script.ask == "first" and "success" in ended):
        request.deadline_at = scope.deadline


class ChosenNetwork(Network):
    """Its connections tell of each system call. How late something arrives is chosen."""

    def __init__(self, late_iterations: int, moments: Moments) -> None:
        super().__init__(late_iterations)
        self._late = _LATE[:late_iterations]
        self._moments = moments

    async def late(self) -> None:  # noqa: ASYNC910 - as the base class
        take = self._moments.choose(self._late)
        for _ in range(0 if take is None else 1 + self._late.index(take)):
            await trio.lowlevel.checkpoint()

    def pair(self, *, latency_s: float, window_bytes: tuple[int, int], segment_bytes: int) -> tuple[End, End]:
        client = WatchedEnd(self, latency_s, window_bytes[0], segment_bytes)
        server = WatchedEnd(self, latency_s, window_bytes[1], segment_bytes)
        client.peer, server.peer = server, client
        return client, server


class WatchedEnd(End):
    """before_call: called before each system call on it that would notice what the other side did."""

    __slots__ = ("before_call",)

    def __init__(self, network: Network, latency_s: float, window_bytes: int, segment_bytes: int) -> None:
        super().__init__(network, latency_s, window_bytes, segment_bytes)
        self.before_call: Callable[[], None] = _nothing

    def write(self, data: bytes | memoryview) -> int:
        self.before_call()
        return super().write(data)

    def read(self, max_bytes: int) -> bytes | None:
        self.before_call()
        return super().read(max_bytes)

    async def readable(self) -> None:
        if self.closed_at is None:
            await super().readable()
        else:  # under the task that is to read, which learns it from `read`
            await trio.lowlevel.checkpoint()

    @property
    def has_something(self) -> bool:
        self.before_call()
        return super().has_something


def _nothing() -> None:
    pass
