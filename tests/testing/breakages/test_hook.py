"""A breakage in memory: it reaches the program, and no file. Each test has a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Final

import pytest

import fanout
from fanout.testing.breakages.patches import breakages

pytestmark = pytest.mark.same_on_every_python

BREAKS: Final = "limit_off_by_one"
ADMITTED: Final = """
    from fanout.race.admission import Admission

    admission = Admission(limit=1)
    print("admitted", sum(admission.try_take() for _ in range(5)))
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the package, as in a folder that it is installed in, without `__pycache__`."""
    source = Path(fanout.__file__).parent
    shutil.copytree(source, tmp_path / "fanout", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "admitted.py").write_text(dedent(ADMITTED))
    return tmp_path


def run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python ARGUMENTS` in this folder, with its copy of the package."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, timeout=30, check=False
    )


def broken(tree: Path, name: str, *program: str) -> subprocess.CompletedProcess[str]:
    return run(tree, "-m", "fanout.testing.breakages", name, *program)


def texts(tree: Path) -> dict[str, str]:
    return {str(path): path.read_text("utf-8") for path in sorted(tree.rglob("*.py"))}


def test_a_breakage_is_in_the_program_and_in_no_file(tree: Path) -> None:
    """The module that is broken leaves no `__pycache__` entry. The others do, so the test can see them."""
    before = texts(tree)
    assert broken(tree, BREAKS, "admitted").stdout == "admitted 2\n"
    assert texts(tree) == before
    compiled = {path.name.partition(".")[0] for path in tree.rglob("__pycache__/*.pyc")}
    assert "hook" in compiled
    assert "admission" not in compiled
    assert run(tree, "-m", "admitted").stdout == "admitted 1\n"


def test_compiled_code_of_before_is_not_used(tree: Path) -> None:
    assert run(tree, "-m", "admitted").stdout == "admitted 1\n"
    assert list(tree.rglob("__pycache__/admission.*.pyc"))
    assert broken(tree, BREAKS, "admitted").stdout == "admitted 2\n"
    assert run(tree, "-m", "admitted").stdout == "admitted 1\n"


def test_the_program_has_its_arguments_and_its_exit_code(tree: Path) -> None:
    (tree / "program.py").write_text("import sys; print(sys.argv[1:], __name__); sys.exit(7)")
    done = broken(tree, BREAKS, "program", "--flag", "value")
    assert (done.returncode, done.stdout, done.stderr) == (7, "['--flag', 'value'] __main__\n", "")


def test_every_breakage_comes_before_the_modules_it_changes(tree: Path) -> None:
    """In the packages as they are: what the hook imports imports none of them."""
    (tree / "install_all.py").write_text(
        "from fanout.testing.breakages import __main__\n"
        "from fanout.testing.breakages.hook import install\n"
        "from fanout.testing.breakages.patches import breakages\n"
        "for breakage in breakages().values():\n"
        "    install(breakage)\n"
        "print(len(breakages()))\n"
    )
    done = run(tree, "-m", "install_all")
    assert (done.stdout, done.stderr) == (f"{len(breakages())}\n", "")


def test_a_module_that_is_imported_already_is_one_line(tree: Path) -> None:
    exits = tree / "fanout" / "process" / "exits.py"
    exits.write_text(exits.read_text("utf-8") + "\nimport fanout.race.admission\n")
    done = broken(tree, BREAKS, "admitted")
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr == f"breakages: {BREAKS} cannot be applied: fanout.race.admission is imported already\n"
    )


def test_a_patch_that_does_not_fit_is_one_line_before_anything_runs(tree: Path) -> None:
    (tree / "fanout" / "race" / "admission.py").write_text("LIMIT = 1\n")
    done = broken(tree, BREAKS, "admitted")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"breakages: {BREAKS} cannot be applied: fanout/race/admission.py has these lines 0 times, not once\n"
    )


def test_a_module_that_is_gone_is_one_line(tree: Path) -> None:
    (tree / "fanout" / "race" / "admission.py").unlink()
    done = broken(tree, BREAKS, "admitted")
    assert done.returncode == 2
    assert done.stderr == (
        f"breakages: {BREAKS} cannot be applied: "
        "fanout/race/admission.py cannot be read: No such file or directory\n"
    )


@pytest.mark.parametrize("arguments", [(), (BREAKS,), ("no_such_name", "admitted")])
def test_wrong_arguments_are_one_line_with_the_names(tree: Path, arguments: tuple[str, ...]) -> None:
    done = run(tree, "-m", "fanout.testing.breakages", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("breakages: NAME MODULE [ARGUMENTS] are needed, and NAME is one of ")
    assert BREAKS in done.stderr
    assert done.stderr.count("\n") == 1


def test_workers_are_refused_in_one_line(tree: Path) -> None:
    """They are processes of their own, which would serve without the breakage."""
    done = broken(tree, BREAKS, "fanout", "serve", "--workers", "2", "--bind", "127.0.0.1:0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"breakages: {BREAKS} does not reach the processes of --workers: leave it out, or give 1\n"
    )
