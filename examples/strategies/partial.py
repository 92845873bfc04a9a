"""Partial: every success, as `/api/all`; and at the deadline those that are there, marked as partial."""

from __future__ import annotations

from typing import Final

import trio
from quart_trio.wrappers import TrioResponse as Response

from fanout.api.answers import answer
from fanout.race.ledger import Ledger
from fanout.race.outcome import Success
from fanout.race.race import Race
from fanout.race.verdict import Crashed, Every, NoSuccess, Verdict

PARTIAL: Final = "X-Fanout-Partial"  # "1": the deadline came before every call had ended


def partial(ledger: Ledger) -> Verdict | None:
    """Every success, in call order, once no call runs: every one has ended, or the deadline has come."""
    if ledger.crash is not None:
        return Crashed(ledger.crash)
    if ledger.pending:
        return None
    payloads = tuple(r.outcome.payload for r in ledger.records if isinstance(r.outcome, Success))
    if payloads:
        return Every(payloads)
    return None if ledger.stopped else NoSuccess()


async def run_partial(race: Race, with_receipt: bool) -> Response:
    with trio.move_on_at(race.budget.race_ends_at):  # the only deadline
        async with trio.open_nursery() as nursery:  # no call outlives this block
            for call in race.calls:
                nursery.start_soon(race.run, call, nursery.cancel_scope, name=f"call {call}")
    response = answer(race, trio.current_time(), with_receipt)  # a plain function over values: no await
    if response.status_code == 200 and race.ledger.stopped:
        response.headers[PARTIAL] = "1"
    return response
