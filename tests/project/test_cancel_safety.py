"""docs/cancel-safety.md has every public async function, and a test for each of its three moments."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.project.names import is_there, named_in

pytestmark = pytest.mark.same_on_every_python

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "docs/cancel-safety.md").read_text("utf-8")
SECTIONS: Final = re.findall(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)
# Suites for pytest: what they say of a cancelled call is the call's own.
NO_CALLS: Final = {"conformance.py"}


def async_functions(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from async_functions(node.body, f"{node.name}.")
        elif isinstance(node, ast.AsyncFunctionDef) and not node.name.removeprefix("__").startswith("_"):
            yield prefix + node.name


def test_every_public_async_function_of_the_client_and_of_the_kit_is_there() -> None:
    public = {
        f"{path.parent.name}/{path.name}::{name}"
        for folder in ("upstream", "testing")
        for path in (ROOT / "fanout" / folder).glob("*.py")
        if path.name not in NO_CALLS
        for name in async_functions(ast.parse(path.read_text("utf-8")).body)
    }
    assert len(public) > 20
    named = {f"{path}::{name}" for path, name in named_in(TEXT)}
    assert sorted(public - named) == []


@pytest.mark.parametrize(("title", "section"), SECTIONS, ids=[title for title, _ in SECTIONS])
def test_each_call_has_three_moments_and_a_test_for_each(title: str, section: str) -> None:
    rows = [row.split(" | ") for row in re.findall(r"^\| (\w+ \| .+) \|$", section, re.MULTILINE)[1:]]
    assert [when for when, _, _ in rows] == ["before", "in", "after"]
    for _, what, tests in rows:
        assert what.endswith(".")
        held_by = named_in(tests)
        assert held_by
        assert [f"{path}::{name}" for path, name in held_by if not is_there(path, name)] == []
        assert all(path.startswith("tests/") and name.startswith("test_") for path, name in held_by)
