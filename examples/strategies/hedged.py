"""Hedged first: the next call starts after a delay, or at once when a call has failed.

The budget decides about new calls only. A call that runs is stopped by what stops it in `/api/first`: another
call's success, the deadline, or a client disconnect. So no failure of the budget can cost an answer.
"""

from __future__ import annotations

import trio
from quart_trio.wrappers import TrioResponse as Response

from examples.strategies.budget import HedgingBudget
from examples.strategies.delay import Delay
from fanout.api.answers import answer
from fanout.race.ledger import Ledger
from fanout.race.race import Race
from fanout.race.verdict import Verdict, first_success


def hedged(ledger: Ledger) -> Verdict | None:
    """The success that was recorded first. A call that is left out is neither a success nor a failure."""
    return first_success(ledger)


async def run_hedged(race: Race, with_receipt: bool, delay: Delay, budget: HedgingBudget) -> Response:
    delay_s = delay.seconds
    budget.earn()

    async def run(call: int) -> None:
        await race.run(call, nursery.cancel_scope)  # a success settles the race, and cancels the scope
        failed.set()

    with trio.move_on_at(race.budget.race_ends_at):  # the only deadline
        async with trio.open_nursery() as nursery:  # no call outlives this block
            failed = trio.Event()
            nursery.start_soon(run, 0, name="call 0")
            for call in race.calls[1:]:
                with trio.move_on_after(delay_s):
                    await failed.wait()
                if not failed.is_set() and not budget.is_ample:
                    await failed.wait()  # what little is left is for failures
                if budget.spend():
                    failed = trio.Event()
                    nursery.start_soon(run, call, name=f"call {call}")
                else:
                    race.leave_out(call, "the hedging budget is empty")
    delay.saw(race.ledger.records[0])
    return answer(race, trio.current_time(), with_receipt)  # a plain function over values: no await
