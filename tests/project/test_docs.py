"""Every document that repeats something of the code is held to it."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import fanout
from fanout.api.documentation.schemas import ERROR_WORDS
from fanout.api.handlers import run_race
from fanout.config import RENAMED, SETTINGS
from fanout.upstream import errors
from tests.project.names import file_of, is_there, named_in

pytestmark = pytest.mark.same_on_every_python

ROOT = Path(__file__).parents[2]
API = (ROOT / "docs/api.md").read_text()
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def test_the_proof_in_the_readme_is_the_code() -> None:
    """Who reads the README has read the handler."""
    assert f"```python\n{inspect.getsource(run_race)}```" in (ROOT / "README.md").read_text()


def reasons_in_code() -> set[tuple[int, str]]:
    """Status and reason of every problem that is spelled out in `fanout/server` and `fanout/api`."""
    found = set()
    for path in [*(ROOT / "fanout/server").rglob("*.py"), *(ROOT / "fanout/api").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Problem", "Rejection"):
                match node.args[:2]:
                    case [ast.Constant(int(status)), ast.Constant(str(reason))]:
                        found.add((status, reason))
    return found


def test_every_reason_is_documented_and_every_documented_one_exists() -> None:
    documented = {(int(s), r) for s, r in re.findall(r"^\| (\d{3}) \| `(\w+)` \|", API, re.MULTILINE)}
    assert len(documented) > 10
    assert documented == reasons_in_code()


def test_every_error_and_outcome_word_is_documented() -> None:
    assert set(errors.WORDS) < set(ERROR_WORDS)
    for word in (*ERROR_WORDS, "won", "ok", "failed", "cancelled"):
        assert re.search(rf"^\| `{word}` \|", API, re.MULTILINE), word


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_documents_name_only_settings_that_exist(path: Path) -> None:
    known = {setting.variable for setting in SETTINGS} | {"FANOUT_", *RENAMED}
    assert set(re.findall(r"(?<!_)FANOUT_[A-Z_]*", path.read_text())) <= known


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_documents_link_to_files_that_exist_and_have_no_gaps(path: Path) -> None:
    text = path.read_text()
    assert "{{" not in text
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (path.parent / target).exists(), target


def headings(text: str) -> set[str]:
    """The anchors of a document, as a forge makes them of its headings."""
    found = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_documents_link_to_headings_that_exist(path: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*\.md)?#([^)]+)\)", path.read_text()):
        linked = path.parent / target if target else path
        assert anchor in headings(linked.read_text()), f"{target}#{anchor}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_documents_name_only_tests_and_modules_that_exist(path: Path) -> None:
    for name in re.findall(
        r"`((?:fanout|tests|race|upstream|loop|server|observe|api|admin|process|tools|testing|benchmarks)/[\w./]+)`",
        path.read_text(),
    ):
        assert (ROOT / name).exists() or (ROOT / "fanout" / name).exists(), name


def test_the_defaults_in_the_api_document_are_the_settings() -> None:
    defaults = {setting.name: setting.default for setting in SETTINGS}
    assert f"from 1 to {defaults['max_timeout_ms']} (`FANOUT_MAX_TIMEOUT_MS`)" in API
    assert f"Without it, {defaults['default_timeout_ms']}" in API
    assert f"(`FANOUT_RESERVE_MS`, {defaults['reserve_ms']})" in API


def test_the_changelog_has_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert "Unreleased" in text or fanout.__version__ in text


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_documents_name_only_files_and_functions_that_exist(path: Path) -> None:
    named = named_in(path.read_text("utf-8"))
    assert [f"{file}::{name}" for file, name in named if not is_there(file, name)] == []


def test_every_pattern_names_a_function_and_quotes_the_code() -> None:
    sections = re.split(r"^#{2,3} ", (ROOT / "docs/patterns.md").read_text("utf-8"), flags=re.MULTILINE)[1:]
    patterns = [section for section in sections if len(section.splitlines()) > 2]
    assert len(patterns) > 30
    for pattern in patterns:
        files = [file_of(file) for file, name in named_in(pattern)]
        assert files, pattern
        code = [line.strip() for file in files if file for line in file.read_text("utf-8").splitlines()]
        for excerpt in re.findall(r"```python\n(.*?)```", pattern, re.DOTALL):
            lines = iter(code)
            assert [line for line in excerpt.splitlines() if line.strip() not in lines] == []


def test_the_glossary_has_each_term_once_in_order_with_a_place_in_the_code() -> None:
    tables = re.findall(
        r"^\| --- .*\n((?:\|.*\n)+)", (ROOT / "docs/glossary.md").read_text("utf-8"), re.MULTILINE
    )
    rows = [[[cell.strip() for cell in row.split(" | ")] for row in table.splitlines()] for table in tables]
    terms = [term for table in rows for term, _, _ in table]
    assert len(set(terms)) == len(terms) > 60
    for table in rows:
        words = [term.strip("|` ").casefold() for term, _, _ in table]
        assert words == sorted(words)
        assert all(meaning.endswith(".") and named_in(place) for _, meaning, place in table)
