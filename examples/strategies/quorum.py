"""Quorum: the answers of a majority of the calls, as soon as there is one.

With the usual two calls both have to succeed; with three upstreams (`--upstream`, three times), any two.
"""

from __future__ import annotations

import trio
from quart_trio.wrappers import TrioResponse as Response

from fanout.api.answers import answer
from fanout.race.ledger import Ledger
from fanout.race.outcome import Success
from fanout.race.race import Race
from fanout.race.verdict import Crashed, Every, NoSuccess, Verdict


def quorum(ledger: Ledger) -> Verdict | None:
    """The majority of successes that was recorded first, in call order. A failure once there can be none."""
    if ledger.crash is not None:
        return Crashed(ledger.crash)
    needed = len(ledger.records) // 2 + 1
    succeeded = {r.call: r.outcome.payload for r in ledger.ended if isinstance(r.outcome, Success)}
    if len(succeeded) >= needed:
        return Every(tuple(succeeded[call] for call in sorted([*succeeded][:needed])))
    is_possible = len(succeeded) + ledger.pending + ledger.stopped >= needed
    return None if is_possible else NoSuccess(needed)


async def run_quorum(race: Race, with_receipt: bool) -> Response:
    with trio.move_on_at(race.budget.race_ends_at):  # the only deadline
        async with trio.open_nursery() as nursery:  # no call outlives this block
            for call in race.calls:
                nursery.start_soon(race.run, call, nursery.cancel_scope, name=f"call {call}")
    return answer(race, trio.current_time(), with_receipt)  # a plain function over values: no await
