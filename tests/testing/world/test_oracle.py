"""The oracle, as a table: what a race may be answered."""

from __future__ import annotations

import ast
import inspect
import random
from collections.abc import Sequence
from math import inf, nextafter
from typing import Any

import pytest

from fanout.testing.world import oracle
from fanout.testing.world.oracle import CRASH, INSTANT_S, NEVER, TOO_LATE, CallEnd, Due, Span, at

ENDS = at(1.0)
NEEDS_S = 0.001


def allowed(ask: Any, calls: Sequence[CallEnd], arrived_at: float, ends: Span) -> list[Due]:
    """The answers that are allowed if a call needs a millisecond."""
    starts_by = Span(ends.earliest - NEEDS_S, ends.latest - NEEDS_S)
    return oracle.allowed(ask, calls, arrived_at, ends, starts_by)


def ok(when: float, tag: str = "") -> CallEnd:
    return CallEnd(at(when), None, 0, tag)


def bad(when: float, error: str = "broken") -> CallEnd:
    return CallEnd(at(when), error)


HANGS = CallEnd(NEVER, "hang")


def said(dues: list[Due]) -> set[tuple[str, float]]:
    """Each allowed answer as a word and its earliest time; payloads by their tags."""
    return {
        (due.reason or "+".join(str(call.tag) for call in due.calls), round(due.when.earliest, 6))
        for due in dues
    }


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ((ok(0.3, "a"), ok(0.5, "b")), {("a", 0.3)}),
        ((ok(0.5, "a"), ok(0.3, "b")), {("b", 0.3)}),
        ((bad(0.1), ok(0.3, "b")), {("b", 0.3)}),
        ((bad(0.1), bad(0.3)), {("no_success", 0.3)}),
        ((bad(0.1), HANGS), {("deadline", 1.0)}),
        ((HANGS, ok(2.0)), {("deadline", 1.0)}),
        ((ok(0.3, "a"), ok(0.3, "b")), {("a", 0.3), ("b", 0.3)}),
        ((ok(1.0, "a"), HANGS), {("a", 1.0), ("deadline", 1.0)}),
        ((bad(1.0), bad(0.1)), {("no_success", 1.0), ("deadline", 1.0)}),
        ((bad(0.2, CRASH), ok(0.3, "b")), {("internal", 0.2)}),
        ((ok(0.1, "a"), bad(0.2, CRASH)), {("a", 0.1), ("internal", 0.2)}),
    ],
)
def test_first(calls: tuple[CallEnd, ...], expected: set[tuple[str, float]]) -> None:
    """G4. The first success wins, a failure never does, and a tie allows either."""
    assert said(allowed("first", calls, 0.0, ENDS)) == expected


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ((ok(0.5, "a"), ok(0.3, "b")), {("a+b", 0.5)}),
        ((bad(0.5), ok(0.3, "b")), {("b", 0.5)}),
        ((bad(0.5), bad(0.3)), {("no_success", 0.5)}),
        ((ok(0.5), HANGS), {("deadline", 1.0)}),
        ((ok(0.5, "a"), ok(1.0, "b")), {("a+b", 1.0), ("deadline", 1.0)}),
        ((bad(0.2, CRASH), ok(0.3)), {("internal", 0.2)}),
    ],
)
def test_all(calls: tuple[CallEnd, ...], expected: set[tuple[str, float]]) -> None:
    """G5. Every success in call order, when the last call has ended; otherwise the deadline."""
    assert said(allowed("all", calls, 0.0, ENDS)) == expected


def test_without_time_there_is_only_the_deadline_and_at_once() -> None:
    """G2. A timeout within the reserve is over when the request comes."""
    assert said(allowed("first", (ok(5.0), ok(5.0)), 5.0, at(4.9))) == {("deadline", 5.0)}


def test_what_is_not_known_exactly_allows_both() -> None:
    late = CallEnd(Span(0.9, 1.1), None, 0, "a")
    assert said(allowed("first", (late, HANGS), 0.0, ENDS)) == {("a", 0.9), ("deadline", 1.0)}


def test_there_is_always_an_allowed_answer_and_none_is_after_the_deadline() -> None:
    """G1, G2. Whatever the calls do."""
    dice = random.Random(1)
    for _ in range(2000):
        calls = [
            dice.choice((ok, bad))(dice.choice((0.0, 0.5, 1.0, 2.0))) if dice.random() < 0.8 else HANGS
            for _ in range(dice.choice((2, 3)))
        ]
        dues = allowed(dice.choice(("first", "all")), calls, 0.0, ENDS)
        assert dues
        assert all(due.when.latest <= 1.0 for due in dues)


def test_the_oracle_knows_nothing_of_the_code_it_judges() -> None:
    """It is a second opinion: nothing of fanout's is imported."""
    tree = ast.parse(inspect.getsource(oracle))
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not any(module.startswith(("fanout", "trio")) for module in modules)


@pytest.mark.parametrize("moment", [0.0, 1.0, 5.5])
def test_an_instant_is_as_wide_as_the_rounding_of_sums(moment: float) -> None:
    """And so each limit is a closed one: what is a bit further off is another instant."""
    span = Span(moment, moment + 1)
    first, last = moment - INSTANT_S, moment + 1 + INSTANT_S
    assert (span.has(nextafter(first, -inf)), span.has(first), span.has(last)) == (False, True, True)
    assert not span.has(nextafter(last, inf))
    assert Span(moment + INSTANT_S, inf).may_be_by(moment)
    assert not Span(nextafter(moment + INSTANT_S, inf), inf).may_be_by(moment)
    assert Span(0.0, moment - INSTANT_S).may_be_after(moment)
    assert not Span(0.0, nextafter(moment - INSTANT_S, -inf)).may_be_after(moment)


def windows(dues: list[Due]) -> list[tuple[int, str, float, float]]:
    """Each allowed answer whole: status, reason, and from when to when it may begin."""
    return [(due.status, due.reason, due.when.earliest, due.when.latest) for due in dues]


SPREAD = CallEnd(Span(0.2, 0.4), None, 1, "a")
LATER = CallEnd(Span(0.3, 0.6), None, 2, "b")
WIDE = Span(0.5, 0.8)  # when the race ends
DEADLINE = (500, "deadline", 0.5, 0.5)


@pytest.mark.parametrize(
    ("ask", "calls", "race_ends", "expected"),
    [
        ("first", (ok(0.3), HANGS), at(1.0), [(200, "", 0.3, 0.3)]),
        ("first", (SPREAD, LATER), at(1.0), [(200, "", 0.2, 0.4), (200, "", 0.3, 0.4)]),
        ("first", (LATER, bad(0.1)), WIDE, [(200, "", 0.3, 0.6), (500, "deadline", 0.5, 0.8)]),
        ("first", (CallEnd(Span(0.3, 0.9)), HANGS), WIDE, [(200, "", 0.3, 0.8), (500, "deadline", 0.5, 0.8)]),
        ("first", (bad(0.1), bad(0.2)), at(1.0), [(500, "no_success", 0.2, 0.2)]),
        (
            "first",
            (bad(0.1), CallEnd(Span(0.2, 0.9), "broken")),
            at(0.5),
            [(500, "no_success", 0.2, 0.5), DEADLINE],
        ),
        ("all", (SPREAD, LATER), at(1.0), [(200, "", 0.3, 0.6)]),
        ("all", (SPREAD, LATER), at(0.5), [(200, "", 0.3, 0.5), DEADLINE]),
        ("all", (SPREAD, HANGS), at(0.5), [DEADLINE]),
        ("first", (bad(0.2, CRASH), HANGS), at(0.5), [(500, "internal", 0.2, 0.2)]),
        ("first", (CallEnd(Span(0.2, 0.9), CRASH), HANGS), at(0.5), [DEADLINE, (500, "internal", 0.2, 0.5)]),
        ("all", (CallEnd(Span(0.2, 0.9), CRASH), ok(0.3)), at(0.5), [DEADLINE, (500, "internal", 0.2, 0.5)]),
        ("first", (bad(0.6, CRASH), HANGS), at(0.5), [DEADLINE]),
        ("first", (bad(0.5, CRASH), HANGS), at(0.5), [DEADLINE, (500, "internal", 0.5, 0.5)]),
        ("first", (ok(0.2), bad(0.2, CRASH)), at(0.5), [(200, "", 0.2, 0.2), (500, "internal", 0.2, 0.2)]),
    ],
)
def test_from_when_to_when_each_answer_may_begin(
    ask: Any, calls: tuple[CallEnd, ...], race_ends: Span, expected: list[tuple[int, str, float, float]]
) -> None:
    assert windows(allowed(ask, calls, 0.0, race_ends)) == expected


def test_the_deadline_may_be_over_as_the_request_comes() -> None:
    """The loop may have stood still: then it may be the deadline from the first moment on."""
    assert windows(allowed("first", (ok(0.3), HANGS), 0.1, Span(0.1, 0.4))) == [
        (200, "", 0.3, 0.3),
        (500, "deadline", 0.1, 0.4),
        (500, "deadline", 0.1, 0.4),
    ]
    assert windows(allowed("first", (ok(0.3), HANGS), 0.1, Span(0.0, 0.1))) == [(500, "deadline", 0.1, 0.1)]
    assert windows(allowed("all", (bad(0.2), bad(0.2)), 0.1, Span(0.2, 0.4))) == [
        (500, "no_success", 0.2, 0.2),
        (500, "deadline", 0.2, 0.4),
    ]


LATE = bad(0.99, TOO_LATE)


@pytest.mark.parametrize(
    ("ask", "calls", "expected"),
    [
        ("first", (LATE, LATE), [(500, "deadline", 0.99, 0.99)]),
        ("first", (LATE, bad(0.2)), [(500, "deadline", 0.99, 0.99)]),
        ("first", (LATE, HANGS), [(500, "deadline", 1.0, 1.0)]),
        ("first", (LATE, ok(0.2)), [(200, "", 0.2, 0.2)]),
        ("first", (LATE, ok(0.995)), [(200, "", 0.995, 0.995)]),
        ("all", (LATE, ok(0.2)), [(500, "deadline", 0.99, 0.99)]),
        ("all", (LATE, ok(0.995)), [(500, "deadline", 0.995, 0.995)]),
        ("all", (LATE, HANGS), [(500, "deadline", 1.0, 1.0)]),
    ],
)
def test_a_call_that_was_not_sent_has_neither_failed_nor_succeeded(
    ask: Any, calls: tuple[CallEnd, ...], expected: list[tuple[int, str, float, float]]
) -> None:
    """It is the deadline that has stopped it, and nobody waits for the deadline when no call runs."""
    assert windows(allowed(ask, calls, 0.0, ENDS)) == expected


@pytest.mark.parametrize(
    ("arrived_at", "makes_calls"), [(0.998, True), (0.999, True), (0.9991, False), (1.5, False)]
)
def test_no_call_is_made_with_less_time_than_it_needs(arrived_at: float, makes_calls: bool) -> None:
    dues = allowed("first", (bad(arrived_at), bad(arrived_at)), arrived_at, ENDS)
    assert [due.reason for due in dues] == (["no_success"] if makes_calls else ["deadline"])
    assert dues[0].when == at(arrived_at)


@pytest.mark.parametrize(
    ("starts_by", "reasons", "reasons_after"),
    [
        (at(1.0), ["no_success"], ["deadline"]),
        (Span(1.0, 1.5), ["no_success"], ["no_success", "deadline"]),
    ],
)
def test_in_the_instant_in_which_the_time_for_a_call_ends_it_is_made(
    starts_by: Span, reasons: list[str], reasons_after: list[str]
) -> None:
    """And after it not; or perhaps not, if that is not known exactly."""
    last = 1.0 + INSTANT_S
    for arrived_at, expected in ((last, reasons), (nextafter(last, inf), reasons_after)):
        calls = bad(arrived_at), bad(arrived_at)
        dues = oracle.allowed("first", calls, arrived_at, at(2.0), starts_by)
        assert [due.reason for due in dues] == expected


def test_a_problem_tells_how_each_call_failed_and_an_answer_is_made_of_its_calls() -> None:
    (due,) = allowed("first", (bad(0.1), bad(0.2, "bad_payload")), 0.0, ENDS)
    assert (due.errors, due.calls) == (("broken", "bad_payload"), ())
    won, lost = ok(0.1, "a"), ok(0.3, "b")
    (due,) = allowed("first", (lost, won), 0.0, ENDS)
    assert (due.errors, due.calls) == ((), (won,))
    (due,) = allowed("all", (lost, bad(0.2), won), 0.0, ENDS)
    assert (due.errors, due.calls) == ((), (lost, won))
