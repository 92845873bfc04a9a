"""Cancel scopes whose deadlines are noted by `fanout.loop` pass Trio's own tests."""

from __future__ import annotations

import subprocess
import sys
from math import inf

import pytest
import trio
from trio._core._run import GLOBAL_RUN_CONTEXT

from fanout.loop.run import run_loop

TRIOS_OWN_TESTS = """
import sys, pytest
from fanout.loop.scopes import note_deadlines_quickly
note_deadlines_quickly()
sys.exit(pytest.main([
    "-q", "-p", "no:cacheprovider", "-p", "trio._tests.pytest_plugin", "-W", "ignore", "--pyargs",
    "trio._core._tests.test_run", "trio._core._tests.test_guest_mode", "trio._core._tests.test_ki",
    "trio._tests.test_timeouts",
]))
"""


def test_trios_own_tests_of_scopes_of_guests_of_ctrl_c_and_of_timeouts_pass(
    tmp_path: pytest.TempPathFactory,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRIOS_OWN_TESTS],
        cwd=str(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split(" passed")[0].split()[-1]) > 180


def test_a_deadline_is_noted_from_the_scopes_beginning_to_its_end_or_its_cancellation() -> None:
    noted: list[tuple[float, int]] = []

    async def main() -> None:
        deadlines = GLOBAL_RUN_CONTEXT.runner.deadlines
        others = deadlines._active

        def note(scope: trio.CancelScope) -> None:
            noted.append((scope._registered_deadline, deadlines._active - others))

        now = trio.current_time()
        with trio.CancelScope(deadline=now + 10) as scope:
            note(scope)
            scope.deadline = now + 20
            note(scope)
            scope.deadline = inf
            note(scope)
            scope.deadline = now + 30
            scope.cancel()
            note(scope)
            await trio.lowlevel.checkpoint()
        with trio.CancelScope(deadline=now + 40) as left:
            await trio.lowlevel.checkpoint()
        note(left)
        noted[:] = [(at - now if at != inf else inf, count) for at, count in noted]

    run_loop(main)
    assert noted == [(pytest.approx(10), 1), (pytest.approx(20), 1), (inf, 0), (inf, 0), (inf, 0)]
