"""A schedule that fails: with the fewest deviations, and next to the most similar one that passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import combinations, takewhile
from typing import Final

import click

from fanout.testing.prove.choices import Deviation, NoSuchChoice, Schedule, extensions, text_of
from fanout.testing.prove.world import Proved, prove
from fanout.testing.world.plan import Plan
from fanout.testing.world.timeline import told
from fanout.testing.world.trace import Happening

_NEAR: Final = 8  # choices: so far away a deviation is looked for, or moved
_SIDE: Final = 46  # columns
_MARKS: Final = {"equal": " ", "delete": "<", "insert": ">", "replace": "|"}


def shrunk(plan: Plan, schedule: Schedule) -> Schedule:
    """With as few of its deviations as still break a guarantee.

    Without one of them the others may come at another choice: each is looked for near where it was.
    """
    for count in range(len(schedule)):
        for kept in combinations(schedule, count):
            for candidate in _shifted(kept):
                proved = _tried(plan, candidate)
                if proved is not None and proved.violations:
                    return candidate
    return schedule


def nearest_passing(plan: Plan, schedule: Schedule, failing: Proved) -> tuple[Schedule, Proved] | None:
    """The passing schedule next to this one whose run is the same as the failing one for the longest time.

    Next to it: without one deviation, or with one moved. If it has none: with one, as late as possible.
    """
    if not schedule:
        late_first = reversed(list(extensions((), failing.after)))
        tried = ((candidate, _tried(plan, candidate)) for candidate in late_first)
        return next(((each, proved) for each, proved in tried if proved and not proved.violations), None)
    best, most = None, -1
    for candidate in dict.fromkeys(_neighbours(schedule)):
        proved = _tried(plan, candidate)
        if proved is None or proved.violations:
            continue
        same = first_difference(failing, proved)
        if same > most:
            best, most = (candidate, proved), same
    return best


def first_difference(failing: Proved, passing: Proved) -> int:
    """How many happenings are the same in both, from the beginning."""
    pairs = zip(failing.trace.happenings, passing.trace.happenings, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _tried(plan: Plan, schedule: Schedule) -> Proved | None:
    """`None`: there is no such run."""
    try:
        return prove(plan, schedule)
    except NoSuchChoice:
        return None


def _shifted(schedule: Schedule) -> Iterator[Schedule]:
    """As it is, and then with all of it so many choices earlier or later: the nearest first."""
    yield schedule
    for by in range(1, _NEAR + 1):
        for shift in (-by, by):
            moved = tuple(replace(deviation, at=deviation.at + shift) for deviation in schedule)
            if moved and moved[0].at > 0:
                yield moved


def _neighbours(schedule: Schedule) -> Iterator[Schedule]:
    for place, deviation in enumerate(schedule):
        before, behind = schedule[:place], schedule[place + 1 :]
        yield before + behind
        for shift in (*range(-_NEAR, 0), *range(1, _NEAR + 1)):
            moved = Deviation(deviation.at + shift, deviation.take)
            first = before[-1].at if before else 0
            last = behind[0].at if behind else moved.at + 1
            if first < moved.at < last:
                yield (*before, moved, *behind)


# How it is shown.


def shown(name: str, plan: Plan, schedule: Schedule, failing: Proved) -> str:
    """The failing run next to the nearest passing one, and the command that repeats it."""
    return "\n".join(_lines(name, plan, schedule, failing))


def command(name: str, schedule: Schedule) -> str:
    return f"fanout prove --scenario {name} --schedule '{text_of(schedule)}'"


def _lines(name: str, plan: Plan, schedule: Schedule, failing: Proved) -> Iterator[str]:
    for violation in failing.violations:
        yield click.style(f"broken: {violation}", fg="red")
    if failing.ended is not None:
        for request in failing.ended.requests:
            yield told(request, failing.violations)
    nearest = nearest_passing(plan, schedule, failing)
    yield ""
    if nearest is None:
        yield f"{_named(schedule)} fails, and so does every schedule next to it:"
        for happening in failing.trace.happenings:
            yield line_of(happening)
    else:
        other, passing = nearest
        same = first_difference(failing, passing)
        yield f"{f'fails: {_named(schedule)}':{_SIDE}}   passes: {_named(other)}"
        yield from side_by_side(failing.trace.happenings, passing.trace.happenings)
        yield f"first difference: {_at(failing, same)} where it fails, {_at(passing, same)} where it passes"
    yield f"repeat it: {command(name, schedule)}"


def side_by_side(left: Sequence[Happening], right: Sequence[Happening]) -> Iterator[str]:
    """Both, in two columns: `<` and `>` mark what only one of them has, `|` what is different."""
    lines, others = [line_of(each) for each in left], [line_of(each) for each in right]
    for tag, begin, end, from_, to in SequenceMatcher(None, lines, others, autojunk=False).get_opcodes():
        for place in range(max(end - begin, to - from_)):
            mine = lines[begin + place] if begin + place < end else ""
            theirs = others[from_ + place] if from_ + place < to else ""
            mark = _MARKS[tag] if mine and theirs else "<" if mine else ">"
            yield f"{mine[:_SIDE]:{_SIDE}} {mark} {theirs[:_SIDE]}".rstrip()


def _named(schedule: Schedule) -> str:
    return text_of(schedule) or "no deviation"


def line_of(happening: Happening) -> str:
    return f"{happening.at * 1000:8.2f} ms  {happening.of:<6} {happening.what} {happening.more}".rstrip()


def _at(proved: Proved, place: int) -> str:
    happenings = proved.trace.happenings
    return " ".join(line_of(happenings[place]).split()) if place < len(happenings) else "the end"
