"""For every test: how many processes share them, their signals, and at the end what the machine lacks."""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.lacking import left_out, summary

# A shell ignores SIGINT for what a script runs in the background. What the tests start inherits that, so no
# Ctrl-C of a test would end it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """From now on the collector leaves pytest's own objects alone. There are half a million, and the tests
    that look for garbage spent most of their time on these.

    Hypothesis begins before that: it asks the collector who refers to its random numbers, and a frozen object
    is not among the answers.
    """
    if "hypothesis" in sys.modules:
        _begin_hypothesis()
    _set_aside()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """From then on it also leaves alone what a file of tests has left alive, such as modules and caches."""
    if nextitem is None or nextitem.path != item.path:
        _set_aside()


def _set_aside() -> None:
    gc.collect()  # first: frozen garbage would never be found
    gc.freeze()


def _begin_hypothesis() -> None:
    from hypothesis import given, settings, strategies

    settings(max_examples=1, database=None)(given(strategies.none())(lambda _: None))()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = [str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped]
    for line in summary(reasons):
        terminalreporter.write_line(line, yellow=True)
    noted = os.environ.get("NOTED_LEFT_OUT")
    lacking = left_out(reasons, Path(noted) if noted else None)
    if lacking:  # pytest's last line counts every kind of outcome that it finds here
        terminalreporter.stats[f"left out ({', '.join(lacking)})"] = [
            SimpleNamespace(what=each) for each in lacking
        ]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Twice the processors: half of its time a test waits, for a process or for a timeout."""
    return 2 * (os.cpu_count() or 1)
