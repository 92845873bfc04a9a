"""docs/guarantees.md is held to the code: guarantees, tests, commands, bounds and figures."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pkgutil import resolve_name
from typing import Final

import click
import pytest

from fanout.cli import cli
from fanout.config import SETTINGS
from fanout.lab.experiments import EXPERIMENTS
from tests.project.figures import DOCUMENT, ROOT

pytestmark = pytest.mark.same_on_every_python

TEXT: Final = DOCUMENT.read_text("utf-8")
GUARANTEES: Final = {
    "G1": "one answer",
    "G2": "on time",
    "G3": "nothing outlives",
    "G4": "first success",
    "G5": "all",
    "G6": "disconnect",
    "G7": "the pool stays whole",
    "G8": "overload is shed, not queued",
    "G9": "graceful shutdown",
    "G10": "bulkhead",
    "G11": "bugs are loud",
    "G12": "no threads",
}
SECTIONS: Final = dict(re.findall(r"^### (G\d+) [^\n]*\n(.*?)(?=^##)", TEXT, re.MULTILINE | re.DOTALL))
NAMED_TEST: Final = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_RANGE: Final = re.compile(r"G(\d+)(?:–| to )G(\d+)")


@cache
def functions_in(path: str) -> dict[str, str]:
    """Name to source of each test function in a file; the file's docstring counts for every one of them."""
    source = (ROOT / path).read_text("utf-8")
    lines, tree = source.splitlines(), ast.parse(source)
    about = ast.get_docstring(tree) or ""
    return {
        node.name: "\n".join([about, *lines[node.lineno - 1 : node.end_lineno]])
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def guarantees_in(text: str) -> set[str]:
    """The ids in a text; `G1–G4` are four."""
    ids = set(re.findall(r"\bG\d+\b", text))
    for first, last in _RANGE.findall(text):
        ids |= {f"G{number}" for number in range(int(first), int(last) + 1)}
    return ids


def commands() -> Iterator[list[str]]:
    """Every command of the document, as words: those of its consoles and those within its text."""
    lines = re.findall(r"^\$ (.+)$", TEXT, re.MULTILINE)
    lines += re.findall(r"`((?:make|fanout|python) [^`]+)`", TEXT)
    for line in lines:
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        command: list[str] = []
        for word in [*words, "|"]:
            if set(word) <= set("|&;<>()"):
                yield command
                command = []
            else:
                command.append(word)


def commands_of(program: str) -> list[list[str]]:
    return [command[1:] for command in commands() if command[:1] == [program]]


def test_every_guarantee_of_the_design_has_a_section_in_order() -> None:
    titles = re.findall(r"^### (G\d+) (.+)$", TEXT, re.MULTILINE)
    assert titles == list(GUARANTEES.items())


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_a_guarantee_names_its_limits_how_to_see_and_break_it_and_its_tests(
    guarantee: str,
) -> None:
    section = SECTIONS[guarantee]
    for part in ("*Limits.*", "*Held by*", "*See it", "*Break it"):
        assert part in section
    assert any(
        guarantee in guarantees_in(functions_in(path).get(name, ""))
        for path, name in NAMED_TEST.findall(section)
    )


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_a_guarantee_names_its_experiment(guarantee: str) -> None:
    assert EXPERIMENTS[guarantee].title == GUARANTEES[guarantee]
    assert (
        f"*Experiment:* `fanout lab {guarantee}`. `fanout lab {guarantee} --explain`" in SECTIONS[guarantee]
    )


def test_every_test_that_is_named_exists() -> None:
    named = NAMED_TEST.findall(TEXT)
    assert len(named) == TEXT.count(".py::") > 60
    assert [f"{path}::{name}" for path, name in named if name not in functions_in(path)] == []


def test_the_tests_know_no_guarantee_that_the_document_does_not() -> None:
    files = list((ROOT / "tests").rglob("*.py"))
    assert len(files) > 100
    for path in files:
        assert guarantees_in(path.read_text("utf-8")) <= GUARANTEES.keys(), path


def test_every_command_of_fanout_exists_with_its_options() -> None:
    found = commands_of("fanout")
    assert len(found) >= 4
    for name, *arguments in found:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None, name
        check_options(command, arguments)


def check_options(command: click.Command, arguments: list[str]) -> None:
    known = {option for parameter in command.params for option in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("--")} <= known


def test_every_make_target_exists_and_reads_its_variables() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    found = commands_of("make")
    assert {"run", "test", "simulate", "sweep", "mutants", "breakages"} <= {name for name, *_ in found}
    for target, *variables in found:
        recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)*)", makefile, re.MULTILINE)
        assert recipe is not None, target
        for variable in variables:
            name, _, value = variable.partition("=")
            assert f"$({name})" in recipe[1], variable
            if target == "run":
                check_options(cli.commands["demo"], value.split())
            if target == "test":
                assert all((ROOT / word).exists() for word in value.split() if word.startswith("tests/"))


def test_every_program_that_is_to_be_run_exists() -> None:
    found = commands_of("python")
    assert len(found) >= 4
    for first, *others in found:
        assert find_spec(others[0]) if first == "-m" else (ROOT / first).exists(), first


def test_every_bound_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| .+ \| ([\d.]+)[^|]* \| `([\w.]+)` \|$", TEXT, re.MULTILINE)
    assert len(rows) == TEXT.partition("\n## Bounds\n")[2].partition("\n## ")[0].count("\n|") - 2
    defaults = {setting.variable: setting.default for setting in SETTINGS}
    for value, name in rows:
        bound = defaults[name] if name in defaults else in_code(name)
        assert float(value) == float(bound), name


def in_code(name: str) -> float:
    """A module's constant, or the default of a field of a dataclass in one."""
    owner, _, field = name.rpartition(".")
    found = resolve_name(owner)
    bound: float = getattr(found() if isinstance(found, type) else found, field)
    return bound
