"""Each strategy is one handler and one verdict, short enough to be read at once."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import pytest

FOLDER: Final = Path(__file__).parents[3] / "examples/strategies"
MOST_LINES: Final = 40


@pytest.mark.parametrize("name", ["hedged", "quorum", "partial"])
def test_a_strategy_is_a_handler_and_a_verdict_of_at_most_40_lines(name: str) -> None:
    text = (FOLDER / f"{name}.py").read_text("utf-8")
    functions = [
        node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [function.name for function in functions] == [name, f"run_{name}"]
    lines = sum((function.end_lineno or 0) - function.lineno + 1 for function in functions)
    assert lines <= MOST_LINES
    assert not [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]


@pytest.mark.parametrize("name", ["hedged", "quorum", "partial"])
def test_the_handler_has_the_deadline_the_nursery_the_calls_and_the_answer_in_sight(name: str) -> None:
    """As `fanout.api.handlers.run_race`; and nothing else that could hold a task or a deadline."""
    handler = (FOLDER / f"{name}.py").read_text("utf-8").partition("\nasync def ")[2]
    for part in (
        "    with trio.move_on_at(race.budget.race_ends_at):  # the only deadline\n",
        "        async with trio.open_nursery() as nursery:  # no call outlives this block\n",
        "answer(race, trio.current_time(), with_receipt)  # a plain function over values: no await\n",
    ):
        assert handler.count(part) == 1, part
    assert handler.count("open_nursery") == handler.count("move_on_at") == 1


def test_no_strategy_needs_a_change_of_the_server() -> None:
    for path in FOLDER.glob("*.py"):
        imported = [
            node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)
        ]
        assert all("_" not in (alias.name[0]) for node in imported for alias in node.names)
