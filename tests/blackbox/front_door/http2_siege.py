"""The experiment: hostile HTTP/2 connections of every kind, next to bystanders of HTTP/1.1 and HTTP/2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import trio

from tests.blackbox.front_door.door import SETTLE_WITHIN_S, Door, Reading
from tests.blackbox.front_door.hostile import Act
from tests.blackbox.front_door.http2_kinds import HTTP2_KINDS, over_http2
from tests.bystander import Seen

LEAD_S = 0.5  # the bystanders begin before the first hostile one, and end after the last


@dataclass(frozen=True, slots=True)
class Http2Siege:
    """What came of it. http1, http2: what the bystanders saw.

    left_in_flight, left_upstream: requests and upstream connections in use, once all was over.
    """

    kinds: int
    http1: Seen
    http2: Seen
    before: Reading
    at_peak: Reading
    after: Reading
    left_in_flight: int
    left_upstream: int
    calls: int
    connections: Any
    bugs: int


async def besiege_over_http2(
    door: Door, *, connections: int, seconds: float, rate_per_s: int, acts: Sequence[Act] = ()
) -> Http2Siege:
    """Spread the hostile connections over `seconds`. acts: those kinds alone. The door must speak TLS."""
    chosen = acts or tuple(HTTP2_KINDS.values())
    hostile_door = over_http2(door)
    before = await door.reading()
    every_s = 1 / rate_per_s
    with door.bystander(every_s=every_s) as http1, door.bystander(every_s=every_s, http2=True) as http2:
        await trio.sleep(LEAD_S)
        async with trio.open_nursery() as hostile:
            began_at = trio.current_time()
            for number in range(connections):
                await trio.sleep_until(began_at + number * seconds / connections)
                hostile.start_soon(chosen[number % len(chosen)], hostile_door)
            await trio.sleep(LEAD_S)
            at_peak = await door.reading()
            hostile.cancel_scope.cancel(reason="the siege is over")
        await trio.sleep(LEAD_S)
    after = await door.settled(before)
    statistics = await _quiet(door)
    return Http2Siege(
        kinds=min(connections, len(chosen)),
        http1=http1,
        http2=http2,
        before=before,
        at_peak=at_peak,
        after=after,
        left_in_flight=statistics["admission"]["in_flight"],
        left_upstream=_in_use(statistics),
        calls=len(await door.calls()),
        connections=statistics["connections"],
        bugs=await door.bugs(),
    )


async def _quiet(door: Door) -> Any:
    """The statistics once nothing is in flight, or the last ones in reach."""
    (statistics,) = await door.statistics()
    with trio.move_on_after(SETTLE_WITHIN_S):
        while statistics["admission"]["in_flight"] or _in_use(statistics):
            await trio.sleep(0.05)
            (statistics,) = await door.statistics()
    return statistics


def _in_use(statistics: Any) -> int:
    return sum(origin["in_use"] for origin in statistics["upstream"]["origins"])
