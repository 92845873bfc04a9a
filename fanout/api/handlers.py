"""The endpoints, and the proof that nothing outlives a request.

Read `run_race` from top to bottom. It holds the only deadline and the only nursery for upstream
calls in this program: nothing below it takes a timeout, and nothing below it can leave a task behind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio
from quart import Blueprint, request
from quart_trio.wrappers import TrioResponse as Response

from fanout.api.answers import answer
from fanout.api.exchange import Exchange, exchange_of
from fanout.api.timeouts import read_timeout
from fanout.race.budget import Budget
from fanout.race.events import Observer
from fanout.race.race import Call, Race
from fanout.race.timings import Deadlines
from fanout.race.verdict import Strategy, every_success, first_success


@dataclass(frozen=True, slots=True)
class Races:
    """What every race has in common. One a process.

    reserve_ms: what to keep back from the next race's timeout.
    deadline_header: the field in which clients and upstreams are sent the time that is left; empty: none.
    min_call_ms: see `fanout.race.timings.Deadlines`.
    """

    calls: Sequence[Call]
    observer: Observer
    default_timeout_ms: int
    max_timeout_ms: int
    reserve_ms: Callable[[], float]
    deadline_header: str = ""
    min_call_ms: int = 1
    _field: bytes = field(init=False)  # as ASGI has it
    _deadlines: Deadlines = field(init=False)

    def __post_init__(self) -> None:
        header = self.deadline_header.encode("ascii")
        object.__setattr__(self, "_field", header.lower())
        object.__setattr__(self, "_deadlines", Deadlines(header, self.min_call_ms))

    def of_request(self, exchange: Exchange, strategy: Strategy) -> Race:
        """The race of a request. Raises `ProblemError` if its timeout is not valid."""
        sent: tuple[bytes, ...] = ()
        if self._field in exchange.fields:
            sent = tuple(value for name, value in exchange.headers if name == self._field)
        timeout_ms, source = read_timeout(
            exchange.query, self.default_timeout_ms, self.max_timeout_ms, self.deadline_header, sent
        )
        budget = Budget(exchange.arrived_at, timeout_ms, self.reserve_ms(), source)
        exchange.race = Race(
            exchange.request_id,
            strategy,
            self.calls,
            budget,
            self.observer,
            exchange.trace,
            self._deadlines,
        )
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
