"""How one upstream call can end. Expected failures are data; bugs are a `Crash`.

Each outcome has one word, and everything that shows what became of a call uses these, see
`fanout.race.verdict.word_of`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final


@dataclass(frozen=True, slots=True)
class Success:
    """The upstream answered as promised.

    payload: the answer, byte for byte. The core never looks inside.
    """

    word: ClassVar[str] = "ok"
    payload: bytes


@dataclass(frozen=True, slots=True)
class Failure:
    """The upstream did not answer as promised: the world's fault, never ours.

    error: one stable word, see `fanout.upstream.errors`.
    status: the upstream's HTTP status, if a head was read.
    """

    word: ClassVar[str] = "failed"
    error: str
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The call was stopped before it could answer, or was never started.

    source: who cancelled, in Trio's words: `deadline`, `explicit`, `nursery`, `shutdown`, …
    reason: why, in a sentence, if the canceller said so.
    """

    word: ClassVar[str] = "cancelled"
    source: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Crash:
    """An unexpected exception: a bug. It fails the whole request and is reported where it happened (G11)."""

    word: ClassVar[str] = "internal"
    exception: BaseException


@dataclass(frozen=True, slots=True)
class NotStarted:
    """The strategy did not want the call: `Race.leave_out`. The verdict does not wait for it.

    reason: why, in a sentence.
    """

    word: ClassVar[str] = "not_started"
    reason: str


Outcome = Success | Failure | Cancelled | Crash | NotStarted

TOO_LATE: Final = Cancelled("deadline", "less time was left than a call needs")  # so nothing was sent

WON: Final = "won"  # of a success, when it is the answer: only the end of the race can tell
NOT_STARTED: Final = NotStarted.word  # also: its time was over, or the race was, before it could begin
SUCCESSES: Final = frozenset({WON, Success.word})
