"""A world that has ended: what was asked of it, and everything that was seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fanout.testing.world.facts import ConnectionFacts, RequestFacts, WireFacts
from fanout.testing.world.oracle import INSTANT_S, CallEnd, Due, Span
from fanout.testing.world.plan import Plan
from fanout.testing.world.trace import Trace

Oracle = Callable[[RequestFacts, Sequence[CallEnd], float, Span], list[Due]]
"""What a request for an `own` strategy may be answered.

From its facts, how each call ends if nobody stops it (`hang` if it was not made), when its head was read, and
when its calls' time is over.
"""


@dataclass(slots=True)
class Ended:
    """The plan and the facts. Times are seconds of virtual time.

    stalls: when the loop stood still, from and to. late_answers: as the server counts them.
    look_ups: when the upstream's name was looked up.
    signalled_at: the time of SIGTERM. drained_at: when the drain began, after the lame duck.
    ends: how the connections ended, as the server counts them.
    oracle: for requests that ask for an `own` strategy.
    wrong: what was left behind, or went wrong outside of any request, each as a sentence.
    threads_started: how many, by anybody.

    The rest is for the monitor, which does not read `wrong`. left: counts that must be zero at the end.
    leaks, leak_checked: the counts of the leak check, and of the requests that it has looked at.
    pools: each pool's counts when the last request had ended, and the `sockets` that there were.
    dead_but_open: upstream connections that were open then, although the upstream had ended them.
    cut_off: the graceful shutdown ended by its grace. bugs_raised, bugs_reported: by name, sorted.
    noted: what is no fact about fanout.
    """

    plan: Plan
    trace: Trace
    wires: list[WireFacts]
    look_ups: list[float]
    requests: list[RequestFacts] = field(default_factory=list)
    connections: list[ConnectionFacts] = field(default_factory=list)
    signalled_at: float = 0.0
    drained_at: float = 0.0
    ended_at: float = 0.0
    late_answers: int = 0
    stalls: list[tuple[float, float]] = field(default_factory=list)
    ends: dict[str, int] = field(default_factory=dict)
    oracle: Oracle | None = None
    wrong: list[str] = field(default_factory=list)
    threads_started: int = 0
    left: dict[str, int] = field(default_factory=dict)
    leaks: dict[str, int] = field(default_factory=dict)
    leak_checked: int = 0
    pools: list[dict[str, int]] = field(default_factory=list)
    dead_but_open: int = 0
    cut_off: bool = True
    bugs_raised: list[str] = field(default_factory=list)
    bugs_reported: list[str] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)

    def slack_s(self, began_at: float, ended_at: float) -> float:
        """For how long the loop stood still in that time: nothing can be on time then."""
        return sum(
            to - began
            for began, to in self.stalls
            if began <= ended_at + INSTANT_S and to >= began_at - INSTANT_S
        )

    def noticed_by(self, moment: float) -> float:
        """When the server had noticed the signal: the loop may have stood still right after it."""
        signalled_at = self.signalled_at - INSTANT_S
        return (
            self.signalled_at
            + INSTANT_S
            + sum(to - began for began, to in self.stalls if signalled_at <= began <= moment)
        )

    def long_passes(self) -> list[tuple[float, float]]:
        """The stalls: when each began, how long it took. Those with no time between them may be one pass."""
        passes: list[tuple[float, float]] = []
        for began, to in self.stalls:
            if passes and began <= sum(passes[-1]) + INSTANT_S:
                began, _ = passes.pop()
            passes.append((began, to - began))
        return passes

    def drained_by(self, moment: float) -> float:
        """When, at the latest, the drain had begun everywhere: not at once, if the loop stood still then."""
        return self.drained_at + self.slack_s(self.drained_at, max(moment, self.drained_at)) + INSTANT_S
