"""The paths of the strategies, and what all requests of one process share: one budget and one delay."""

from __future__ import annotations

from quart import Blueprint, request
from quart_trio.wrappers import TrioResponse as Response

from examples.strategies.budget import HedgingBudget
from examples.strategies.delay import Delay
from examples.strategies.hedged import hedged, run_hedged
from examples.strategies.partial import partial, run_partial
from examples.strategies.quorum import quorum, run_quorum
from fanout.api.exchange import exchange_of
from fanout.api.handlers import Races


def make_endpoints(races: Races) -> Blueprint:
    """For `fanout.__main__.main`. Paths without variables: those take the server's short way to a handler."""
    api = Blueprint("strategies", __name__)
    delay = Delay(0.5, percentile=95)
    budget = HedgingBudget(percent=10, most=100, at_first=100)

    @api.get("/api/hedged")
    async def get_hedged() -> Response:
        exchange = exchange_of(request.scope)
        race = races.of_request(exchange, hedged)
        return await run_hedged(race, exchange.wants_receipt, delay, budget)

    @api.get("/api/quorum")
    async def get_quorum() -> Response:
        exchange = exchange_of(request.scope)
        return await run_quorum(races.of_request(exchange, quorum), exchange.wants_receipt)

    @api.get("/api/partial")
    async def get_partial() -> Response:
        exchange = exchange_of(request.scope)
        return await run_partial(races.of_request(exchange, partial), exchange.wants_receipt)

    return api
