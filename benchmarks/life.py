"""What requests cost a server over its whole life: all that it does for them, however late it does it.

A window that ends with the last answer leaves out what a server does later: it looks at its idle connections
every few seconds, writes its log in batches, closes its connections at the end. So a life ends here with the
exit of the process, and the kernel reports its total. Two parts of it are not the requests':

* what the process used until it was ready for the first one (`ready_cpu_s`), and
* what the same program uses when nobody asks it anything: in as many seconds, and for its exit (`Unasked`).
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from benchmarks import usage
from benchmarks.programs import Program

REST_S = 6  # after the last answer: longer than the longest period of any task of fanout (5 s)


@dataclass(frozen=True, slots=True)
class Life:
    """One process that has ended: seconds of processor time, and of the clock from ready to its signal."""

    ready_cpu_s: float
    lived_s: float
    end_cpu_s: float  # used until that signal
    whole_cpu_s: float  # used until it had exited


@dataclass(frozen=True, slots=True)
class Unasked:
    """What a program uses without requests: a share of a core, and seconds for its exit."""

    idle_share: float
    exit_s: float


class Watched:
    """A program from the moment it is ready. Call `ends` before its signal, and `life` after its exit."""

    def __init__(self, program: Program) -> None:
        usage.wait_until_quiet(program.pid)
        self.program = program
        self._ready_at, self._ready_cpu_s = monotonic(), usage.cpu_s(program.pid)
        self._lived_s = self._end_cpu_s = 0.0

    def ends(self) -> None:
        self._lived_s, self._end_cpu_s = monotonic() - self._ready_at, usage.cpu_s(self.program.pid)

    def life(self) -> Life:
        assert self.program.whole_cpu_s is not None, "it has not ended"
        return Life(self._ready_cpu_s, self._lived_s, self._end_cpu_s, self.program.whole_cpu_s)


def unasked(life: Life) -> Unasked:
    """From a life without any request."""
    return Unasked((life.end_cpu_s - life.ready_cpu_s) / life.lived_s, life.whole_cpu_s - life.end_cpu_s)


def requests_s(life: Life, without: Unasked) -> float:
    """Processor time that the requests of this life have cost, in seconds."""
    return life.whole_cpu_s - life.ready_cpu_s - life.lived_s * without.idle_share - without.exit_s


def us_per_useful(life: Life, without: Unasked, useful: int) -> float:
    """Microseconds for each useful answer; infinite without any. An answer that helped nobody costs, too."""
    return requests_s(life, without) * 1e6 / useful if useful else float("inf")
