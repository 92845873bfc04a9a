"""The endpoints, and the proof that nothing outlives a request.

Read `run_race` from top to bottom. It holds the only deadline and the only nursery for upstream
calls in this program: nothing below it takes a timeout, and nothing below it can leave a task behind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio
from quart import Blueprint, request
from quart_trio.wrappers import TrioResponse as Response

from fanout.api.answers import answer
from fanout.api.exchange import Exchange, exchange_of
from fanout.api.timeouts import read_timeout_ms
from fanout.race.budget import Budget
from fanout.race.events import Observer
from fanout.race.race import Call, Race
from fanout.race.verdict import Strategy, every_success, first_success


@dataclass(frozen=True, slots=True)
class Races:
    """What every race has in common. One a process.

    reserve_ms: what to keep back from the next race's timeout.
    """

    calls: Sequence[Call]
    observer: Observer
    default_timeout_ms: int
    max_timeout_ms: int
    reserve_ms: Callable[[], float]

    def of_request(self, exchange: Exchange, strategy: Strategy) -> Race:
        """The race of a request. Raises `ProblemError` if its timeout is not valid."""
        timeout_ms = read_timeout_ms(exchange.query, self.default_timeout_ms, self.max_timeout_ms)
        budget = Budget(exchange.arrived_at, timeout_ms, self.reserve_ms())
        exchange.race = Race(exchange.request_id, strategy, self.calls, budget, self.observer, exchange.trace)
        return exchange.race


Endpoints = Callable[[Races], Blueprint]
"""Endpoints that a server has in addition to its own, as a blueprint. See docs/extending.md."""


def make_api(races: Races) -> Blueprint:
    api = Blueprint("api", __name__)

    @api.get("/api/first")
    async def first() -> Response:
        exchange = exchange_of(request.scope)
        return await run_race(races.of_request(exchange, first_success), exchange.wants_receipt)

    @api.get("/api/all")
    async def every() -> Response:
        exchange = exchange_of(request.scope)
        return await run_race(races.of_request(exchange, every_success), exchange.wants_receipt)

    return api


async def run_race(race: Race, with_receipt: bool) -> Response:
    with trio.move_on_at(race.budget.race_ends_at):  # the only deadline
        async with trio.open_nursery() as nursery:  # no call outlives this block
            for call in race.calls:
                nursery.start_soon(race.run, call, nursery.cancel_scope, name=f"call {call}")
                # each call, as it ends, cancels the scope if the strategy is settled
    return answer(race, trio.current_time(), with_receipt)  # a plain function over values: no await
