"""What a call is told of its request, and what it tells of itself while it runs.

What the marks mean is between the call and those who read its record: a call over HTTP marks the phases
of `fanout.upstream.phases`.
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


class Marks:
    """One call's part in one race.

    headers: to be sent to the upstream with this call.
    """

    __slots__ = ("_now", "_seen", "call", "headers", "request_id")

    def __init__(
        self, request_id: str, call: int, headers: Headers = (), now: Callable[[], float] = trio.current_time
    ) -> None:
        self.request_id = request_id
        self.call = call
        self.headers = headers
        self._now = now
        self._seen: list[tuple[str, float]] = []

    def mark(self, name: str) -> None:
        """Something has happened, now. Must be called a bounded number of times a call."""
        self._seen.append((name, self._now()))

    @property
    def seen(self) -> tuple[tuple[str, float], ...]:
        """Every mark so far, in order: its name, and when it was made, in Trio clock seconds."""
        return tuple(self._seen)
