"""One search: make inputs, look at each, keep what shows something new, and make a find small."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.fuzz.targets import Difference, Target

_MAX_KEPT: Final = 4000
_MUTATED: Final = 0.35  # of the inputs: those that are made from one that showed something new
_LOOKS: Final = 2000  # at most, to make a find small


@dataclass(slots=True)
class Find:
    target: str
    difference: Difference
    data: bytes


@dataclass(slots=True)
class Search:
    """Each difference is reported once, with an input as small as it can be if `makes_small`.

    kept: inputs that have shown something new.
    """

    target: Target
    makes_small: bool = True
    inputs: int = 0
    finds: list[Find] = field(default_factory=list)
    kept: list[bytes] = field(default_factory=list)
    behaviours: Counter[tuple[object, ...]] = field(default_factory=Counter)
    _seen: set[Difference] = field(default_factory=set)

    async def run(self, count: int, chance: Random) -> None:
        """Look at `count` inputs."""
        for _ in range(count):
            data = self._next(chance)
            look = await self.target.look(data, chance)
            self.inputs += 1
            self.behaviours[look.behaviour] += 1
            if self.behaviours[look.behaviour] == 1 and len(self.kept) < _MAX_KEPT:
                self.kept.append(data)
            for difference in look.differences:
                if difference not in self._seen:
                    self._seen.add(difference)
                    if self.makes_small:
                        data = await smallest(self.target, data, difference)
                    self.finds.append(Find(self.target.name, difference, data))

    def _next(self, chance: Random) -> bytes:
        if self.kept and chance.random() < _MUTATED:
            data = self.target.mutate(chance.choice(self.kept), chance.choice(self.kept), chance)
            if len(data) < 2000:
                return data
        return self.target.generate(chance)


async def shows(target: Target, data: bytes, difference: Difference) -> bool:
    """Whether this input shows it, too. Pieces are drawn alike each time."""
    look = await target.look(data, Random(0), every_cut="pieces" in difference.what)
    return difference in look.differences


async def smallest(target: Target, data: bytes, difference: Difference) -> bytes:
    """A part of `data` that still shows the difference: no piece of it can be left out (ddmin)."""
    looks = 0
    size = len(data) // 2
    while size:
        at = 0
        while at < len(data) and looks < _LOOKS:
            looks += 1
            shorter = data[:at] + data[at + size :]
            if shorter and await shows(target, shorter, difference):
                data = shorter
            else:
                at += size
        size //= 2
    return data
