"""What happened in a world, in order, as lines that are the same in every run of the same plan and seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import trio


@dataclass(frozen=True, slots=True)
class Happening:
    """at: seconds of virtual time. of: a request (`w7`), a call (`w7.0`) or a connection (`c3`)."""

    at: float
    what: str
    of: str
    more: str = ""


class Trace:
    """Keeps what it is told, or nothing at all when it is not `kept`: then it costs nothing to speak of."""

    def __init__(self, *, kept: bool) -> None:
        self.happenings: list[Happening] = []
        self._kept = kept

    def add(self, what: str, of: str, more: object = "") -> None:
        if self._kept:
            self.happenings.append(Happening(trio.current_time(), what, of, str(more)))

    def digest(self) -> str:
        """The same for the same happenings at the same times, in any process."""
        lines = (f"{h.at!r} {h.what} {h.of} {h.more}\n" for h in self.happenings)
        return hashlib.sha256("".join(lines).encode()).hexdigest()
