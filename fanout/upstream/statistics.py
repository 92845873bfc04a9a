"""What the transport knows about itself, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OriginStatistics:
    """The pool of one origin. Gauges: `open`, `idle`, `in_use`, `connecting`; counters: the rest.

    Always: `open == idle + in_use - connecting` and `opened == open + sum(closed.values())`.
    """

    origin: str
    open: int  # connected sockets
    idle: int
    in_use: int  # calls, those still connecting included
    connecting: int
    opened: int
    reused: int  # calls that were given an idle connection
    retries: int  # of those, the ones whose connection turned out to be dead
    failed_connects: int
    cancelled_connects: int  # calls that ended before they had a connection
    closed: Mapping[str, int]  # by `CloseReason`


@dataclass(frozen=True, slots=True)
class NameStatistics:
    """One name of the resolver. `age_s` is how old its addresses are; None before the first.

    tried_last: the addresses that have not answered in time since the last look-up. passed_over: how often an
    address was put last.
    """

    name: str
    addresses: tuple[str, ...]
    tried_last: tuple[str, ...]
    passed_over: int
    age_s: float | None
    look_ups: int
    failures: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class TransportStatistics:
    """A snapshot of the transport."""

    origins: tuple[OriginStatistics, ...]
    names: tuple[NameStatistics, ...]
