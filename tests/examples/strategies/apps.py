"""The strategies in the real application, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from quart import Blueprint, request
from quart_trio.wrappers import TrioResponse as Response

from examples.strategies.budget import HedgingBudget
from examples.strategies.delay import Delay
from examples.strategies.endpoints import make_endpoints
from examples.strategies.hedged import hedged, run_hedged
from fanout.api.app import make_app
from fanout.api.exchange import exchange_of
from fanout.api.handlers import Endpoints, Races
from fanout.race.events import RaceStarted
from fanout.testing import Replay, ScriptedCall, run_scenario

DELAY_S: Final = 0.1


def unlimited() -> HedgingBudget:
    return HedgingBudget(percent=0, most=10**9, at_first=10**9)


def hedged_endpoints(delay: Delay, budget: HedgingBudget) -> Endpoints:
    """As `make_endpoints`, with this delay and this budget."""

    def endpoints(races: Races) -> Blueprint:
        api = Blueprint("hedged", __name__)

        @api.get("/api/hedged")
        async def get() -> Response:
            exchange = exchange_of(request.scope)
            race = races.of_request(exchange, hedged)
            return await run_hedged(race, exchange.wants_receipt, delay, budget)

        return api

    return endpoints


def ask(
    strategy: str,
    *calls: ScriptedCall,
    timeout_ms: int = 1000,
    delay: Delay | None = None,
    budget: HedgingBudget | None = None,
    **more: Any,
) -> Replay:
    """One request for a strategy. delay, budget: of `hedged`; by default 100 ms and as much as it likes."""
    endpoints: Callable[[Races], Blueprint] = make_endpoints
    if strategy == "hedged":
        endpoints = hedged_endpoints(delay or Delay(DELAY_S), unlimited() if budget is None else budget)
    app = partial(make_app, endpoints=endpoints)
    return run_scenario(f"/api/{strategy}?timeout={timeout_ms}", calls, make_app=app, **more)


def starts(replay: Replay) -> list[float | None]:
    """When each call was started, in seconds after the arrival; `None`: it was not."""
    (arrived_at,) = [event.budget.arrived_at for event in replay.events if isinstance(event, RaceStarted)]
    times = [record.started_at for record in replay.records]
    return [None if at is None else round(at - arrived_at, 9) for at in times]


def summary(replay: Replay) -> Sequence[Any]:
    """What a table says of a request: the answer, when it came, what became of its calls."""
    said = "success" if replay.status == 200 else replay.json["reason"]
    return said, round(replay.took_s, 9), " ".join(replay.outcomes)
