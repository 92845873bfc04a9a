"""Eight experiments. Step N passes the first N of them, and fails the next one.

    python examples/steps/experiments.py       every step in every experiment

A step is a function `first(calls, timeout)`. It returns the payload of the first call that succeeds, raises
`TimeoutError` after `timeout` seconds, and `NoSuccess` when every call has failed. A call is a function,
too: `await call()` returns a payload or raises `ConnectionError`. Here a call follows a script instead of
using a network.

Time is virtual: the clock jumps to the next timer as soon as no task can run. So every number is exact, and
a minute of waiting takes no time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import trio
import trio.testing

HANGS_S, NEVER_S, WATCHED_S = 3600.0, 60.0, 1.0
MS_PER_SIGN, MAX_SIGNS = 10, 72

Call = Callable[[], Awaitable[str]]
First = Callable[[Sequence[Call], float], Awaitable[str]]


class NoSuccess(Exception):
    """Every call has failed."""


@dataclass(frozen=True)
class Script:
    """What one call does. after_ms: `None` hangs.

    swallows: it makes three attempts, in a loop with a bare `except`. clean_up_ms: its clean-up waits so
    long. has_bug: its clean-up raises.
    """

    after_ms: int | None = None
    fails: bool = False
    swallows: bool = False
    clean_up_ms: int = 0
    has_bug: bool = False


@dataclass(frozen=True)
class Experiment:
    """expected: the answer, and after how many milliseconds.

    counts_tasks: no task may be left then. leaves_after_ms: the client disconnects then.
    """

    title: str
    calls: tuple[Script, Script]
    timeout_ms: int
    expected: tuple[str, float]
    counts_tasks: bool = True
    leaves_after_ms: int | None = None

    @property
    def bugs(self) -> set[str]:
        """What must be raised or reported."""
        return {"ZeroDivisionError"} if any(script.has_bug for script in self.calls) else set()

    def is_passed(self, seen: Seen) -> bool:
        is_clean = not (self.counts_tasks and seen.left)
        return (seen.answer, seen.at_ms) == self.expected and is_clean and seen.bugs == self.bugs

    def __str__(self) -> str:
        return str(Seen(*self.expected, bugs=self.bugs)) + (", tasks left: 0" if self.counts_tasks else "")


EXPERIMENTS = (
    Experiment("a slow loser", (Script(50), Script(700)), 1000, ("50", 50), counts_tasks=False),
    Experiment(
        "a fast failure", (Script(20, fails=True), Script(150)), 1000, ("150", 150), counts_tasks=False
    ),
    Experiment("no call answers", (Script(), Script()), 300, ("deadline", 300), counts_tasks=False),
    Experiment("a slow loser; tasks are counted", (Script(50), Script(700)), 1000, ("50", 50)),
    Experiment("a loser swallows its cancellation", (Script(50), Script(swallows=True)), 300, ("50", 50)),
    Experiment("a clean-up crosses the deadline", (Script(100), Script(clean_up_ms=500)), 300, ("100", 600)),
    Experiment("a bug in a loser's clean-up", (Script(50), Script(has_bug=True)), 300, ("a bug", 50)),
    Experiment(
        "the same, as the client disconnects",
        (Script(has_bug=True), Script()),
        300,
        ("disconnected", 100),
        leaves_after_ms=100,
    ),
)


@dataclass(frozen=True)
class Stretch:
    """What a call did for a while: "works" or "cleans up".

    end: A it answered, F it failed, X it was cancelled, ~ its clean-up was done, > it has not ended.
    """

    what: str
    began_ms: float
    ended_ms: float
    end: str


@dataclass
class Seen:
    """The outcome of an experiment. bugs: those that were raised or reported. lanes: what each call did."""

    answer: str = ""
    at_ms: float = 0.0
    left: int = 0
    bugs: set[str] = field(default_factory=set)
    lanes: list[list[Stretch]] = field(default_factory=list)

    def __str__(self) -> str:
        text = "never an answer" if self.answer == "never" else f"{self.answer} at {self.at_ms:g} ms"
        text += f", tasks left: {self.left}" if self.left else ""
        return text + "".join(f", reported: {bug}" for bug in self.bugs)

    def timeline(self) -> str:
        """A row per call, a character per 10 ms: # works, ~ cleans up, > runs on after `first` has ended.

        At the end stands A for an answer, F for a failure, X for a cancellation.
        """
        rows = []
        for number, lane in enumerate(self.lanes):
            row = ""
            for stretch in lane:
                ends_ms = min(stretch.ended_ms, max(self.at_ms, stretch.began_ms))
                signs = ("#" if stretch.what == "works" else "~") * signs_in(ends_ms - stretch.began_ms)
                signs += ">" * signs_in(stretch.ended_ms - ends_ms)
                row += signs if stretch.end == "~" else signs[:-1] + stretch.end
            rows.append(f"call {number} |{row if len(row) <= MAX_SIGNS else row[:MAX_SIGNS] + '…'}")
        return "\n".join(rows)


def signs_in(ms: float) -> int:
    return round(ms / MS_PER_SIGN)


class Stage:
    """Makes the calls of one run, on asyncio or on Trio, and notes what they do."""

    def __init__(
        self,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        sleep_uncancelled: Callable[[float], Awaitable[None]],
    ) -> None:
        self._now, self._sleep, self._sleep_uncancelled = now, sleep, sleep_uncancelled
        self._began_s = now()
        self._lanes: list[list[Stretch]] = []

    def calls(self, experiment: Experiment) -> list[Call]:
        self._lanes = [[] for _ in experiment.calls]
        return [
            partial(self._attempts if script.swallows else self._attempt, script, lane)
            for script, lane in zip(experiment.calls, self._lanes, strict=True)
        ]

    def now_ms(self) -> float:
        return round((self._now() - self._began_s) * 1000, 3)

    def lanes(self) -> list[list[Stretch]]:
        """So far. What has not ended yet ends now."""
        now_ms = self.now_ms()
        return [
            [Stretch(each.what, each.began_ms, now_ms, ">") if each.end == ">" else each for each in lane]
            for lane in self._lanes
        ]

    async def _attempt(self, script: Script, lane: list[Stretch]) -> str:
        try:
            with self._noted("works", "F" if script.fails else "A", lane):
                await self._sleep(HANGS_S if script.after_ms is None else script.after_ms / 1000)
            if script.fails:
                raise ConnectionError("the upstream failed")
            return str(script.after_ms)
        finally:
            if script.clean_up_ms:
                with self._noted("cleans up", "~", lane):
                    await self._sleep_uncancelled(script.clean_up_ms / 1000)
            if script.has_bug:
                raise ZeroDivisionError("a bug in clean-up")

    async def _attempts(self, script: Script, lane: list[Stretch]) -> str:
        for _ in range(3):
            try:
                return await self._attempt(script, lane)
            except:  # noqa: E722, S110 - this is the mistake
                pass
        raise ConnectionError("the upstream failed")

    @contextmanager
    def _noted(self, what: str, end: str, lane: list[Stretch]) -> Iterator[None]:
        nth, began_ms = len(lane), self.now_ms()
        lane.append(Stretch(what, began_ms, began_ms, ">"))
        try:
            yield
        except (asyncio.CancelledError, trio.Cancelled):
            end = "X"
            raise
        finally:
            lane[nth] = Stretch(what, began_ms, self.now_ms(), end)


_bugs: set[str] = set()


def report(bug: BaseException) -> None:
    """Here a program would log a bug."""
    _bugs.add(type(bug).__name__)


def word(error: BaseException) -> str:
    """The outcome of `first` if it did not return a payload."""
    match error:
        case TimeoutError() | trio.TooSlowError():
            return "deadline"
        case NoSuccess():
            return "no success"
        case ConnectionError():
            return "a failure"
        case asyncio.CancelledError():
            return "disconnected"
    report(error)
    return "a bug"


class JumpingLoop(asyncio.SelectorEventLoop):
    """asyncio's event loop, with a clock that jumps to the next timer."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(JumpingSelector(self._jump))

    def time(self) -> float:
        return self._now

    def _jump(self, seconds: float) -> None:
        self._now += seconds


class JumpingSelector(selectors.DefaultSelector):
    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events and timeout:
            self._jump(timeout)
        return events


def on_asyncio(first: First, experiment: Experiment) -> Seen:
    """Run an experiment on asyncio."""
    seen = Seen()

    async def run() -> None:
        stage = Stage(loop.time, asyncio.sleep, asyncio.sleep)
        ours = asyncio.all_tasks()
        task = asyncio.ensure_future(first(stage.calls(experiment), experiment.timeout_ms / 1000))
        if experiment.leaves_after_ms is not None:
            loop.call_later(experiment.leaves_after_ms / 1000, task.cancel)
        await asyncio.wait([task], timeout=NEVER_S)
        seen.at_ms, seen.left = stage.now_ms(), len(asyncio.all_tasks() - ours - {task})
        if not task.done():
            seen.answer = "never"
        elif task.cancelled():
            seen.answer = "disconnected"
        else:
            error = task.exception()
            seen.answer = task.result() if error is None else word(error)
        seen.bugs = _bugs.copy()
        if seen.left:
            await asyncio.sleep(WATCHED_S)
        seen.lanes = stage.lanes()
        while left := asyncio.all_tasks() - ours:
            for each in left:
                each.cancel()
            await asyncio.wait(left, timeout=0)

    _bugs.clear()
    loop = JumpingLoop()
    loop.set_exception_handler(lambda _, about: report(about.get("exception", RuntimeError())))
    loop.run_until_complete(run())
    loop.close()
    loop.set_exception_handler(lambda *_: None)  # a task collected later is no bug of a later experiment
    return seen


def on_trio(first: First, experiment: Experiment) -> Seen:
    """Run an experiment on Trio."""
    seen = Seen(answer="never")

    async def run() -> None:
        stage = Stage(trio.current_time, trio.sleep, sleep_shielded)
        before = trio.lowlevel.current_statistics().tasks_living
        leaves_after_ms = experiment.leaves_after_ms
        with trio.move_on_after(NEVER_S):
            with trio.move_on_after(HANGS_S if leaves_after_ms is None else leaves_after_ms / 1000) as client:
                try:
                    seen.answer = await first(stage.calls(experiment), experiment.timeout_ms / 1000)
                except Exception as error:
                    seen.answer = word(error)
            if client.cancelled_caught:
                seen.answer = "disconnected"
        seen.at_ms, seen.lanes = stage.now_ms(), stage.lanes()  # nothing runs on: a nursery has ended
        seen.left = trio.lowlevel.current_statistics().tasks_living - before
        seen.bugs = _bugs.copy()

    _bugs.clear()
    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    return seen


async def sleep_shielded(seconds: float) -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(seconds)


def show(step: ModuleType) -> None:
    """Print what a step does: in the experiments that it passes, and in the next one."""
    title, _, about = (step.__doc__ or "").strip().partition("\n")
    number = int(title.partition(".")[0])
    print(title)
    for nth, experiment in enumerate(EXPERIMENTS[: number + 1], 1):
        seen = step.LOOP(step.first, experiment)
        print(f"  {nth}  {experiment.title:38}{seen}{'' if experiment.is_passed(seen) else '   WRONG'}")
        if nth > number:
            print(f"     {'it should be':38}{experiment}")
            print(*(f"       {row}" for row in seen.timeline().split("\n")), sep="\n")
    print(about.rstrip())


def steps() -> list[ModuleType]:
    """Every step, in order."""
    found = []
    for path in sorted(Path(__file__).parent.glob("[0-9]*.py")):
        spec = spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        found.append(module_from_spec(spec))
        spec.loader.exec_module(found[-1])
    return found


if __name__ == "__main__":
    print("experiment".ljust(24), *range(1, len(EXPERIMENTS) + 1), sep="  ")
    for each in steps():
        passed = [experiment.is_passed(each.LOOP(each.first, experiment)) for experiment in EXPERIMENTS]
        print(each.__name__.ljust(24), *("+" if is_passed else "-" for is_passed in passed), sep="  ")
