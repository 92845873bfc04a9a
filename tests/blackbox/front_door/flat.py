"""The experiment: mixed load with faults and clients that leave, for as long as one likes. What grows?"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import trio

from tests.blackbox.front_door.door import Door, Reading

SAMPLES: Final = 60
_MIX: Final = ("--mix", "first=1,all=1", "--timeout-ms", "200,500,1000,3000", "--hang-up", "0.1")


@dataclass(frozen=True, slots=True)
class Flat:
    """What came of it. samples: evenly over the run. load: the report of `fanout load`."""

    seconds: float
    samples: list[Reading]
    load: Any
    before: Reading
    after: Reading
    bugs: int

    def growth(self, of: str) -> tuple[float, float]:
        """The median in the second third of the run, and in the last. The first third warms up."""
        third = len(self.samples) // 3
        values = [getattr(sample, of) for sample in self.samples]
        return median(values[third : 2 * third]), median(values[2 * third :])


async def endure(door: Door, *, seconds: float, rate_per_s: float) -> Flat:
    """The door's upstream should fail in many ways."""
    before = await door.reading()
    samples: list[Reading] = []
    reports: list[Any] = []

    async def load() -> None:
        reports.append(await door.load("--rate", f"{rate_per_s}", "--duration", f"{seconds}", *_MIX))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(load)
        for _ in range(SAMPLES):
            await trio.sleep(seconds / SAMPLES)
            samples.append(await door.reading())
    return Flat(
        seconds=seconds,
        samples=samples,
        load=reports[0],
        before=before,
        after=await door.settled(before),
        bugs=await door.bugs(),
    )
