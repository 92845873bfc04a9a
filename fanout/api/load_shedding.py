"""Sheds load while the event loop lags: rejections in microseconds, and a time reserve that is large enough.

The limit of requests in flight bounds memory; this bounds processor time. A request takes about a millisecond
of it, spread over a dozen event-loop iterations. While the loop lags by more than `max_loop_lag_ms`, new
requests are shed before they are parsed, for a thirtieth of what an answer costs. The lag is the length of
the current iteration or of the one before it: the work of the requests admitted there is still to come. So an
iteration stays about that short, however many requests are offered.

A burst is not an overload. When many clients send at once, as after a proxy wakes up, one long iteration
would serve them and leave the loop idle. So a few are admitted all the same: as many as fit into the time
reserve of every answer, and again after some time.
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
IN_FLIGHT_RESERVE_MS: Final = (
    0.03  # for each request in flight: those whose deadlines come together wait for each other
)
MAX_IN_FLIGHT_RESERVE_MS: Final = 150.0
# What a request takes at least of the iteration in which it starts. Measured at 4 times the peak: with 0 the
# p99 of a rejection is 30 to 50 ms, with this 8 ms, and the goodput is the same.
START_COST_S: Final = 0.0002
ITERATIONS_PER_ANSWER: Final = 8  # half of them behind the last request, half from the deadline on; measured
_ID_LENGTH: Final = 24  # always, so that the length of the body does not change
_PLACE_OF_ID: Final = b"@" * _ID_LENGTH
_TWO_DIGITS: Final = [b"%02x" % low for low in range(256)]


@dataclass(frozen=True, slots=True)
class LoadSheddingStatistics:
    """refused: requests that were refused before they were parsed. reserve_ms: what the next request gets."""

    refused: int
    reserve_ms: float


class LoadShedder:
    """Asked before a request is parsed, and for the reserve of each that was admitted."""

    def __init__(
        self,
        watch: LoopWatch,
        *,
        max_loop_lag_ms: float,
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
        self._max_loop_lag_s = max_loop_lag_ms / 1000
        self._reserve_ms = reserve_ms
        self._rejections = _rejections(id_prefix[:8])
        self._shed_count = 0
        self._in_flight = in_flight
        self._burst = burst
        self._credit = float(burst)
        self._credited_at = 0.0

    def shed(self, beginning: int = 0) -> bytes | None:
        """A complete 503 when the loop is behind, else `None`. A few microseconds either way.

        beginning: requests that were let pass, and whose work has yet to begin.
        """
        watch = self._watch
        if not watch.is_behind(self._max_loop_lag_s - beginning * START_COST_S):
            return None
        # Without credit it is asked once a pass, however many are refused in that.
        if (self._credit >= 1 or watch.iteration_began_at != self._credited_at) and self._is_burst():
            return None
        self._shed_count += 1
        return next(self._rejections)

    def reserve_ms(self) -> float:
        """What to keep back from a timeout, going by how late the loop has been of late, and how much it has
        to do should all that is in flight end at its deadline."""
        late_s = self._watch.lateness_s() + ITERATIONS_PER_ANSWER * self._watch.usual_iteration_s()
        storm_ms = min(MAX_IN_FLIGHT_RESERVE_MS, IN_FLIGHT_RESERVE_MS * self._in_flight())
        return max(self._reserve_ms, min(MAX_RESERVE_MS, self._reserve_ms + late_s * 1000)) + storm_ms

    def _is_burst(self) -> bool:
        now = self._watch.iteration_began_at
        self._credit = min(self._burst, self._credit + (now - self._credited_at) * BURST_PER_S)
        self._credited_at = now
        if self._credit < 1:
            return False
        self._credit -= 1
        return True

    def statistics(self) -> LoadSheddingStatistics:
        return LoadSheddingStatistics(refused=self._shed_count, reserve_ms=round(self.reserve_ms(), 3))


def _rejections(id_prefix: str) -> Iterator[bytes]:
    """Answers without end, each with an id of its own. All but two digits of that is written once for 256."""
    before, between, after = _answer_template().split(_PLACE_OF_ID)
    for number in itertools.count():
        most = f"{id_prefix}-r{number:0{_ID_LENGTH - len(id_prefix) - 4}x}".encode("ascii")
        before_digits, between_digits = before + most, between + most
        for digits in _TWO_DIGITS:
            yield b"".join((before_digits, digits, between_digits, digits, after))


def _answer_template() -> bytes:
    problem = problems.OVERLOADED
    fields, body = problem.answer(_PLACE_OF_ID.decode("ascii"))
    fields.append(("content-length", str(len(body))))
    return head_bytes(problem.status, [(name.encode(), value.encode()) for name, value in fields]) + body
