"""What a loop that falls behind still promises: refusals in microseconds, and a reserve that is large enough.

The limit of requests in flight bounds memory; the processor is bounded here. A request costs about a
millisecond of it, spread over a dozen passes of the loop. While the loop is further behind than
`max_pass_ms` nobody is admitted: new requests are refused before they are parsed, for a thirtieth of what
an answer costs. Behind is a pass that has run for so long, and what follows such a pass: the work of those
it has admitted is still to come. So a pass stays about that short, whatever is offered.

A burst is no overload: callers that come together, as when a proxy wakes up, would make one long pass and
then leave the loop idle. So a few are let through all the same, as many as fit well into the reserve that
every answer has, and again when some time has passed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from fanout.api import problems
from fanout.observe.loop import LoopWatch
from fanout.server.answer import head_bytes

MAX_RESERVE_MS: Final = (
    100.0  # beyond that the loop is ill, and a larger reserve would only shorten the calls
)
BURST: Final = 30  # to begin that many takes about 10 ms
BURST_PER_S: Final = 15.0  # how fast it may be repeated: under a percent or two of a process's peak rate
STORM_MS: Final = 0.03  # for each request in flight: those whose deadlines come together wait for each other
MAX_STORM_MS: Final = 150.0
# What a request takes of the pass in which it begins, at least. Measured at 4 times the peak: with 0 the p99
# of a refusal is 30 to 50 ms, with this 8 ms, and as many answers are useful.
BEGINNING_S: Final = 0.0002
PASSES_AN_ANSWER_TAKES: Final = 8  # half of them behind the last request, half from the deadline on; measured
_ID_LENGTH: Final = 24  # always, so that the length of the body does not change
_PLACE_OF_ID: Final = b"@" * _ID_LENGTH
_TWO_DIGITS: Final = [b"%02x" % low for low in range(256)]


@dataclass(frozen=True, slots=True)
class OverloadStatistics:
    """refused: requests that were refused before they were parsed. reserve_ms: what the next request gets."""

    refused: int
    reserve_ms: float


class Overload:
    """Asked before a request is parsed, and for the reserve of each that was admitted."""

    def __init__(
        self,
        watch: LoopWatch,
        *,
        max_pass_ms: float,
        reserve_ms: float,
        id_prefix: str,
        in_flight: Callable[[], int] = lambda: 0,
        burst: int = BURST,
    ) -> None:
        """reserve_ms: the smallest. The reserve grows with the loop's lateness, to 100 ms at most, and with
        the requests `in_flight`, by 150 ms at most.

        burst: how many are let through at once although the loop is behind.
        """
        self._watch = watch
        self._max_pass_s = max_pass_ms / 1000
        self._reserve_ms = reserve_ms
        self._refusals = _refusals(id_prefix[:8])
        self._refused = 0
        self._in_flight = in_flight
        self._burst = burst
        self._credit = float(burst)
        self._credited_at = 0.0

    def refuse(self, beginning: int = 0) -> bytes | None:
        """A complete 503 when the loop is behind, else `None`. A few microseconds either way.

        beginning: requests that were let pass, and whose work has yet to begin.
        """
        watch = self._watch
        if not watch.is_behind(self._max_pass_s - beginning * BEGINNING_S):
            return None
        # Without credit it is asked once a pass, however many are refused in that.
        if (self._credit >= 1 or watch.pass_began_at != self._credited_at) and self._is_burst():
            return None
        self._refused += 1
        return next(self._refusals)

    def reserve_ms(self) -> float:
        """What to keep back from a timeout, going by how late the loop has been of late, and how much it has
        to do should all that is in flight end at its deadline."""
        late_s = self._watch.lateness_s() + PASSES_AN_ANSWER_TAKES * self._watch.usual_pass_s()
        storm_ms = min(MAX_STORM_MS, STORM_MS * self._in_flight())
        return max(self._reserve_ms, min(MAX_RESERVE_MS, self._reserve_ms + late_s * 1000)) + storm_ms

    def _is_burst(self) -> bool:
        now = self._watch.pass_began_at
        self._credit = min(self._burst, self._credit + (now - self._credited_at) * BURST_PER_S)
        self._credited_at = now
        if self._credit < 1:
            return False
        self._credit -= 1
        return True

    def statistics(self) -> OverloadStatistics:
        return OverloadStatistics(refused=self._refused, reserve_ms=round(self.reserve_ms(), 3))


def _refusals(id_prefix: str) -> Iterator[bytes]:
    """Answers without end, each with an id of its own. All but two digits of that is written once for 256."""
    before, between, after = _answer_template().split(_PLACE_OF_ID)
    for number in itertools.count():
        most = f"{id_prefix}-r{number:0{_ID_LENGTH - len(id_prefix) - 4}x}".encode("ascii")
        before_digits, between_digits = before + most, between + most
        for digits in _TWO_DIGITS:
            yield b"".join((before_digits, digits, between_digits, digits, after))


def _answer_template() -> bytes:
    problem = problems.OVERLOADED
    body = problem.body(_PLACE_OF_ID.decode("ascii"))
    fields = [
        ("content-type", problems.CONTENT_TYPE),
        ("cache-control", "no-store"),
        ("x-request-id", _PLACE_OF_ID.decode("ascii")),
        ("content-length", str(len(body))),
        *problem.headers,
    ]
    return head_bytes(problem.status, [(name.encode(), value.encode()) for name, value in fields]) + body
