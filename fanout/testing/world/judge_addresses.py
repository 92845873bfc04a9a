"""Checks that an address that never answers is tried last, once calls have waited long enough for it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from fanout.testing.world.ended import Ended
from fanout.testing.world.facts import CallFacts
from fanout.testing.world.oracle import INSTANT_S
from fanout.testing.world.upstreams import SWALLOWED

CHANCE_S = 0.25  # RFC 8305


def judge_addresses(ended: Ended) -> Iterator[str]:
    """After a look-up the address may be tried first until it was silent for 250 ms in total, and not after.

    If the event loop stalls, a healthy address may look silent as well, so the check says nothing.
    """
    if not ended.plan.silent_addresses or ended.stalls:
        return
    calls = [call for request in ended.requests for call in request.calls.values()]
    waits = sorted((to, began) for call in calls for began, to in _waits(call))
    for began in sorted(began for _, began in waits):
        looked_up_at = ended.look_ups[bisect_right(ended.look_ups, began + INSTANT_S) - 1]
        silence_s, counted_until = 0.0, looked_up_at
        for to, since in waits:  # ordered by their ends, when fanout learns from them
            if looked_up_at < to < began - INSTANT_S:
                silence_s += to - max(since, counted_until)
                counted_until = to
        if silence_s > CHANCE_S + INSTANT_S:
            yield f"G4: at {began} a silent address was tried first, after {silence_s} s of its silence"


def _waits(call: CallFacts) -> Iterator[tuple[float, float]]:
    """From when to when the call waited for the silent address, if it tried that one first."""
    for attempt in call.attempts:
        if attempt.dials and attempt.dials[0][1] is SWALLOWED and call.ended_at is not None:
            to = call.ended_at if attempt.wire is None else attempt.wire.connected_at
            yield attempt.dials[0][0], to
