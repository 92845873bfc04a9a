"""The layers that a breakage must not get through, in the order of their cost, each a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fanout.process.exits import NO
from fanout.testing.breakages.patches import LAYERS as NAMES
from fanout.testing.breakages.patches import Breakage
from tests.breakages.tree import TREE

RUNS: Final = 100
REQUESTS: Final = 100  # per run
_PATIENCE_S: Final = 170  # what hangs is caught, too
_FAILED: Final = re.compile(r"^FAILED (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Catch:
    """after: how much was tried until it showed, in the layer's own measure; `None`: it did not show."""

    after: str | None
    why: str
    took_s: float


Layer = Callable[[Path, Breakage], Catch]
"""Takes a copy of the tree that has this breakage."""


def unit_tests(tree: Path, breakage: Breakage) -> Catch:
    """The tests that the breakage names, until the first that fails."""
    began_at = time.monotonic()
    arguments = ("-m", "pytest", "-x", "-q", "--timeout=20", "-p", "no:cacheprovider", *breakage.tests)
    code, output = _run(tree, *arguments)
    if code not in (0, 1, None):
        raise RuntimeError(output)
    failed = _FAILED.search(output)
    test = failed[1] if failed else ("it hangs" if code is None else "")
    return Catch(None if code == 0 else test.rpartition("::")[2], test, time.monotonic() - began_at)


def sweep(tree: Path, breakage: Breakage) -> Catch:
    """An interruption at every checkpoint."""
    return _counted(tree, "runs", "tests.sweep", "--first")


def simulation(tree: Path, breakage: Breakage) -> Catch:
    """Simulated requests, run by run, as their seeds draw them."""
    return _counted(tree, "requests", "tests.breakages.search", str(RUNS), str(REQUESTS))


def lab(tree: Path, breakage: Breakage) -> Catch:
    """The experiments against the real server. The lab breaks it in memory, so the tree is the whole one."""
    began_at = time.monotonic()
    code, output = _run(TREE, "-m", "fanout", "lab", "--break", breakage.name, "--json")
    took_s = time.monotonic() - began_at
    if code is None:
        return Catch("it hangs", "", took_s)
    if not output.startswith("{"):
        raise RuntimeError(output)
    found = json.loads(output)
    return Catch(", ".join(found["seen_by"]) if code == NO else None, "; ".join(broken_in(found)), took_s)


def broken_in(found: Any) -> list[str]:
    """What was seen of a breakage, from the JSON of `fanout lab --break`."""
    return [
        f"{experiment['id']} {seen['by']}: {seen['text']}"
        for experiment in found["experiments"]
        for seen in experiment["seen"]
        if not seen["holds"]
    ]


LAYERS: Final[dict[str, Layer]] = dict(zip(NAMES, (unit_tests, sweep, simulation, lab), strict=True))


def _counted(tree: Path, measure: str, *module: str) -> Catch:
    """A module that prints one line of JSON: what it tried, and what was wrong, if anything was."""
    began_at = time.monotonic()
    code, output = _run(tree, "-m", *module)
    took_s = time.monotonic() - began_at
    if code is None:
        return Catch("it hangs", "", took_s)
    found = json.loads(output.splitlines()[-1])
    return Catch(f"{found['tried']} {measure}" if found["wrong"] else None, found["wrong"] or "", took_s)


def _run(tree: Path, *arguments: str) -> tuple[int | None, str]:
    """Exit code, or `None` when it did not end, and what it printed."""
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
        return None, ""
    return done.returncode, done.stdout
