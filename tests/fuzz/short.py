"""The short form of `make fuzz`: a number of inputs per target, always the same ones."""

from __future__ import annotations

import os
from collections.abc import Mapping
from random import Random
from typing import Final

import trio
import trio.testing

from tests.fuzz import search as search_module
from tests.fuzz.search import Find, Search
from tests.fuzz.targets import Target

# Each takes about a second.
INPUTS: Final[Mapping[str, int]] = {
    "head": 3000,
    "stream": 1200,
    "answer": 5000,
    "http2_head": 4000,
    "http2": 400,
}


def seed() -> str:
    """`FUZZ_SEED`, or a fixed one: a change must not be red for the day on which it is tested."""
    return os.environ.get("FUZZ_SEED", "short")


def search(target: Target, seed: str, inputs: int | None = None, *, until_found: bool = False) -> list[Find]:
    """What is found. until_found: end with the first, as it was drawn."""
    found = Search(target, makes_small=not until_found)

    async def run() -> None:
        chance = Random(seed)
        while found.inputs < (inputs or INPUTS[target.name]) and not (until_found and found.finds):
            await found.run(50, chance)

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    return found.finds


def shows(target: Target, find: Find) -> bool:
    """Whether a find is still there."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    return trio.run(search_module.shows, target, find.data, find.difference, clock=clock)
