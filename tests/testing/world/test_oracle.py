"""The oracle, as a table: what a race may be answered."""

from __future__ import annotations

import ast
import inspect
import random

import pytest

from fanout.testing.world import oracle
from fanout.testing.world.oracle import CRASH, NEVER, CallEnd, Due, Span, allowed, at

ENDS = at(1.0)


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
