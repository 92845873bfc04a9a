"""8. fanout's own

`Race.run` (fanout/race/race.py) records how each call ended. It reports a bug where it happens, before a
disconnect or another exception can hide it. The verdict (fanout/race/verdict.py) is a plain function over
the record. It has no `await`, so nothing can interrupt it. The block in `first` is that of `run_race`
(fanout/api/handlers.py).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import trio
from experiments import Call, NoSuccess, on_trio, report, show

from fanout.race.budget import Budget
from fanout.race.events import BugFound, Event
from fanout.race.outcome import Failure, Success
from fanout.race.race import Race
from fanout.race.timings import CallTimings
from fanout.race.verdict import Crashed, One, Verdict, first_success
from fanout.race.verdict import NoSuccess as AllFailed

LOOP = on_trio


async def first(calls: Sequence[Call], timeout: float) -> str:
    budget = Budget(trio.current_time(), timeout_ms=round(timeout * 1000), reserve_ms=0)
    race = Race("step 8", first_success, [Outcomes(call) for call in calls], budget, Reporter())
    with trio.move_on_at(race.budget.race_ends_at):  # the only deadline
        async with trio.open_nursery() as nursery:  # no call outlives this block
            for call in race.calls:
                nursery.start_soon(race.run, call, nursery.cancel_scope, name=f"call {call}")
                # each call, as it ends, cancels the scope if the strategy is settled
    return answer(race.verdict())


class Outcomes:
    """A call whose failures are values."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def __call__(self, timings: CallTimings) -> Success | Failure:
        try:
            return Success(json.dumps(await self._call()).encode())
        except ConnectionError:
            return Failure("failed")


class Reporter:
    """Receives what happens in a race, and reports its bugs."""

    interests = (BugFound,)

    def notify(self, event: Event) -> None:
        assert isinstance(event, BugFound)
        report(event.exception)


def answer(verdict: Verdict) -> str:
    match verdict:
        case One(_, payload):
            return json.loads(payload)
        case Crashed(bug):
            raise bug
        case AllFailed():
            raise NoSuccess
    raise TimeoutError


if __name__ == "__main__":
    show(sys.modules[__name__])
