"""fanout's own: the race and the verdict of its handlers, through the `run_race` that answers requests."""

from __future__ import annotations

import json
import logging

import trio

from fanout.api.handlers import run_race
from fanout.race.budget import Budget
from fanout.race.events import BugFound
from fanout.race.outcome import Failure, Success
from fanout.race.race import Race
from fanout.race.verdict import every_success, first_success


async def first(calls, timeout):
    return await answer_of(first_success, map(as_upstream_call, calls), timeout)


async def all_(calls, timeout):
    return await answer_of(every_success, map(as_upstream_call, calls), timeout)


async def answer_of(strategy, upstream_calls, timeout):
    budget = Budget(arrived_at=trio.current_time(), timeout_ms=round(timeout * 1000), reserve_ms=0)
    race = Race("lab", strategy, list(upstream_calls), budget, Log())
    response = await run_race(race, False)
    answer = json.loads(await response.get_data())
    if response.status_code == 200:
        return answer
    raise TimeoutError if answer["reason"] == "deadline" else ConnectionError(answer["reason"])


def as_upstream_call(call):
    async def upstream_call(timings):
        try:
            return Success(json.dumps(await call()).encode())
        except ConnectionError:
            return Failure("unreachable")

    return upstream_call


class Log:
    """Receives the bugs, and no other event."""

    interests = frozenset({BugFound})

    def notify(self, event):
        if isinstance(event, BugFound):
            logging.getLogger(__name__).error("%s has a bug", event.where, exc_info=event.exception)
