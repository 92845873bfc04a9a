"""Which lines each test runs, and what it costs: measured under coverage, and kept for the next run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coverage

from tests.mutation.imports import digest_of
from tests.mutation.rooms import Room


@dataclass(frozen=True, slots=True)
class Measured:
    """What a test did without a mutant. cost_s: of processors, and a little for waiting.

    lines: by path. None: it took too long to find out, so that it may run every line.
    """

    took_s: float
    cost_s: float
    lines: dict[str, list[int]] | None


def coverage_of(room: Room) -> coverage.Coverage:
    measuring = coverage.Coverage(
        data_file=None,
        config_file=False,
        branch=False,
        include=[str(Path(p).resolve()) for p in room.paths()],
    )
    measuring.set_option("run:disable_warnings", ["no-data-collected"])  # many tests run none of these files
    return measuring


def lines_of(measuring: coverage.Coverage, test: str) -> dict[str, list[int]]:
    """The lines that a test has run, by path; test "": those that ran before there was one."""
    data = measuring.get_data()
    data.set_query_context(test)
    found = {str(Path(file).relative_to(Path.cwd())): data.lines(file) for file in data.measured_files()}
    return {path: lines for path, lines in found.items() if lines}


class Cache:
    """What earlier runs have measured, kept in a file. It holds while code and tests are the same."""

    def __init__(self, file: Path | None, code: str = "") -> None:
        """file: None to keep nothing. code: a digest of it."""
        self._file = file
        self._code = code

    def read(self) -> dict[str, Any]:
        """By test: the fields of `Measured`."""
        if self._file is None or not self._file.exists():
            return {}
        kept = json.loads(self._file.read_text("utf-8"))
        if kept["code"] != self._code:
            return {}
        now = {path: digest_of([Path(path)]) for path in kept["files"] if Path(path).exists()}
        return {
            test: measured
            for test, measured in kept["tests"].items()
            if kept["files"][(path := test.partition("::")[0])] == now.get(path)
        }

    def write(self, tests: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        paths = sorted({test.partition("::")[0] for test in tests})
        files = {path: digest_of([Path(path)]) for path in paths}
        self._file.write_text(json.dumps({"code": self._code, "files": files, "tests": tests}), "utf-8")
