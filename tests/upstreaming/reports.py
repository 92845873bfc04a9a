"""The reports of docs/upstreaming.md, and what their reproductions show with the installed versions.

A reproduction ends with 1 and says what is wrong; when that has been mended, it ends with 0. Python ends with
1 after an exception as well, so here a reproduction that fails by itself ends with 3.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.project.consoles import differs
from tests.project.names import named_in

ROOT: Final = Path(__file__).parents[2]
DOCUMENT: Final = ROOT / "docs/upstreaming.md"
PARTS: Final = ("What happens", "Expected", "Proposed change", "Known", "fanout instead")
TIMEOUT_S: Final = 30.0  # a reproduction takes less than 2 s
MENDED, STILL_THERE, FAILED = 0, 1, 3
_REPORT: Final = re.compile(
    r"^## (.+?)\n\n\*\*Versions\.\*\* (.+?)\.\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL
)
_RUN: Final = re.compile(
    r"\[(\w+)\.py\]\(\.\./(tests/upstreaming/reproductions/\1\.py)\)(?:\s+with\s+`(\w+)`)?\s+prints:\n\n"
    r"```text\n(.*?)```",
    re.DOTALL,
)
_PYTHON: Final = "Python"
_RUNNER: Final = f"""
import runpy, sys, traceback
del sys.argv[0]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except Exception:
    traceback.print_exc()
    sys.exit({FAILED})
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a reproduction has ended. code: `None` if it did not end."""

    code: int | None
    printed: str


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a reproduction, and what the report shows of it."""

    path: Path
    arguments: tuple[str, ...]
    shown: str

    def __str__(self) -> str:
        return " ".join([self.path.name, *self.arguments])

    def execute(self, timeout_s: float = TIMEOUT_S) -> Ended:
        """Run it in a process of its own, which sees neither this folder nor the variables for Python."""
        command = [sys.executable, "-I", "-c", _RUNNER, str(self.path), *self.arguments]
        try:
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Ended(None, "")
        return Ended(done.returncode, done.stdout)


@dataclass(frozen=True, slots=True)
class Report:
    """One section of the document. versions: by distribution. workarounds: what it names under `fanout/`."""

    title: str
    versions: dict[str, str]
    text: str
    runs: tuple[Run, ...]
    workarounds: tuple[str, ...]

    @property
    def lacks(self) -> str:
        """What it lacks to be run here; empty if nothing."""
        needed = self.versions.get(_PYTHON, "3.11")
        return (
            "" if sys.version_info >= tuple(map(int, needed.split("."))) else f"it is about Python {needed}"
        )

    def library(self, run: Run) -> str:
        """What the run is about: the library that it is given, or the first of the report."""
        return run.arguments[0] if run.arguments else next(iter(self.versions))

    def outdated(self) -> dict[str, str]:
        """The installed versions of those libraries of which the document names another version."""
        installed = {name: version(name) for name in self.versions if name != _PYTHON}
        return {name: found for name, found in installed.items() if found != self.versions[name]}

    def difference(self, run: Run, ended: Ended) -> str:
        """What to do because the reproduction no longer shows what the report says; empty if it does."""
        if ended.code == STILL_THERE:
            if not differs(run.shown.splitlines(), ended.printed):
                return ""
            return f"{run} shows something else than {DOCUMENT.name}. Correct the report:\n{ended.printed}"
        if ended.code == MENDED:
            library = self.library(run)
            part = "this run" if len(self.runs) > 1 else "the report"
            return (
                f"{library} {version(library)} has mended what {run} shows. Remove {part} from "
                f"{DOCUMENT.name}, {self.title!r}. With the report goes our workaround: "
                f"{', '.join(self.workarounds)}"
            )
        if ended.code is None:
            return f"{run} does not end. Correct the reproduction"
        return f"{run} fails by itself, which shows nothing. Correct the reproduction:\n{ended.printed}"


def reports_in(document: str) -> list[Report]:
    """Every report, in the order of the document."""
    return [
        Report(
            title,
            dict(_name_and_version(each) for each in versions.split(", ")),
            text,
            _runs(text),
            _files(text),
        )
        for title, versions, text in _REPORT.findall(document)
    ]


def _name_and_version(text: str) -> tuple[str, str]:
    name, _, number = text.rpartition(" ")
    return name, number


def _runs(text: str) -> tuple[Run, ...]:
    return tuple(
        Run(ROOT / path, (argument,) if argument else (), shown)
        for _, path, argument, shown in _RUN.findall(text)
    )


def _files(text: str) -> tuple[str, ...]:
    """What the last part of a report names under `fanout/`."""
    named = named_in(text.partition(f"**{PARTS[-1]}.**")[2])
    return tuple(path for path, _ in named if path.startswith("fanout/"))
