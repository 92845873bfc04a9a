"""How much a scenario does, and one line of what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.deploy.fleet.fleet import RATE_PER_S


@dataclass(frozen=True, slots=True)
class Size:
    """How much of it. restarts, restarts_requests: of each load under rolling restarts."""

    restarts: int = 12
    restarts_requests: int = 9000
    kills: int = 3
    requests: int = 1500
    rounds: int = 4
    rate_per_s: int = RATE_PER_S
    is_short: bool = False


FULL: Final = Size()
SHORT: Final = Size(1, 100, 1, 100, 1, rate_per_s=60, is_short=True)  # of the processor, too


@dataclass(frozen=True, slots=True)
class Row:
    """What was done and seen. must: in words; "" for a comparison. holds: `None` for a comparison."""

    scenario: str
    variant: str
    figures: Mapping[str, int | float]
    must: str = ""
    holds: bool | None = None
    why: str = ""  # of a broken verdict: what the balancer said of the requests
