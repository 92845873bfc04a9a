"""Records a race for the player: what each task did in each event-loop iteration, and how it ended.

A race runs in a simulation (`fanout.testing.world`): the real driver, app, race and pool, in virtual time and
in a repeatable order. It is recorded undisturbed, and then once per point, at which the client disconnects.

Rule 1: the simulation's judge checks each recorded run. `wrong` holds its violations.
Rule 2: a recording holds only JSON's own types, and is the same in every run of the same code.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Final

import trio
import trio.testing

import fanout
from fanout.lab.page.races import RecordedRace
from fanout.race.events import CallEnded, Event
from fanout.race.outcome import Cancelled, Crash, Failure
from fanout.testing.points import Point, Points
from fanout.testing.scopes import scopes_of
from fanout.testing.world.ended import Ended
from fanout.testing.world.facts import ConnectionFacts
from fanout.testing.world.judge import judge
from fanout.testing.world.network import End
from fanout.testing.world.plan import ClientScript
from fanout.testing.world.scheduler import run_seeded
from fanout.testing.world.trace import Trace
from fanout.testing.world.world import World

Task = trio.lowlevel.Task
Json = dict[str, Any]
SEED: Final = 0
REQUEST: Final = "request"  # the lane of the connection's task
_PACKAGE: Final = str(Path(fanout.__file__).parent)
_STAND_INS: Final = f"{_PACKAGE}/testing/"  # of the network and the clock: no code of the server


class Places:
    """Where tasks wait, each place once. `rows` are `[file:line, function, the line's code]`."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = []
        self._numbers: dict[tuple[str, int], int] = {}

    def number_of(self, task: Task) -> int | None:
        """The innermost line of the server's code that the task is in."""
        found = None
        for frame, line in task.iter_await_frames():
            file = frame.f_code.co_filename
            if file.startswith(_PACKAGE) and not file.startswith(_STAND_INS):
                found = file, line, frame.f_code.co_qualname
        if found is None:
            return None
        file, line, function = found
        if (file, line) not in self._numbers:
            self._numbers[file, line] = len(self.rows)
            code = linecache.getline(file, line).partition("  # ")[0].strip()
            self.rows.append([f"fanout{file.removeprefix(_PACKAGE)}:{line}", function, code])
        return self._numbers[file, line]


class Recording(World):
    """One run of a race, and its frames: one per event-loop iteration in which something of it changed.

    A frame: `t`, ms of virtual time; `lanes` and `scopes` as they are after the iteration; `said`, what the
    client, the upstream and the application saw in it; `points`, where a task of the race stopped or went on.
    """

    def __init__(self, race: RecordedRace, clock: trio.testing.MockClock, places: Places, at: int) -> None:
        """at: the number of the point at which the client disconnects; 0: it does not."""
        self.trace = Trace(kept=True)
        super().__init__(race.plan(), SEED, clock, self.trace)
        self.frames: list[Json] = []
        self.cut_frame: int | None = None
        self._places = places
        self._at = at
        self._client: End
        self._lanes: dict[str, Json] = {}
        self._tasks: dict[Task, str] = {}
        self._outer = 0  # scopes around the connection's, which are the simulation's
        self._scope_names: dict[trio.CancelScope, str] = {}
        self._happenings = 0
        self._points: list[list[Any]] = []  # of this iteration: `[number, lane, side]`
        self._before: Json = {}
        self._watched = Points(self._at_point)

    async def run(self) -> Ended:
        watch = _Iterations(self._iteration_ended)
        trio.lowlevel.add_instrument(watch)
        with self._watched:
            ended = await super().run()
        trio.lowlevel.remove_instrument(watch)
        return ended

    def connect(self, client: ClientScript) -> tuple[ConnectionFacts, End] | None:
        connected = super().connect(client)
        assert connected is not None
        self._client = connected[1]
        return connected

    async def _serve(self, facts: ConnectionFacts, end: End) -> None:
        task = trio.lowlevel.current_task()
        self._outer = len(scopes_of(task))
        self._tasks[task] = REQUEST
        self._watched.follow(task)
        await super()._serve(facts, end)

    def notify(self, event: Event) -> None:
        super().notify(event)
        if isinstance(event, CallEnded):
            outcome = event.record.outcome
            assert outcome is not None
            lane = self._lanes[f"call {event.record.call}"]
            lane["end"] = outcome.word
            match outcome:
                case Failure(error, status):
                    lane["why"] = error if status is None else f"{error} {status}"
                case Cancelled(source, reason):
                    lane["why"] = reason or source
                case Crash(exception):
                    lane["why"] = type(exception).__name__

    def _at_point(self, number: int, point: Point) -> None:
        self._points.append([number, self._lane_of(point.task), point.side])
        if number == self._at:
            self.cut_frame = len(self.frames)
            self._client.send_end()

    def _lane_of(self, task: Task) -> str:
        """A task below a call bears the names of both."""
        if task not in self._tasks:
            assert task.parent_nursery is not None
            above = self._lane_of(task.parent_nursery.parent_task)
            name = task.name if above == REQUEST else f"{above}: {task.name}"
            count = sum(other.startswith(name) for other in self._tasks.values())
            self._tasks[task] = f"{name} {count + 1}" if count else name
        return self._tasks[task]

    def _iteration_ended(self) -> None:
        living = {self._lane_of(task): task for task in self._watched.living}
        if not self._points and not living:
            return
        for name in living:
            self._lanes.setdefault(name, {"end": None, "why": None})
        state = {"lanes": self._state_of(living), "scopes": self._scopes(living), "said": self._said()}
        if self._points or state["said"] or state != self._before:
            self.frames.append({"t": _ms(trio.current_time()), **state, "points": self._points})
        self._before = {**state, "said": []}
        self._points = []

    def _state_of(self, living: dict[str, Task]) -> Json:
        """By lane: the number of its place while it is alive, and after that how and why it ended."""
        found: Json = {}
        for name, lane in self._lanes.items():
            if name in living:
                found[name] = self._places.number_of(living[name])
            else:
                found[name] = [lane["end"] or "ended", lane["why"]]
        return found

    def _scopes(self, living: dict[str, Task]) -> list[list[Any]]:
        """`[name, depth, deadline in ms or None, why it is cancelled or None]`, outer before inner."""
        nurseries = {
            nursery.cancel_scope: name for name, task in living.items() for nursery in task.child_nurseries
        }
        rows: dict[trio.CancelScope, list[Any]] = {}
        for lane, task in living.items():  # a task before those that it has started
            for depth, each in enumerate(scopes_of(task)[self._outer : -1 if _sleeps(task) else None]):
                if each.scope not in self._scope_names:
                    kind = "nursery" if each.scope in nurseries else "scope"
                    owner = nurseries.get(each.scope, lane)
                    if owner != REQUEST:
                        kind = f"{kind} of {owner}"
                    elif kind == "scope":
                        kind = "race" if rows else "connection"
                    self._scope_names[each.scope] = kind
                deadline = _ms(each.deadline) if isfinite(each.deadline) else None
                rows[each.scope] = [self._scope_names[each.scope], depth, deadline, each.why]
        return list(rows.values())

    def _said(self) -> list[str]:
        new = self.trace.happenings[self._happenings :]
        self._happenings += len(new)
        return [sentence for each in new if (sentence := _sentence(each.what, each.of, each.more))]


def _sleeps(task: Task) -> bool:
    """In `trio.sleep`, which is a scope of its own: here, of a simulated network."""
    return any(frame.f_code.co_name == "sleep_until" for frame, _ in task.iter_await_frames())


class _Iterations(trio.abc.Instrument):
    """Calls `ended` after the tasks of each event-loop iteration have run."""

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended

    def before_io_wait(self, timeout: float) -> None:
        self._ended()


def _sentence(what: str, of: str, more: str) -> str | None:
    call = f"call {of.rpartition('.')[2]}"
    return {
        "connect": "the client connects",
        "ask": "the client sends its request",
        "enter": "the application gets the request",
        "call": f"{call} starts",
        "dial": f"{call} dials an address",
        "send": f"{call} sends its request to the upstream",
        "ended": f"{call} ends: {more}",
        "left": "the client's FIN arrives",
        "answer": f"the answer is written: {more.rpartition(' ')[2]}",
        "closed": "the connection is closed",
    }.get(what)


def record(race: RecordedRace) -> Json:
    """The undisturbed run, and for each of its points the run in which the client disconnects there."""
    places = Places()
    undisturbed = _run(race, places, 0)
    points = [point for frame in undisturbed["frames"] for point in frame["points"]]
    cuts = []
    for number, _, _ in points:
        cut = _run(race, places, number)
        at = cut["at"]
        assert cut["frames"][:at] == undisturbed["frames"][:at], "the run did not repeat"
        cuts.append({**cut, "point": number, "frames": cut["frames"][at:]})
    return {
        "name": race.name,
        "target": race.target,
        "look_at": race.look_at,
        **undisturbed,
        "cuts": cuts,
        "places": places.rows,
    }


def _run(race: RecordedRace, places: Places, at: int) -> Json:
    recordings: list[Recording] = []

    async def main(clock: trio.testing.MockClock) -> Ended:
        recordings.append(Recording(race, clock, places, at))
        return await recordings[0].run()

    ended = run_seeded(main, SEED)
    (recording,) = recordings
    (request,) = ended.requests
    answer = request.connection.answer_to(request)
    return {
        "at": recording.cut_frame,
        "frames": recording.frames,
        "status": None if answer is None else answer.status,
        "answered_ms": None if answer is None or answer.last_at is None else _ms(answer.last_at),
        "calls": [call.outcome for _, call in sorted(request.calls.items())],
        "wrong": [str(violation) for violation in judge(ended)],
    }


def record_all(races: Sequence[RecordedRace]) -> list[Json]:
    return [record(race) for race in races]


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
