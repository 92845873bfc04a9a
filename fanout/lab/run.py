"""Run experiments one after the other, and leave nothing behind, however that ends.

Rule 1: a signal cancels the running experiment, so that its `Setup` ends every process. A second signal does
        the same, as that takes no time.
Rule 2: with a breakage, each experiment has servers of its own, so none sees the damage of another one. If
        a server does not start, crashes or hangs, that is an observation, and never an error of the lab.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

import trio

from fanout.lab.experiment import Experiment
from fanout.lab.report import Report
from fanout.lab.setup import ServerFailed, Setup
from fanout.lab.virtual import VirtualPartCrashed

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
HANGS: Final = "the experiment does not end within"
BROKEN_WITHIN_S: Final = 60  # with a breakage, the start of its servers included: ten on a quiet machine


@dataclass(frozen=True, slots=True)
class Result:
    """An experiment that has run."""

    experiment: Experiment
    report: Report
    took_ms: float

    def to_json(self) -> dict[str, Any]:
        return self.experiment.to_json(self.report, self.took_ms)


class Interrupted(Exception):
    """A signal ended the run. number: of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def run_experiments(
    experiments: Sequence[Experiment],
    breakage: str | None = None,
    *,
    begun: Callable[[Experiment], None],
    ended: Callable[[Result], None],
) -> list[Result]:
    """Run them against servers with this breakage. Call it in the main thread.

    begun, ended: called as each begins and ends; what they raise ends the run.
    Raises `CannotRun` or `Interrupted` when every process has been ended.
    """
    return trio.run(_run, experiments, breakage, begun, ended)


async def _run(
    experiments: Sequence[Experiment],
    breakage: str | None,
    begun: Callable[[Experiment], None],
    ended: Callable[[Result], None],
) -> list[Result]:
    results: list[Result] = []

    with trio.CancelScope() as scope, _cancelled_by_signals(scope) as signals:
        async with Setup() as setup:
            for experiment in experiments:
                begun(experiment)
                report = Report()
                began_at = trio.current_time()
                if breakage is None:
                    await experiment.run(setup, report)
                else:
                    await _run_broken(experiment, report, breakage)
                results.append(Result(experiment, report, (trio.current_time() - began_at) * 1000))
                ended(results[-1])
    if signals:
        raise Interrupted(signals[0])
    return results


async def _run_broken(experiment: Experiment, report: Report, breakage: str) -> None:
    """Rule 2."""
    try:
        with trio.move_on_after(BROKEN_WITHIN_S):
            async with Setup(breakage) as setup:
                await experiment.run(setup, report)
            return
        report.see("server", f"{HANGS} {BROKEN_WITHIN_S} s", False)
    except ServerFailed as error:
        report.see("server", str(error), False)
    except VirtualPartCrashed as error:
        report.see("virtual time", f"it crashed: {str(error).strip().splitlines()[-1]}", False)
    await trio.lowlevel.checkpoint()


@contextmanager
def _cancelled_by_signals(scope: trio.CancelScope) -> Iterator[list[int]]:
    """The signals received so far. Not a task, whose nursery would put a group around errors."""
    came: list[int] = []
    token = trio.lowlevel.current_trio_token()

    def came_now(number: int, frame: FrameType | None) -> None:
        came.append(number)
        token.run_sync_soon(scope.cancel, idempotent=True)

    heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # `nohup`
    before = {number: signal.signal(number, came_now) for number in heeded}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
