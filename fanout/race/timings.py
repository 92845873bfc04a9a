"""What a call knows of its request, and the times that it notes while it runs.

The names of the times are the call's own: a call over HTTP notes the phases of `upstream/phases`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio

Headers = tuple[tuple[bytes, bytes], ...]  # names and values, as ASGI has them


class Trace(Protocol):
    """The trace that a request is part of, as far as anybody but the tracer needs to know it."""

    @property
    def trace_id(self) -> str | None:
        """W3C: 32 hexadecimal digits; `None` when nothing of it is recorded."""

    def headers(self, call: int) -> Headers:
        """What this call sends along, so that its upstream can continue the trace. No line breaks."""


class CallTimings:
    """The times of one call in one race. headers: to be sent to the upstream with this call.

    left: the tasks of the call that are alive although it has ended, each by its place in the code. Only a
    call through an asyncio library can leave one, see `fanout.upstream.asyncio_call`.
    """

    __slots__ = ("_now", "_seen", "call", "headers", "left", "request_id")

    def __init__(
        self, request_id: str, call: int, headers: Headers = (), now: Callable[[], float] = trio.current_time
    ) -> None:
        self.request_id = request_id
        self.call = call
        self.headers = headers
        self.left: tuple[str, ...] = ()
        self._now = now
        self._seen: list[tuple[str, float]] = []

    def mark(self, name: str) -> None:
        """Note that something happens now. Must be called a bounded number of times per call."""
        self._seen.append((name, self._now()))

    @property
    def seen(self) -> tuple[tuple[str, float], ...]:
        """Every name so far, in order, and its time, in seconds of Trio's clock."""
        return tuple(self._seen)
