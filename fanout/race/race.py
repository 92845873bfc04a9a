"""One race: its calls, its budget, its ledger. The deadline scope and the nursery are the handler's.

Rule 1: between an outcome and its record there is no checkpoint, and none between the record and
        the cancel. What happened is known before anybody else runs.
Rule 2: a bug in a call is reported here, where it happened, and becomes an outcome. It never
        travels in an exception group, where a sibling or a hang-up could hide it (G11).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import trio

from fanout.race.budget import Budget
from fanout.race.events import (
    BugFound,
    CallEnded,
    CallStarted,
    Observer,
    RaceEnded,
    RaceRecord,
    RaceStarted,
)
from fanout.race.ledger import Ledger
from fanout.race.outcome import TOO_LATE, Cancelled, Crash, Failure, NotStarted, Outcome, Success
from fanout.race.timings import NO_HEADER, CallTimings, Deadlines, Trace
from fanout.race.verdict import DeadlineReached, Strategy, Verdict


class Call(Protocol):
    """One upstream call. It takes no timeout: the handler owns time.

    It returns its outcome and raises nothing but `trio.Cancelled`; anything else is a bug.
    When it has ended, however it ended, nothing it took is left. `timings` is its to write in until then.
    What it returns is a `Success`, a `Failure`, or `TOO_LATE`: its request was not sent, or not again.
    """

    async def __call__(self, timings: CallTimings) -> Success | Failure | Cancelled: ...


class Race:
    """The state of one request's race, and the only way to run a call in it."""

    def __init__(
        self,
        request_id: str,
        strategy: Strategy,
        calls: Sequence[Call],
        budget: Budget,
        observer: Observer,
        trace: Trace | None = None,
        deadlines: Deadlines = NO_HEADER,
    ) -> None:
        self.request_id = request_id
        self.budget = budget
        self.ledger = Ledger(len(calls))
        self._calls = calls
        self._strategy = strategy
        self._observer = observer
        # What `trio.current_time` asks, and two calls less each of the twenty times that a race looks.
        self._now = trio.lowlevel.current_clock().current_time
        ends_at = budget.race_ends_at
        self._marks = [
            CallTimings(
                request_id,
                call,
                () if trace is None else trace.headers(call),
                self._now,
                ends_at,
                deadlines,
            )
            for call in range(len(calls))
        ]
        self._settled_at: float | None = None
        self._verdict: Verdict | None = None
        if RaceStarted in observer.interests:
            name = strategy.__name__
            observer.notify(RaceStarted(request_id, name, len(calls), budget, self._now()))

    @property
    def calls(self) -> range:
        return range(len(self._calls))

    async def run(self, call: int, scope: trio.CancelScope) -> None:  # noqa: ASYNC910 - the call is the checkpoint
        """Run one call, record how it ended, and cancel `scope` as soon as the strategy is settled.

        Raises only `trio.Cancelled` (and `KeyboardInterrupt` and its like). A call that has less time left
        than it needs is not started.
        """
        timings = self._marks[call]
        if timings.is_too_late():
            self._end(call, TOO_LATE)
            return  # noqa: ASYNC910 - Rule 1
        try:
            await trio.lowlevel.checkpoint_if_cancelled()  # too late to start, and it says who and why
            self._start(call)
            self._end(call, await self._calls[call](timings))
        except trio.Cancelled as cancelled:
            self._end(call, Cancelled(cancelled.source, cancelled.reason))
            raise
        except BaseExceptionGroup as group:  # from a nursery inside the call
            self._end_with_group(call, group)
        except Exception as bug:  # noqa: BLE001 - told here, and outranks every answer (Rule 2)
            self._crash(call, bug)
        finally:
            if self._settled_at is None and self.ledger.pending and self._strategy(self.ledger) is not None:
                self._settled_at = self._now()
                scope.cancel(reason=f"call {call} settled the race")

    def leave_out(self, call: int, reason: str) -> None:
        """Record that the strategy does not want this call, which has not been run. reason: a sentence."""
        self._end(call, NotStarted(reason))

    def verdict(self) -> Verdict:
        """What the ledger means, once the nursery is closed. Synchronous, and said to observers."""
        self._verdict = verdict = self._strategy(self.ledger) or DeadlineReached()
        if RaceEnded in self._observer.interests:
            self._observer.notify(RaceEnded(self.request_id, self.record(), self._now()))
        return verdict

    def record(self) -> RaceRecord:
        """All of the race, as a value. To be asked for once its nursery is closed."""
        name = self._strategy.__name__
        return RaceRecord(name, self.budget, self._verdict, self.ledger.records, self._settled_at)

    def _start(self, call: int) -> None:
        now = self._now()
        self.ledger.start(call, now)
        if CallStarted in self._observer.interests:
            self._observer.notify(CallStarted(self.request_id, call, now))

    def _end(self, call: int, outcome: Outcome) -> None:
        now, timings = self._now(), self._marks[call]
        record = self.ledger.end(call, outcome, now, timings.seen, timings.left, timings.time_left_ms)
        if CallEnded in self._observer.interests:
            self._observer.notify(CallEnded(self.request_id, record, now, self.budget.arrived_at))

    def _crash(self, call: int, bug: BaseException) -> None:
        self._observer.notify(BugFound(self.request_id, f"call {call}", bug, self._now()))
        self._end(call, Crash(bug))

    def _end_with_group(self, call: int, group: BaseExceptionGroup[BaseException]) -> None:
        """A group is a bug, a cancellation, or both at once: keep both."""
        cancelled, bug = group.split(trio.Cancelled)
        if bug is not None:
            self._crash(call, bug)
            if not isinstance(bug, Exception):  # KeyboardInterrupt and its like end the program
                raise group
        if cancelled is not None:
            if bug is None:
                leaf = _first_leaf(cancelled)
                self._end(call, Cancelled(leaf.source, leaf.reason))
            raise cancelled


def _first_leaf(group: BaseExceptionGroup[trio.Cancelled]) -> trio.Cancelled:
    exception: BaseException = group
    while isinstance(exception, BaseExceptionGroup):
        exception = exception.exceptions[0]
    assert isinstance(exception, trio.Cancelled)
    return exception
