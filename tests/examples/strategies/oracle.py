"""The oracle of the strategies: from what upstreams and the client did, to what may be answered, and when.

It was written from the sentences in docs/extending.md, and knows nothing of the code that it judges: of the
product it imports nothing, and of the simulation only the values that its own oracle uses. A race is played
as a sequence of events. Of events in one instant every order is played, and every result is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, permutations
from math import inf

from fanout.testing.world.facts import RequestFacts
from fanout.testing.world.oracle import CRASH, INSTANT_S, TOO_LATE, CallEnd, Due, Span, at

DEADLINE = "the deadline"


@dataclass(slots=True)
class Race:
    """What has happened so far. calls: how many the strategy can make at most."""

    calls: int
    succeeded: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    too_late: list[int] = field(default_factory=list)  # there was too little time to send them
    is_over: bool = False  # its time


Rule = Callable[[Race], Sequence[int] | str | None]
"""The calls whose payloads are the answer, in order, or the reason of a problem; `None`: the race goes on."""


def majority(race: Race) -> Sequence[int] | str | None:
    """quorum: more than half must succeed."""
    if 2 * len(race.succeeded) > race.calls:
        return sorted(race.succeeded)
    if 2 * (race.calls - len(race.failed)) <= race.calls:
        return "no_success"
    return "deadline" if race.is_over else None


def what_is_there(race: Race) -> Sequence[int] | str | None:
    """partial: when all have ended, or the time is over."""
    if len(race.succeeded) + len(race.failed) == race.calls or race.is_over:
        if race.succeeded:
            return sorted(race.succeeded)
        return "deadline" if len(race.failed) < race.calls else "no_success"
    return None


def first(race: Race) -> Sequence[int] | str | None:
    """hedged, of the calls that were made."""
    if race.succeeded:
        return race.succeeded[:1]
    if len(race.failed) == race.calls:
        return "no_success"
    return "deadline" if race.is_over else None


def allowed(
    rule: Rule, ends: dict[int, CallEnd], calls: int, arrived_at: float, race_ends: Span, needs_s: float
) -> list[Due]:
    """ends: of the calls that were made, each at one instant. The answers that the request may have.

    calls: how many there are at most. needs_s: the time that a call needs. With less left none is started, so
    a race of which no call runs is then over.
    """
    over_at = race_ends.latest
    starts_by = over_at - needs_s
    if starts_by + INSTANT_S < arrived_at or over_at <= arrived_at:
        return [Due(500, "deadline", at(arrived_at))]
    events: list[tuple[float, int | str]] = [(end.when.latest, call) for call, end in ends.items()]
    orders = list(_orders([*events, (over_at, DEADLINE)]))
    dues = [_played(rule, order, ends, calls, starts_by) for order in orders]
    if starts_by - INSTANT_S < arrived_at:  # in that instant, it is too late or not
        dues.append(Due(500, "deadline", at(arrived_at)))
    return list(dict.fromkeys(dues))


def _orders(events: Sequence[tuple[float, int | str]]) -> Iterator[Sequence[tuple[float, int | str]]]:
    for order in permutations(events):
        if all(a[0] <= b[0] + INSTANT_S for a, b in pairwise(order)):
            yield order


def _played(
    rule: Rule,
    order: Sequence[tuple[float, int | str]],
    ends: dict[int, CallEnd],
    calls: int,
    starts_by: float,
) -> Due:
    race = Race(calls)
    running = set(ends)
    for moment, what in order:
        if isinstance(what, str):
            race.is_over = True
        else:
            running.discard(what)
            error = ends[what].error
            if error == CRASH:
                return Due(500, "internal", at(moment))
            {None: race.succeeded, TOO_LATE: race.too_late}.get(error, race.failed).append(what)
        said = rule(race)
        if said is None and not running and (len(ends) == calls or moment > starts_by - INSTANT_S):
            race.is_over = True
            said = rule(race)
        if isinstance(said, str):
            return Due(500, said, at(moment))
        if said is not None:
            return Due(200, "", at(moment), tuple(ends[call] for call in said))
    raise AssertionError("a race ends at the latest with its time")


# --- when calls must be started


def wrong_starts_at_once(request: RequestFacts, over_at: float) -> Iterator[str]:
    """quorum and partial make every call when the request comes."""
    began_at = request.entered_at
    assert began_at is not None
    if over_at <= began_at + INSTANT_S:
        return  # in that instant some may have been started
    if sorted(request.calls) != list(range(len(request.script.calls))):
        yield f"it made the calls {sorted(request.calls)}"
    for call in request.calls.values():
        if abs(call.started_at - began_at) > INSTANT_S:
            yield f"call {call.index} was started at {call.started_at}, the request came at {began_at}"


def wrong_hedges(request: RequestFacts, over_at: float, delay_s: float, *, must: bool) -> Iterator[str]:
    """hedged makes the next call after the delay, or at once when a call has failed, if the race goes on.

    over_at: when the time of its calls is over, or the client has left. must: the budget allows every call.
    """
    began_at, made = request.entered_at, request.calls
    assert began_at is not None
    if sorted(made) != list(range(len(made))):
        yield f"it made the calls {sorted(made)}"
        return
    ended = [(call.ended_at or inf, call.outcome) for call in made.values()]
    over_at = min([over_at, *(when for when, outcome in ended if outcome in ("success", "crashed"))])
    failures = [when for when, outcome in ended if outcome not in ("success", "crashed", "cancelled")]
    due = {began_at}
    for index in range(len(request.script.calls)):
        if index > 0:
            due = _due(made[index - 1].started_at, delay_s, failures)
        if index not in made:
            if (index == 0 or must) and max(due) < over_at - INSTANT_S:
                yield f"call {index} was due at {max(due)}, and was not started; the race ended at {over_at}"
            return
        started_at = made[index].started_at
        on_time = any(abs(started_at - at) <= INSTANT_S for at in due)
        may_wait = index > 0 and not must and started_at > min(due)  # until there is enough for it
        if not (on_time or may_wait):
            yield f"call {index} was started at {started_at}, and was due at {due}"
        if started_at > over_at + INSTANT_S:
            yield f"call {index} was started at {started_at}, and the race ended at {over_at}"


def _due(since: float, delay_s: float, failures: Sequence[float]) -> set[float]:
    """When the call after one that was started at `since` may be started.

    A failure in that very instant may have started that one, or be what starts the next.
    """
    later = [when for when in failures if when > since + INSTANT_S]
    due = {min([since + delay_s, *later])}
    if any(abs(when - since) <= INSTANT_S for when in failures):
        due.add(since)
    return due
