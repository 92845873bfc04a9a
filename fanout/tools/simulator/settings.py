"""How slow and how unreliable the simulator is. Settings are values: to change them is to replace them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Final

from fanout.config import DEFAULT_DEADLINE_HEADER, parse_deadline_header
from fanout.tools.simulator.connection_faults import CONNECTION_FAULTS
from fanout.tools.simulator.faults import FAULTS

MAX_DELAY_MS: Final = 600_000  # as long as the longest timeout fanout can be set to

# One call in ten fails, a few of them only at the client's deadline.
UNRELIABLE: Final[Mapping[str, float]] = MappingProxyType(
    {
        "status": 0.04,
        "rst_before_head": 0.015,
        "rst_mid_body": 0.01,
        "not_json": 0.01,
        "truncated_json": 0.005,
        "garbage": 0.01,
        "hang_before_head": 0.01,
    }
)


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """Checked when made: a wrong value is a `ValueError` of one sentence.

    seed: the n-th call and the n-th connection get what (seed, n) says, whatever happened before.
    min_delay_ms, max_delay_ms: the delay of a call is drawn from these, both included.
    faults: name to share of calls, each 0 to 1, all together at most 1.
    connection_faults: name to share of connections, the same. The TLS ones spare plain connections.
    deadline_header: the name of the field in which clients send how many milliseconds they have left.
    heeds_deadline: a call that takes longer than its client has left is given up when that time is over, and
        answered with 504.
    """

    seed: int = 0
    min_delay_ms: int = 100
    max_delay_ms: int = 600
    faults: Mapping[str, float] = field(default_factory=lambda: UNRELIABLE)
    connection_faults: Mapping[str, float] = field(default_factory=dict)
    deadline_header: str = DEFAULT_DEADLINE_HEADER
    heeds_deadline: bool = False

    def __post_init__(self) -> None:
        check_whole("seed", self.seed, 0, 2**63 - 1)
        check_whole("min_delay_ms", self.min_delay_ms, 0, MAX_DELAY_MS)
        check_whole("max_delay_ms", self.max_delay_ms, 0, MAX_DELAY_MS)
        if self.min_delay_ms > self.max_delay_ms:
            raise ValueError(
                f"min_delay_ms must not be above max_delay_ms: {self.min_delay_ms} > {self.max_delay_ms}"
            )
        object.__setattr__(self, "faults", _rates("faults", self.faults, FAULTS))
        checked = _rates("connection_faults", self.connection_faults, CONNECTION_FAULTS)
        object.__setattr__(self, "connection_faults", checked)
        _check_deadline(self.deadline_header, self.heeds_deadline)

    def changed(self, changes: object) -> SimulatorSettings:
        """A copy with some fields replaced, as decoded from JSON. `ValueError` if anything is wrong."""
        return replace(self, **check_names("settings", changes, [each.name for each in fields(self)]))

    def as_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "min_delay_ms": self.min_delay_ms,
            "max_delay_ms": self.max_delay_ms,
            "faults": dict(self.faults),
            "connection_faults": dict(self.connection_faults),
            "deadline_header": self.deadline_header,
            "heeds_deadline": self.heeds_deadline,
        }


def parse_rates(texts: Iterable[str]) -> dict[str, float]:
    """`["not_json=0.1", …]`, as a command line has it. `ValueError` for what is no rate; any name goes."""
    rates: dict[str, float] = {}
    for text in texts:
        name, equals, rate = text.partition("=")
        try:
            rates[name] = float(rate)
        except ValueError:
            equals = ""
        if not (name and equals):
            raise ValueError(f"a rate is NAME=SHARE, such as not_json=0.1, not {text!r}")
    return rates


def check_whole(name: str, value: object, low: int, high: int) -> int:
    """The value, if it is a whole number in the range."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, not {value!r}")
    return value


def check_names(what: str, value: object, allowed: Iterable[str]) -> dict[str, Any]:
    """The value as a dict, if it is an object with no other names."""
    allowed = tuple(allowed)
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a JSON object with any of: {', '.join(allowed)}")
    for name in value:
        if name not in allowed:
            raise ValueError(f"{what} has no {name!r}; allowed: {', '.join(allowed)}")
    return value


def _check_deadline(header: object, heeds: object) -> None:
    if not isinstance(header, str):
        raise ValueError(f"deadline_header must be the name of a header field, or empty, not {header!r}")
    try:
        parse_deadline_header(header)
    except ValueError as error:
        raise ValueError(f"deadline_header={header!r}: {error}") from None
    if not isinstance(heeds, bool):
        raise ValueError(f"heeds_deadline must be true or false, not {heeds!r}")


def _rates(name: str, rates: object, known: Mapping[str, object]) -> Mapping[str, float]:
    if not isinstance(rates, Mapping):
        raise ValueError(f"{name} must be an object of shares, such as {{{next(iter(known))!r}: 0.1}}")
    for fault, rate in rates.items():
        if fault not in known:
            raise ValueError(f"{name} has no {fault!r}; known: {', '.join(known)}")
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:  # NaN is not
            raise ValueError(f"{name}: the share of {fault} must be a number from 0 to 1, not {rate!r}")
    if math.fsum(rates.values()) > 1:
        raise ValueError(f"{name} must add up to at most 1, not {math.fsum(rates.values()):g}")
    return MappingProxyType(dict(rates))
