"""The layers that a breakage must not get through, in the order of their cost, each a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fanout.lab.run import HANGS
from fanout.process.exits import NO
from fanout.testing.breakages.patches import LAYERS as NAMES
from fanout.testing.breakages.patches import Breakage
from tests.breakages.tree import TREE

RUNS: Final = 100
RUNS_OF_CONTROL: Final = 20
REQUESTS: Final = 300  # per run
CONTROL: Final = "nothing"
_PATIENCE_S: Final = 900  # for a machine that has much else to do. A test or a run that hangs ends by itself
_STUCK: Final = "Timeout ("  # what `faulthandler` says of it
_FAILED: Final = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Catch:
    """after: how much was tried until it showed, in the layer's own measure; `None`: it did not show."""

    after: str | None
    why: str
    took_s: float


class NoVerdict(RuntimeError):
    """A layer was not done in time, or did not run at all: that is not a catch."""


Layer = Callable[[Path, Breakage], Catch]
"""Takes a copy of the tree that has this breakage."""


def control(chosen: Iterable[Breakage]) -> Breakage:
    """No change at all, tried by the same tests. A layer that catches it would catch anything."""
    tests = dict.fromkeys(test for breakage in chosen for test in breakage.tests)
    return Breakage(CONTROL, "nothing (the control)", (), tuple(tests), (), (), "")


def unit_tests(tree: Path, breakage: Breakage) -> Catch:
    """The tests that the breakage names, until the first that fails."""
    began_at = time.monotonic()
    arguments = ("-m", "pytest", "-x", "-q", "--timeout=20", "-p", "no:cacheprovider", *breakage.tests)
    code, output = _run(tree, *arguments)
    failed = _FAILED.search(output)
    if code not in (0, 1) or (code == 1) != bool(failed):
        raise NoVerdict(output)
    test = failed[1] if failed else ""
    return Catch(None if code == 0 else test.rpartition("::")[2], test, time.monotonic() - began_at)


def sweep(tree: Path, breakage: Breakage) -> Catch:
    """An interruption at every checkpoint."""
    return _counted(tree, "runs", "tests.sweep", "--first")


def simulation(tree: Path, breakage: Breakage) -> Catch:
    """Simulated requests, run by run, as their seeds draw them."""
    runs = RUNS_OF_CONTROL if breakage.name == CONTROL else RUNS
    return _counted(tree, "requests", "tests.breakages.search", str(runs), str(REQUESTS))


def prove(tree: Path, breakage: Breakage) -> Catch:
    """Every schedule up to the bound, those with the fewest deviations first."""
    began_at = time.monotonic()
    bound = ("--deviations", "1") if breakage.name == CONTROL else ()  # the whole takes ten minutes
    _, output = _run(tree, "-m", "fanout", "prove", "--processes", "1", "--json", *bound)
    took_s = time.monotonic() - began_at
    try:
        found = json.loads(output[output.index("{") :])
        failing = found["failing"]
    except (KeyError, ValueError):
        raise NoVerdict(output) from None
    if failing is None:
        return Catch(None, "", took_s)
    deviations = failing["deviations"]
    after = f"{deviations} deviation{'' if deviations == 1 else 's'}"
    return Catch(after, f"{failing['violations'][0]}; {failing['repeat']}", took_s)


def lab(tree: Path, breakage: Breakage) -> Catch:
    """The experiments against the real server. The lab breaks it in memory, so the tree is the whole one."""
    began_at = time.monotonic()
    broken = () if breakage.name == CONTROL else ("--break", breakage.name)
    code, output = _run(TREE, "-m", "fanout", "lab", *broken, "--json")
    took_s = time.monotonic() - began_at
    if not output.startswith("{"):
        raise NoVerdict(output)
    seen = broken_in(json.loads(output))
    by = dict.fromkeys(each.partition(" ")[0] for each in seen if HANGS not in each)
    return Catch(", ".join(by) if code == NO and by else None, "; ".join(seen), took_s)


def broken_in(found: Any) -> list[str]:
    """What was seen of a breakage, from the JSON of `fanout lab --break`."""
    return [
        f"{experiment['id']} {seen['by']}: {seen['text']}"
        for experiment in found["experiments"]
        for seen in experiment["seen"]
        if not seen["holds"]
    ]


LAYERS: Final[dict[str, Layer]] = dict(zip(NAMES, (unit_tests, sweep, simulation, prove, lab), strict=True))


def _counted(tree: Path, measure: str, *module: str) -> Catch:
    """A module that prints one line of JSON: what it tried, and what was wrong, if anything was."""
    began_at = time.monotonic()
    _, output = _run(tree, "-m", *module)
    took_s = time.monotonic() - began_at
    if _STUCK in output:
        return Catch("it hangs", output, took_s)
    try:
        found = json.loads(output.splitlines()[-1])
        tried, wrong = found["tried"], found["wrong"]
    except (IndexError, KeyError, ValueError):
        raise NoVerdict(output) from None
    return Catch(f"{tried} {measure}" if wrong else None, wrong or "", took_s)


def _run(tree: Path, *arguments: str) -> tuple[int, str]:
    """Exit code, and what it printed. Raises `NoVerdict` when it does not end."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tree,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_PATIENCE_S,
            check=False,
            text=True,
        )
    except subprocess.TimeoutExpired:
        raise NoVerdict(f"it did not end in {_PATIENCE_S} s") from None
    return done.returncode, done.stdout
