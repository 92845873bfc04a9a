"""Which traces are recorded: OpenTelemetry's standard samplers, as one value and one comparison.

The decision needs the trace id and what the caller decided, and nothing else, so it is taken at arrival, and
two programs with the same ratio take the same decision about the same trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fanout.observe.trace_context import TraceContext

DEFAULT_SAMPLER: Final = "parentbased_always_on"
_PARENT: Final = "parentbased_"
_ROOTS: Final = {"always_on": 1.0, "always_off": 0.0, "traceidratio": None}
SAMPLERS: Final = (*_ROOTS, *(_PARENT + root for root in _ROOTS))

_ID_BITS: Final = 64  # of the trace id, the low ones: those that every version of the standard has at random
_ID_MASK: Final = (1 << _ID_BITS) - 1


@dataclass(frozen=True, slots=True)
class Sampler:
    """follows_caller: a caller's decision, if there is one, is ours. below: else the ids that are sampled."""

    follows_caller: bool
    below: int

    def samples(self, trace_id: int, caller: TraceContext | None) -> bool:
        if caller is not None and self.follows_caller:
            return caller.sampled
        return trace_id & _ID_MASK < self.below


def read_sampler(name: str, argument: str) -> Sampler:
    """From the values of `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`; empty is unset.

    Raises `ValueError`: the setting, the value, the fix, in one line.
    """
    name = name or DEFAULT_SAMPLER
    if name not in SAMPLERS:
        raise ValueError(f"OTEL_TRACES_SAMPLER={name!r}: use one of {', '.join(SAMPLERS)}")
    ratio = _ROOTS[name.removeprefix(_PARENT)]
    if ratio is None:
        ratio = _read_ratio(argument) if argument else 1.0
    return Sampler(name.startswith(_PARENT), round(ratio * (1 << _ID_BITS)))


def _read_ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        raise ValueError(f"OTEL_TRACES_SAMPLER_ARG={text!r}: use a ratio from 0.0 to 1.0")
    return ratio
