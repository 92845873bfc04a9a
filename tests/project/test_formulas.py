"""The formulas in docs/guarantees.md are those that are evaluated, and the page says what breaks each."""

from __future__ import annotations

import re

import pytest

from fanout.testing.monitor.formulas import FORMULAS
from fanout.testing.monitor.monitor import all_clauses
from tests.project.figures import DOCUMENT
from tests.project.formulas import marks, shown
from tests.testing.monitor.__main__ import all_breakages
from tests.testing.monitor.seen import SEEN

pytestmark = pytest.mark.same_on_every_python

TEXT = DOCUMENT.read_text("utf-8")


def test_the_page_has_the_very_texts_that_are_evaluated() -> None:
    """Red after a formula was changed: `make documents` writes them."""
    assert sorted(marks(TEXT)) == sorted([*FORMULAS, "definitions", "breakages"])
    assert shown(TEXT) == TEXT


@pytest.mark.parametrize("guarantee", FORMULAS)
def test_each_formula_stands_in_the_section_of_its_guarantee(guarantee: str) -> None:
    section = TEXT.partition(f"\n### {guarantee} ")[2].partition("\n### ")[0]
    assert marks(section) == [guarantee]
    assert FORMULAS[guarantee].strip() in section


def test_every_formula_is_broken_by_a_breakage() -> None:
    """`make formulas` sees each of them broken by these."""
    assert set(SEEN) == set(all_breakages())
    assert {guarantee for broken in SEEN.values() for guarantee in broken} == set(FORMULAS)


def test_the_page_says_what_every_field_of_a_formula_means() -> None:
    table = TEXT.partition("*What a trace says.*")[2].partition("*What breaks them.*")[0]
    known = set(re.findall(r"`(\w+)`", table))
    read = {(clause.kind, field) for _, clause in all_clauses() for _, field in clause.read}
    plain = {field for kind, field in read if kind in ("run", "request")} - {"id"}
    assert plain - known == set()
