"""Is an address that swallows attempts to connect tried last, once it has been waited for long enough?"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from fanout.testing.world.ended import Ended
from fanout.testing.world.facts import CallFacts
from fanout.testing.world.oracle import INSTANT_S
from fanout.testing.world.upstreams import SWALLOWED

CHANCE_S = 0.25  # RFC 8305


def judge_addresses(ended: Ended) -> Iterator[str]:
    """After a look-up it may be tried first until it was silent for 250 ms in all, and not afterwards.

    Where the loop stands still, a sound address may look silent as well, and nothing is known.
    """
    if not ended.plan.silent_addresses or ended.stalls:
        return
    calls = [call for request in ended.requests for call in request.calls.values()]
    waits = sorted((to, began) for call in calls for began, to in _waits(call))
    for began in sorted(began for _, began in waits):
        looked_up_at = ended.look_ups[bisect_right(ended.look_ups, began + INSTANT_S) - 1]
        silence_s, counted_until = 0.0, looked_up_at
        for to, since in waits:  # by when they ended, which is when fanout could learn from them
            if looked_up_at < to < began - INSTANT_S:
                silence_s += to - max(since, counted_until)
                counted_until = to
        if silence_s > CHANCE_S + INSTANT_S:
            yield f"G4: at {began} a silent address was tried first, after {silence_s} s of its silence"


def _waits(call: CallFacts) -> Iterator[tuple[float, float]]:
    """When the call tried the silent address first, and until when it waited for it."""
    for attempt in call.attempts:
        if attempt.dials and attempt.dials[0][1] is SWALLOWED and call.ended_at is not None:
            to = call.ended_at if attempt.wire is None else attempt.wire.connected_at
            yield attempt.dials[0][0], to
