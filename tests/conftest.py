"""For every test: how many processes share them, their signals, and at the end what the machine lacks."""

from __future__ import annotations

import os
import signal

import pytest

from tests.lacking import summary

# A shell ignores SIGINT for what a script runs in the background. What the tests start inherits that, so no
# Ctrl-C of a test would end it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    for line in summary([str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped]):
        terminalreporter.write_line(line, yellow=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than processors: a third of the time of a test it waits, for a process or for a timeout."""
    return (os.cpu_count() or 1) + 1
