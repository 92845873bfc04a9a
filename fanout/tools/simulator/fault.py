"""What a fault of one call is. The tables of faults are made of these; `faults.py` joins them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fanout.tools.simulator.script import Answered, Ask, Script, Send

Kind = Literal["bad_status", "bad_payload", "too_large", "broken", "unreachable", "hang"]
"""How a strict client sees a failure, in fanout's words; and `hang`: only a deadline ends the call."""

WriteScript = Callable[[Ask], Script]


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to answer. `kind` is `None` when a strict client counts the call as a success."""

    name: str
    summary: str
    kind: Kind | None
    script: WriteScript

    @property
    def verdict(self) -> str:
        """`success`, or `failure: kind`."""
        return "success" if self.kind is None else f"failure: {self.kind}"


def success(script: WriteScript) -> Fault:
    """Make a fault of a function: its name names it, its docstring is the summary. The answer is right."""
    return Fault(script.__name__, script.__doc__ or "", None, script)


def failure(kind: Kind) -> Callable[[WriteScript], Fault]:
    """The same, for a call that a strict client must count as failed."""

    def make(script: WriteScript) -> Fault:
        return Fault(script.__name__, script.__doc__ or "", kind, script)

    return make


def whole(data: bytes, status: int = 200) -> Script:
    """The script of a complete response, written in one go."""
    return Script(status, (Send(data), Answered()))
