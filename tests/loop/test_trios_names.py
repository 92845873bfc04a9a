"""Trio is unmodified and used by its public names, but for what the test kit needs to repeat a run."""

from __future__ import annotations

import ast
import inspect
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from trio._core import _run

import fanout

PACKAGE = Path(fanout.__file__).parent
# A name of Trio's that begins with an underscore, and one that shows that somebody reaches below the surface.
TELLTALES = {"_core", "GLOBAL_RUN_CONTEXT"}


def private_names(source: str) -> Iterator[str]:
    """Each private name of Trio's in a module, as it is written there."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found = [name.name for name in names if name.name.split(".")[0] == "trio"]
            case ast.ImportFrom(module=str(module), names=names) if module.split(".")[0] == "trio":
                found = [f"{module}.{name.name}" for name in names]
            case ast.Attribute():
                text = ast.unparse(node)
                found = [text] if text.startswith("trio.") or node.attr in TELLTALES else []
            case ast.Name(id=name) if name in TELLTALES:
                found = [name]
            case _:
                found = []
        for name in found:
            parts = name.split(".")
            if TELLTALES.intersection(parts) or any(part.startswith("_") for part in parts):
                yield name


@pytest.mark.parametrize(
    "line",
    [
        "import trio._core",
        "import trio._core._run as run",
        "from trio import _core",
        "from trio._core._run import GLOBAL_RUN_CONTEXT",
        "trio._core.current_task()",
        "trio.CancelScope._deadline = 0",
        "trio.lowlevel._x",
        "x = runner._core",
        "GLOBAL_RUN_CONTEXT.runner",
    ],
)
def test_a_private_name_is_found_however_it_is_reached(line: str) -> None:
    assert list(private_names(line))
    assert not list(private_names("import trio\nfrom trio import abc\ntrio.lowlevel.RunVar('x')"))


def test_no_private_name_of_trio_is_used_outside_of_the_test_kit() -> None:
    """The proofs run on what production runs on: Trio as it is installed."""
    modules = [path for path in PACKAGE.rglob("*.py") if PACKAGE / "testing" not in path.parents]
    assert len(modules) > 100
    found = {str(path.relative_to(PACKAGE)): list(private_names(path.read_text())) for path in modules}
    assert {path: names for path, names in found.items() if names} == {}


def test_the_test_kit_finds_what_repeats_a_run() -> None:
    """The order of a batch is drawn from this, and deadlines are counted there."""
    assert isinstance(_run._r, random.Random)
    assert isinstance(_run._ALLOW_DETERMINISTIC_SCHEDULING, bool)
    loop = inspect.getsource(_run.unrolled_run)
    assert "if _ALLOW_DETERMINISTIC_SCHEDULING:" in loop
    assert "_r.shuffle(batch)" in loop
    assert "_active" in inspect.getsource(_run.Deadlines)
