"""`make test-next` on a machine that cannot run it, and what else names the supported Pythons."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.project.test_packaging import ROOT, SETUP

# What stands for a program: a script for sh.
NOBODY = {"id": "echo 1000"}
ROOT_USER = {"id": "echo 0"}
WORKS = {"mmdebstrap": 'for last; do :; done; mkdir "$last"; echo "$@" > "$last/told"'}
FAILS = {"mmdebstrap": 'for last; do :; done; mkdir "$last"; echo E: no such suite >&2; exit 1'}
ENTERS = {"unshare": 'echo "entered: $*"'}


def run_next(folder: Path, programs: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """On a machine with these programs, and what every machine has."""
    machine = folder / "bin"
    shutil.rmtree(machine, ignore_errors=True)
    machine.mkdir()
    for name in ("bash", "sh", "cp", "mkdir", "realpath", "rm", "touch"):
        found = shutil.which(name)
        assert found
        (machine / name).symlink_to(found)
    for name, text in programs.items():
        (machine / name).write_text(f"#!/bin/sh\n{text}\n")
        (machine / name).chmod(0o755)
    command = [str(ROOT / ".ci/next"), "forky", "python3.14", str(folder / "chroot"), "test", "ARGS=-x"]
    return subprocess.run(
        command, env={"PATH": str(machine)}, capture_output=True, text=True, timeout=20, check=False
    )


@pytest.mark.parametrize(
    ("programs", "line"),
    [
        (ROOT_USER, "make test-next: mmdebstrap is not on this machine. Run: apt-get install mmdebstrap\n"),
        (
            NOBODY | WORKS,
            "make test-next: making and entering a chroot needs root. Run: sudo make test-next\n",
        ),
    ],
    ids=["no mmdebstrap", "not root"],
)
def test_what_the_machine_lacks_is_one_line_with_the_fix(
    tmp_path: Path, programs: Mapping[str, str], line: str
) -> None:
    done = run_next(tmp_path, {**programs, **ENTERS})
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)


def test_a_chroot_that_could_not_be_made_is_made_again(tmp_path: Path) -> None:
    failed = run_next(tmp_path, ROOT_USER | ENTERS | FAILS)
    assert failed.returncode == 1
    assert failed.stdout == "  a chroot of forky with python3.14 ... failed\n"
    assert failed.stderr == "E: no such suite\n"
    made = run_next(tmp_path, ROOT_USER | ENTERS | WORKS)
    assert made.returncode == 0
    assert re.fullmatch(
        r"  a chroot of forky with python3\.14 \.\.\. \d+ s\nentered: .* python3\.14 test ARGS=-x\n",
        made.stdout,
        re.DOTALL,
    )
    assert "--include=python3.14,python3.14-venv," in (tmp_path / "chroot/told").read_text()


def test_a_chroot_is_made_once(tmp_path: Path) -> None:
    run_next(tmp_path, ROOT_USER | ENTERS | WORKS)
    again = run_next(tmp_path, ROOT_USER | ENTERS | FAILS)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.startswith("entered: ")


def test_everything_names_the_same_pythons() -> None:
    """The classifiers say which are supported; CI runs them all, and make finds each."""
    classifiers = re.findall(r":: (3\.\d+)$", SETUP["metadata"]["classifiers"], re.MULTILINE)
    oldest, newest = classifiers[0], classifiers[-1]
    assert classifiers == [f"3.{minor}" for minor in range(11, int(newest[2:]) + 1)]
    makefile, run = (ROOT / "Makefile").read_text("utf-8"), (ROOT / ".ci/run").read_text("utf-8")
    looked_for = " ".join(["python3", *(f"python{version}" for version in reversed(classifiers))])
    assert f"PYTHONS := $(or $(PYTHON),{looked_for})" in makefile
    assert f"NEXT := forky python{newest}\n" in makefile
    assert f"for Python {oldest} to {newest}\n" in makefile
    others = " ".join(sorted(set(classifiers) - {oldest}, key=lambda version: -int(version[2:])))
    assert f"for version in {others}; do" in run
    for document in ("README.md", "CONTRIBUTING.md"):
        assert f"Python {oldest} to {newest}" in (ROOT / document).read_text("utf-8"), document
