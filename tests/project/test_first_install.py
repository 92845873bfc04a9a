"""What `make` says while it installs: the real Makefile, and a Python that only takes notes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = """#!/bin/sh
echo "$*" >> "$NOTES"
case "$*" in
  *"$FAILS"*) echo "there is no such thing" >&2; exit 1 ;;
  --version) echo Python 3.12.34 ;;
  "-m venv"*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" && cp "$0" "$4/bin/uv" ;;
esac
"""


def make(folder: Path, *, fails: str = "nothing") -> subprocess.CompletedProcess[str]:
    """Install into the folder `new`. fails: a part of the commands that fail."""
    python = folder / "python-of-a-test"
    python.write_text(PYTHON)
    python.chmod(0o755)
    locks = [path.name for path in ROOT.glob("*.lock")]
    for name in ("Makefile", "setup.cfg", "setup.py", "pyproject.toml", *locks):
        if not (folder / name).exists():
            shutil.copy(ROOT / name, folder / name)
    environment = {"PATH": os.environ["PATH"], "NOTES": str(folder / "notes"), "FAILS": fails}
    return subprocess.run(
        ["make", "new/.dev", "VENV=new", f"PYTHON={python}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_each_step_of_an_installation_says_what_it_does_and_how_long_it_took(tmp_path: Path) -> None:
    done = make(tmp_path)

    libraries = len(re.findall(r"^[a-z].*==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert (done.returncode, done.stderr) == (0, "")
    assert re.sub(r"\d+ s$", "N s", done.stdout, flags=re.MULTILINE).splitlines() == [
        "Installing into new, once:",
        "  an environment with Python 3.12.34 ... N s",
        "  uv, which installs the rest ... N s",
        f"  {libraries} libraries ... N s",
        "  fanout itself ... N s",
        "  the tools of make test and make check ... N s",
    ]


def test_make_is_quiet_when_nothing_is_to_be_installed(tmp_path: Path) -> None:
    make(tmp_path)
    notes = (tmp_path / "notes").read_text()

    assert make(tmp_path).stdout in ("", "make: 'new/.dev' is up to date.\n")
    assert (tmp_path / "notes").read_text() == notes


def test_without_uv_pip_installs_and_the_step_says_so(tmp_path: Path) -> None:
    done = make(tmp_path, fails="pip install --quiet --python")

    assert done.returncode == 0
    assert re.search(r"libraries \.\.\. by pip, \d+ s\n", done.stdout)


@pytest.mark.parametrize(
    ("part", "step"),
    [("-m venv", "an environment with Python 3.12.34 ..."), ("--no-deps", "fanout itself ... by pip,")],
)
def test_a_step_that_fails_says_why_and_the_next_make_begins_there(
    tmp_path: Path, part: str, step: str
) -> None:
    failed = make(tmp_path, fails=part)
    again = make(tmp_path)

    assert failed.returncode != 0
    assert failed.stdout.endswith(f"  {step} failed\n")
    assert failed.stderr.startswith("there is no such thing\n")
    assert again.returncode == 0
    assert again.stdout.count("fanout itself") == 1
    assert ("environment" in again.stdout) is ("environment" in step)
