"""`docs/http.md` has its form: deviations first, each with its reason; each rule with a test that exists."""

from __future__ import annotations

import re

import pytest

from tests.project import witnesses_page
from tests.project.names import ROOT, is_there, named_in

SECTIONS = re.split(r"^## ", (ROOT / "docs/http.md").read_text("utf-8"), flags=re.MULTILINE)[1:]
COMPARED, SUITES_TITLE = "Compared with other parsers", "Public suites"
STANDARDS = [
    section for section in SECTIONS[1:] if section.partition("\n")[0] not in (COMPARED, SUITES_TITLE)
]
[SUITES] = [section for section in SECTIONS if section.startswith(SUITES_TITLE)]
_RULE = re.compile(
    r"^- \*\*((?:RFC \d+ )?)§((?:[A-Z]\.)?[\d.]+)\*\* (.*?)(?=^- |^## |\Z)", re.MULTILINE | re.DOTALL
)


def rules_of(section: str) -> list[tuple[str, tuple[int, ...], str]]:
    """Standard, if it is named with each rule; number; text."""
    return [
        (standard, tuple(int(part) if part.isdigit() else ord(part) for part in number.split(".")), text)
        for standard, number, text in _RULE.findall(section)
    ]


def title(section: str) -> str:
    return section.partition("\n")[0]


def test_deviations_are_first_and_each_has_its_reason() -> None:
    assert title(SECTIONS[0]) == "Deviations"
    rules = rules_of(SECTIONS[0])
    assert len(rules) == SECTIONS[0].count("\n- ") > 0
    assert [standard + text for standard, _, text in rules if not standard or "Reason: " not in text] == []
    assert [rule[:2] for rule in rules] == sorted(rule[:2] for rule in rules)


@pytest.mark.parametrize("section", STANDARDS, ids=title)
def test_every_rule_names_tests_that_exist(section: str) -> None:
    rules = rules_of(section)
    assert len(rules) == section.count("\n- ") > 0
    assert [number for _, number, _ in rules] == sorted({number for _, number, _ in rules})
    for _, number, text in rules:
        tests = [(path, name) for path, name in named_in(text) if name.startswith("test_")]
        assert tests, f"{title(section)} {number} names no test"
        assert [f"{path}::{name}" for path, name in tests if not is_there(path, name)] == []


_RESULT = re.compile(r"^\| (\w[\w ]*\w)[^|]*\| `[0-9a-f]{7}` \| ([\d,]+) \| ([\d,]+) \|", re.MULTILINE)
_EXPLAINED = re.compile(r"^- \*\*([\w ]+)\*\* \(([\d,]+) cases\): ", re.MULTILINE)


def number(text: str) -> int:
    return int(text.replace(",", ""))


def test_every_case_of_a_suite_that_does_not_pass_is_explained() -> None:
    results = {name: number(cases) - number(passed) for name, cases, passed in _RESULT.findall(SUITES)}
    assert len(results) == SUITES.count("\n| ") - 2 > 0
    explained = {name: number(cases) for name, cases in _EXPLAINED.findall(SUITES)}
    assert explained == {name: cases for name, cases in results.items() if cases}


def test_the_differences_from_other_parsers_are_those_of_the_tables() -> None:
    """`make documents` writes them from the tables that the fuzzing is held to."""
    text = witnesses_page.PAGE.read_text("utf-8")
    assert text == witnesses_page.shown(text)
    assert witnesses_page.marks(text) == ["http1", "http2"]
    [compared] = [section for section in SECTIONS if title(section) == COMPARED]
    tests = named_in(compared)
    assert [f"{path}::{name}" for path, name in tests if not is_there(path, name)] == []
    assert len(tests) == 5
