"""For every test: at the end of a run, what the machine lacks."""

from __future__ import annotations

import pytest

from tests.lacking import summary


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    for line in summary([str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped]):
        terminalreporter.write_line(line, yellow=True)
