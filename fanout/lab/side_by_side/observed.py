"""The observation of one variant in one situation, and the verdict that follows from it.

Rule 1: no verdict without a count or a time: all of them are read from here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from fanout.lab.side_by_side.cells import Cell, Verdict
from fanout.lab.side_by_side.situations import Situation
from fanout.lab.timeline import End, Lane

LOOK_AFTER_MS: Final = 50  # the second look at what is left: by now a cancelled task has ended, if it ends


@dataclass(slots=True)
class CallSeen:
    """One call. Times are milliseconds since the request; `None`: not within the time of observation.

    is_left: it still ran when the answer was given. clean_up_cut: its clean-up was ended before it was done.
    """

    began_ms: float | None = None
    ended_ms: float | None = None
    end: End = "left"
    is_left: bool = False
    clean_up_began_ms: float | None = None
    clean_up_ended_ms: float | None = None
    clean_up_cut: bool = False


@dataclass(slots=True)
class Observed:
    """One variant in one situation.

    answered_ms: when its function ended, `None` if it did not. value: what it returned. errors: the names of
    what it raised instead, groups opened; said: what these say. is_cancelled: it ended as cancelled.
    bugs_raised, bugs_logged: how often the bug of the clean-up came to light.
    waits_at, left_from, raised_at: lines of the variant: where it waited when its answer was due, or when a
    clean-up ended badly; where it created the task that was left; where the error came from.
    """

    answered_ms: float | None = None
    value: Any = None
    errors: list[str] = field(default_factory=list)
    said: str = ""
    is_cancelled: bool = False
    tasks_at_0_ms: int = 0
    tasks_at_50_ms: int = 0
    bugs_raised: int = 0
    bugs_logged: int = 0
    calls: list[CallSeen] = field(default_factory=list)
    waits_at: int | None = None
    left_from: int | None = None
    raised_at: int | None = None

    def answer_given(self, at_ms: float) -> None:
        self.answered_ms = at_ms
        for call in self.calls:
            call.is_left = call.began_ms is not None and call.ended_ms is None

    @classmethod
    def from_json(cls, observed: Any) -> Observed:
        return cls(**{**observed, "calls": [CallSeen(**call) for call in observed["calls"]]})


def cell_of(observed: Observed, variant: str, situation: Situation, endpoint: str, source: str) -> Cell:
    """The verdict, in words and numbers, and what opens under it."""
    right = situation.right(endpoint)
    problems = list(_problems(observed, situation, endpoint))
    verdict: Verdict = "kept"
    if problems:
        verdict = "late" if all(text.startswith("+") for text, _ in problems) else "broken"
    clean_ups = [call for call in observed.calls if call.clean_up_began_ms is not None]
    cut = sum(call.clean_up_cut for call in clean_ups)
    left = sum(_clean_up_is_left(call, observed) for call in clean_ups)
    counts = {
        "tasks_at_0_ms": observed.tasks_at_0_ms,
        "tasks_at_50_ms": observed.tasks_at_50_ms,
        "clean_ups_done": len(clean_ups) - cut - left,
        "clean_ups_cut": cut,
        "clean_ups_left": left,
    }
    if situation.has_bug:
        counts |= {"bugs_raised": observed.bugs_raised, "bugs_logged": observed.bugs_logged}
    return Cell(
        variant=variant,
        verdict=verdict,
        text=", ".join(text for text, _ in problems) or "ok",
        answered_ms=observed.answered_ms,
        due_ms=right.due_ms,
        counts=counts,
        source=source,
        leak=next((line for _, line in problems if line is not None), None),
        timeline=tuple(_lanes(observed, situation, endpoint)),
    )


def _problems(observed: Observed, situation: Situation, endpoint: str) -> Iterator[tuple[str, int | None]]:
    """Each as its words and the line to look at, the worst first."""
    due_ms = situation.right(endpoint).due_ms
    if observed.answered_ms is None:
        yield "never", observed.waits_at
        return
    if not _is_right(observed, situation, endpoint):
        yield "sys.exit" if SystemExit.__name__ in observed.errors else "wrong", observed.raised_at
    had_bug = any(call.end == "bug" for call in observed.calls)
    if had_bug and not observed.bugs_raised + observed.bugs_logged:
        yield "bug lost", observed.waits_at
    left = max(observed.tasks_at_0_ms, observed.tasks_at_50_ms)
    if left:
        when = "" if observed.tasks_at_50_ms else " at 0 ms"
        yield f"{left} left{when}", observed.left_from or observed.waits_at
    if any(call.clean_up_cut for call in observed.calls):
        yield "cut", observed.waits_at
    if observed.answered_ms > due_ms:
        yield f"+{observed.answered_ms - due_ms:.0f} ms", observed.waits_at


def _is_right(observed: Observed, situation: Situation, endpoint: str) -> bool:
    right = situation.right(endpoint)
    if SystemExit.__name__ in observed.errors:  # no answer at all: the server would end
        return False
    if right.is_cancelled:
        return observed.is_cancelled
    if observed.is_cancelled:
        return False
    if right.answer is None:  # an error, but not while a call could still succeed (G4)
        return (
            bool(observed.errors)
            and observed.answered_ms is not None
            and observed.answered_ms >= right.due_ms
        )
    if observed.errors:  # a bug may outrank the answer, if it is reported (G11)
        return situation.has_bug and bool(observed.bugs_raised + observed.bugs_logged)
    return bool(observed.value == right.answer)


def _clean_up_is_left(call: CallSeen, observed: Observed) -> bool:
    if observed.answered_ms is None or call.clean_up_cut:
        return False
    return call.clean_up_ended_ms is None or call.clean_up_ended_ms > observed.answered_ms


def _lanes(observed: Observed, situation: Situation, endpoint: str) -> Iterator[Lane]:
    due_ms = situation.right(endpoint).due_ms
    answered_ms = observed.answered_ms
    last_ms = due_ms if answered_ms is None else answered_ms
    shown_ms = last_ms + LOOK_AFTER_MS
    if answered_ms is None:
        yield Lane("answer", 0, shown_ms, "left", f"due at {due_ms:g} ms, never given")
    else:
        end: End = "cancelled" if observed.is_cancelled else "failure" if observed.errors else "success"
        is_right = _is_right(observed, situation, endpoint)
        returned = "" if is_right or observed.is_cancelled else f"returned {observed.value!r}, "
        said = f"{observed.said}, " if observed.said else returned
        yield Lane("answer", 0, answered_ms, end, f"{said}due at {due_ms:g} ms")
    for index, call in enumerate(observed.calls):
        if call.began_ms is None:
            continue
        if call.ended_ms is None:
            yield Lane(f"call {index}", call.began_ms, shown_ms, "left", "never ended")
        elif call.is_left:
            note = f"after the answer, at {call.ended_ms:g} ms: {call.end}"
            yield Lane(f"call {index}", call.began_ms, min(shown_ms, call.ended_ms), "left", note)
        else:
            yield Lane(f"call {index}", call.began_ms, call.ended_ms, call.end)
        if call.clean_up_began_ms is not None:
            yield _clean_up_lane(index, call, shown_ms, last_ms)


def _clean_up_lane(index: int, call: CallSeen, shown_ms: float, last_ms: float) -> Lane:
    assert call.clean_up_began_ms is not None
    name = f"its clean-up {index}"
    ended_ms = call.clean_up_ended_ms
    if call.clean_up_cut and ended_ms is not None:
        return Lane(name, call.clean_up_began_ms, ended_ms, "cut")
    if ended_ms is not None and ended_ms <= last_ms:
        return Lane(name, call.clean_up_began_ms, ended_ms, "done")
    note = "never done" if ended_ms is None else f"done at {ended_ms:g} ms"
    return Lane(name, call.clean_up_began_ms, min(shown_ms, ended_ms or shown_ms), "left", note)
