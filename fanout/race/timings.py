"""What a call knows of its request: what to send along, and the times that it notes while it runs.

The names of the times are the call's own: a call over HTTP notes the phases of `upstream/phases`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final, NamedTuple, Protocol

import trio

Headers = tuple[tuple[bytes, bytes], ...]  # names and values, as ASGI has them
_ROUNDING_S: Final = 1e-6  # a sum of floating-point times must not make 19 ms out of 20


class Trace(Protocol):
    """The trace that a request is part of, as far as anybody but the tracer needs to know it."""

    @property
    def trace_id(self) -> str | None:
        """W3C: 32 hexadecimal digits; `None` when nothing of it is recorded."""

    def headers(self, call: int) -> Headers:
        """What this call sends along, so that its upstream can continue the trace. No line breaks."""


class Deadlines(NamedTuple):
    """How calls keep the deadline of their race. One per process.

    header: the name of the field that says to an upstream how much time is left; empty: there is none.
    min_call_ms: a call is not started, and its request is not sent, when less is left. At least 1, so no
    upstream ever receives 0 ms, which some take for "no limit".
    """

    header: bytes = b""
    min_call_ms: int = 1


NO_HEADER: Final = Deadlines()


class CallTimings:
    """The times of one call in one race.

    headers: those of the trace, see `headers_to_send`. ends_at: when the race ends, on the clock of `now`.
    time_left_ms: what the upstream was sent last; `None` if no request was sent, or none that said it.
    left: the tasks of the call that are alive although it has ended, each by its place in the code. Only a
    call through an asyncio library can leave one, see `fanout.upstream.asyncio_call`.
    """

    __slots__ = (
        "_ends_at",
        "_header",
        "_now",
        "_seen",
        "_until",
        "call",
        "headers",
        "left",
        "request_id",
        "time_left_ms",
    )

    def __init__(
        self,
        request_id: str,
        call: int,
        headers: Headers = (),
        now: Callable[[], float] = trio.current_time,
        ends_at: float = inf,
        deadlines: Deadlines = NO_HEADER,
    ) -> None:
        self.request_id = request_id
        self.call = call
        self.headers = headers
        self.left: tuple[str, ...] = ()
        self.time_left_ms: int | None = None
        self._now = now
        self._ends_at = ends_at
        self._header = deadlines[0]
        self._until = ends_at - deadlines[1] / 1000 + _ROUNDING_S
        self._seen: list[tuple[str, float]] = []

    def is_too_late(self) -> bool:
        """Whether less is left of the race than a call needs."""
        return self._now() > self._until

    def headers_to_send(self) -> Headers | None:
        """What to send to the upstream along with a request that is sent now. No line breaks.

        The last one is the deadline header, if there is one: the whole milliseconds until the race ends. So
        ask for it once per request, with no checkpoint before the request is sent. `None`: less is left than
        a call needs. Then send nothing, and return `TOO_LATE`.
        """
        now = self._now()
        if now > self._until:
            return None
        if not self._header or self._ends_at == inf:
            return self.headers
        self.time_left_ms = left_ms = int((self._ends_at - now + _ROUNDING_S) * 1000)
        return (*self.headers, (self._header, b"%d" % left_ms))

    def mark(self, name: str) -> None:
        """Note that something happens now. Must be called a bounded number of times per call."""
        self._seen.append((name, self._now()))

    @property
    def seen(self) -> tuple[tuple[str, float], ...]:
        """Every name so far, in order, and its time, in seconds of Trio's clock."""
        return tuple(self._seen)
