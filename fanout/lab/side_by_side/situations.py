"""The situations that every variant is put in, as values. The right outcome and its time follow from them.

Each has two calls and one deadline, and one thing that goes wrong. In one of them the client disconnects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

Habit = Literal["", "swallows", "raises", "waits", "waits unshielded"]
"""What a call does when it is cancelled. "": it ends. swallows: it tries once more, like a retry loop with a
bare `except`. raises: its clean-up has a bug. waits: its clean-up takes 400 ms, behind its library's shield.
waits unshielded: the same with a plain `await`."""

CLEAN_UP_MS: Final = 400


@dataclass(frozen=True, slots=True)
class Script:
    """What one call does. after_ms: when it ends by itself; `None`: never."""

    after_ms: float | None
    fails: bool = False
    habit: Habit = ""

    @property
    def payload(self) -> dict[str, Any]:
        """In the form of the upstream's own: how long the call took."""
        return {"time": self.after_ms}


@dataclass(frozen=True, slots=True)
class Right:
    """The right outcome. answer: the value, or `None` for an error. due_ms: when nothing is lost or late."""

    answer: Any
    due_ms: float
    is_cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Situation:
    """text: one sentence. disconnect_ms: when the client disconnects, `None` for never."""

    name: str
    text: str
    calls: tuple[Script, ...]
    timeout_ms: int = 1000
    disconnect_ms: float | None = None

    def right(self, endpoint: str) -> Right:
        """By the guarantees G4, G5 and G6, from the scripts alone, without running a variant."""
        ends = [call.after_ms for call in self.calls]
        in_time = [end for end in ends if end is not None and end < self.timeout_ms]
        successes = [call for call in self.calls if call.after_ms in in_time and not call.fails]
        if self.disconnect_ms is not None:
            return Right(None, self.disconnect_ms, is_cancelled=True)
        if endpoint == "first" and successes:
            winner = min(successes, key=lambda call: call.after_ms or 0)
            return Right(winner.payload, winner.after_ms or 0)
        if len(in_time) < len(ends):
            return Right(None, self.timeout_ms)
        return Right([call.payload for call in successes] or None, max(in_time))

    @property
    def has_bug(self) -> bool:
        return any(call.habit == "raises" for call in self.calls)


_ANSWERS: Final = Script(50)
_HANGS: Final = Script(None)
_MS: Final = 300

SITUATIONS: Final = (
    Situation(
        "fast failure",
        "One call fails after 20 ms; the other answers after 150 ms.",
        (Script(20, fails=True), Script(150)),
    ),
    Situation("slow loser", "One call answers after 50 ms, the other after 700 ms.", (_ANSWERS, Script(700))),
    Situation("one hangs", "One call answers after 50 ms, the other never.", (_ANSWERS, _HANGS), _MS),
    Situation("both hang", "No call ever answers.", (_HANGS, _HANGS), _MS),
    Situation("both fail", "Both calls fail.", (Script(20, fails=True), Script(30, fails=True))),
    Situation(
        "disconnect",
        "Both calls hang, and the client disconnects after 100 ms.",
        (_HANGS, _HANGS),
        disconnect_ms=100,
    ),
    Situation(
        "swallowed",
        "The call that hangs swallows its first cancellation and tries again.",
        (_ANSWERS, Script(None, habit="swallows")),
        _MS,
    ),
    Situation(
        "clean-up raises",
        "The call that hangs has a bug in its clean-up.",
        (_ANSWERS, Script(None, habit="raises")),
        _MS,
    ),
    Situation(
        "clean-up waits",
        "The call that hangs has a clean-up that waits for 400 ms, shielded.",
        (_ANSWERS, Script(None, habit="waits")),
        _MS,
    ),
    Situation(
        "unshielded",
        "The same clean-up, with a plain await.",
        (_ANSWERS, Script(None, habit="waits unshielded")),
        _MS,
    ),
)
BY_NAME: Final = {situation.name: situation for situation in SITUATIONS}
