"""How much a scenario does, and one line of what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.deploy.fleet.fleet import RATE_PER_S
from tests.deploy.fleet.measure import AFTERMATH_S


@dataclass(frozen=True, slots=True)
class Size:
    """How much of it. restarts, restarts_requests: of each load under rolling restarts."""

    restarts: int = 12
    restarts_requests: int = 9000
    kills: int = 3
    requests: int = 1500
    rounds: int = 4
    rate_per_s: int = RATE_PER_S
    aftermath_s: float = AFTERMATH_S
    is_short: bool = False


FULL: Final = Size()
# The rate leaves a busy machine some of its processor.
SHORT: Final = Size(1, 0, 1, 60, 1, rate_per_s=80, aftermath_s=0.3, is_short=True)


@dataclass(frozen=True, slots=True)
class Row:
    """What was done and seen. must: in words; "" for a comparison. holds: `None` for a comparison."""

    scenario: str
    variant: str
    figures: Mapping[str, int | float]
    must: str = ""
    holds: bool | None = None
    why: str = ""  # of a broken verdict: what the balancer said of the requests
