"""The oracle of the strategies as a table, and that it can say no."""

from __future__ import annotations

import ast
import inspect
from math import inf
from typing import Any

import pytest

from fanout.testing.world.oracle import CRASH, TOO_LATE, CallEnd, Due, at
from tests.examples.strategies import oracle
from tests.examples.strategies.oracle import Rule, allowed, first, majority, what_is_there


def ok(when: float) -> CallEnd:
    return CallEnd(at(when), None, int(1000 * when))


def bad(when: float, error: str = "broken") -> CallEnd:
    return CallEnd(at(when), error)


HANGS = CallEnd(at(inf), "hang")


def said(dues: list[Due]) -> set[tuple[str, float]]:
    return {
        (due.reason or "+".join(str(c.time) for c in due.calls), round(due.when.latest, 6)) for due in dues
    }


@pytest.mark.parametrize(
    ("rule", "ends", "expected"),
    [
        (first, [ok(0.3), ok(0.5)], {("300", 0.3)}),
        (first, [bad(0.1), ok(0.5)], {("500", 0.5)}),
        (first, [bad(0.1), bad(0.5)], {("no_success", 0.5)}),
        (first, [bad(0.1), HANGS], {("deadline", 1.0)}),
        (first, [ok(1.0), HANGS], {("1000", 1.0), ("deadline", 1.0)}),
        (first, [ok(0.3), bad(0.3, CRASH)], {("300", 0.3), ("internal", 0.3)}),
        (majority, [ok(0.1), ok(0.2), HANGS], {("100+200", 0.2)}),
        (majority, [ok(0.2), HANGS, ok(0.1)], {("200+100", 0.2)}),
        (majority, [bad(0.1), bad(0.2), HANGS], {("no_success", 0.2)}),
        (majority, [bad(0.1), ok(0.2)], {("no_success", 0.1)}),
        (majority, [ok(0.1), ok(0.2), ok(0.2)], {("100+200", 0.2)}),
        (majority, [ok(0.1), HANGS, HANGS], {("deadline", 1.0)}),
        (what_is_there, [ok(0.2), ok(0.1)], {("200+100", 0.2)}),
        (what_is_there, [ok(0.2), HANGS], {("200", 1.0)}),
        (what_is_there, [bad(0.2), HANGS], {("deadline", 1.0)}),
        (what_is_there, [bad(0.2), bad(0.3)], {("no_success", 0.3)}),
        (what_is_there, [ok(0.2), ok(1.0)], {("200", 1.0), ("200+1000", 1.0)}),
        (what_is_there, [ok(0.1), bad(0.2, CRASH)], {("internal", 0.2)}),
    ],
)
def test_what_a_race_may_be_answered(
    rule: Rule, ends: list[CallEnd], expected: set[tuple[str, float]]
) -> None:
    assert said(allowed(rule, dict(enumerate(ends)), len(ends), 0.0, at(1.0), 0.0)) == expected


def test_the_time_can_be_over_from_the_start() -> None:
    assert said(allowed(first, {}, 2, 1.0, at(1.0), 0.0)) == {("deadline", 1.0)}


@pytest.mark.parametrize(
    ("rule", "ends", "expected"),
    [
        (first, [bad(0.3), bad(0.5, TOO_LATE)], {("deadline", 0.5)}),
        (first, [bad(0.3, TOO_LATE), ok(0.5)], {("500", 0.5)}),
        (first, [bad(0.95)], {("deadline", 0.95)}),  # too late for the second
        (first, [bad(0.5)], {("deadline", 1.0)}),  # a second that has not ended
        (first, [], {("deadline", 1.0)}),
        (majority, [ok(0.3), bad(0.5, TOO_LATE)], {("deadline", 0.5)}),
        (what_is_there, [ok(0.3), bad(0.5, TOO_LATE)], {("300", 0.5)}),
        (what_is_there, [bad(0.3), bad(0.5, TOO_LATE)], {("deadline", 0.5)}),
    ],
)
def test_a_race_is_over_at_once_when_no_call_runs_and_none_can_start(
    rule: Rule, ends: list[CallEnd], expected: set[tuple[str, float]]
) -> None:
    assert said(allowed(rule, dict(enumerate(ends)), 2, 0.0, at(1.0), 0.1)) == expected


def test_the_time_can_be_too_short_for_a_call() -> None:
    assert said(allowed(first, {}, 2, 0.95, at(1.0), 0.1)) == {("deadline", 0.95)}


def test_the_oracle_knows_nothing_of_the_code_it_judges() -> None:
    imported = [
        node for node in ast.walk(ast.parse(inspect.getsource(oracle))) if isinstance(node, ast.ImportFrom)
    ]
    modules: set[Any] = {node.module for node in imported}
    assert {module for module in modules if module.startswith(("fanout", "examples"))} == {
        "fanout.testing.world.facts",
        "fanout.testing.world.oracle",
    }
