"""Signals while a command starts and ends, sent to real processes."""

from __future__ import annotations

import signal
import time

import pytest

from fanout.testing import running
from tests.blackbox.signals import COMMANDS, wrong_ends


@pytest.mark.timeout(300)
def test_a_signal_at_any_moment_of_the_start_is_no_traceback() -> None:
    """G9: before the command listens to signals it ends at once; from then on it drains. The short form."""
    assert wrong_ends(step_ms=300, until_ms=600) == []


@pytest.mark.parametrize(
    "command",
    [pytest.param(each, marks=pytest.mark.long if each == "workers" else ()) for each in COMMANDS],
)
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_signals_in_quick_succession_do_not_change_the_exit_code(command: str, number: int) -> None:
    """G9: a second signal ends at once what is in flight, and one that comes too late changes nothing."""
    with running(*COMMANDS[command]) as program:
        for _ in range(6):
            program.process.send_signal(number)
            time.sleep(0.01)
        assert program.stop() == 0
        assert b"Traceback" not in program.errors
