"""Each rule of a linter or of the type checker that is switched off on a line has its reason there."""

from __future__ import annotations

import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITH_REASON = {
    "noqa": re.compile(r"# noqa: [A-Z0-9, ]+ - \S"),
    "type: ignore": re.compile(r"# type: ignore\[[a-z, -]+\] +# ?\S"),
}

pytestmark = pytest.mark.same_on_every_python


def without_reason(source: str) -> Iterator[int]:
    """The lines on which a comment switches a rule off, and does not say why."""
    if not any(f"# {mark}" in source for mark in WITH_REASON):
        return  # most files; it takes long to find the comments in all of them
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            for mark, expected in WITH_REASON.items():
                if f"# {mark}" in token.string and not expected.search(token.string):
                    yield token.start[0]


def test_each_has_its_reason_on_its_line() -> None:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = listed.stdout.split()
    assert len(files) > 500
    found = [f"{file}:{line}" for file in files for line in without_reason((ROOT / file).read_text("utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    ("comment", "is_found"),
    [
        ("# noqa", True),
        ("# noqa: S104", True),
        ("# noqa: S104  # not a bind", True),
        ("# noqa: S104 - not a bind", False),
        ("# type: ignore", True),
        ("# type: ignore[misc]", True),
        ("# type: ignore[misc]  # it is there for this", False),
    ],
)
def test_one_without_a_reason_is_found(comment: str, is_found: bool) -> None:
    assert list(without_reason(f"one = 1\ntwo = 2  {comment}\n")) == ([2] if is_found else [])
