"""The experiment: hostile connections of every kind, and many idle ones, beside a steady load."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import trio

from tests.blackbox.front_door.door import Door, Reading
from tests.blackbox.front_door.hostile import KINDS, attack, sit_idle
from tests.bystander import Seen

LEAD_S = 1.0  # the load runs before the first hostile connection, and after the last


@dataclass(frozen=True, slots=True)
class Siege:
    """What came of it. load: the report of `fanout load`. accepted, ended: its connections are among them.

    bystander: it asked with a timeout of 300 ms all the time.
    """

    kinds: int
    connections: int
    idle: int
    load: Any
    bystander: Seen
    before: Reading
    at_peak: Reading
    after: Reading
    bugs: int
    accepted: int
    ended: dict[str, int]


async def besiege(
    door: Door, *, connections: int, idle: int, rate_per_s: int, seconds: float, timeout_ms: int
) -> Siege:
    """Spread the hostile connections over `seconds`, while the load runs from before until after them."""
    before = await door.reading()
    reports: list[Any] = []

    async def steady() -> None:
        duration = f"{seconds + 2 * LEAD_S}"
        options = ("--rate", f"{rate_per_s}", "--duration", duration, "--timeout-ms", f"{timeout_ms}")
        reports.append(await door.load(*options, "--mix", "first=1,all=1"))

    with door.bystander() as seen:
        async with trio.open_nursery() as loading:
            loading.start_soon(steady)
            await trio.sleep(LEAD_S)
            async with trio.open_nursery() as hostile:
                async with trio.open_nursery() as beginning:
                    for act, count in ((attack, connections), (sit_idle, idle)):
                        begin = partial(act, door, count, per_s=count / seconds)
                        beginning.start_soon(hostile.start, begin)
                await trio.sleep(LEAD_S)
                at_peak = await door.reading()
                hostile.cancel_scope.cancel(reason="the siege is over")
    after = await door.settled(before)
    (statistics,) = await door.statistics()
    return Siege(
        kinds=min(connections, len(KINDS)),
        connections=connections,
        idle=idle,
        load=reports[0],
        bystander=seen,
        before=before,
        at_peak=at_peak,
        after=after,
        bugs=await door.bugs(),
        accepted=statistics["connections"]["accepted"],
        ended=statistics["connections"]["ended"],
    )
