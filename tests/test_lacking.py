"""A test that the machine cannot run is skipped, and one line says what brings it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.lacking import AS_ROOT, reason, summary

ROOT = Path(__file__).parent.parent


def test_one_line_names_all_that_is_lacking_and_the_commands() -> None:
    reasons = [reason("chromium")] * 3 + [reason("promtool"), reason("prometheus"), reason("root", AS_ROOT)]
    assert summary(reasons) == [
        "6 tests skipped, this machine lacks chromium, prometheus, promtool, root. "
        "Run: apt-get install chromium prometheus; sudo make test"
    ]


def test_another_reason_is_not_lost_and_nothing_skipped_is_no_line() -> None:
    assert summary(["only on Linux", "only on Linux"]) == ["skipped: only on Linux"]
    assert summary([]) == []


def test_a_run_on_a_machine_without_a_browser_ends_with_it() -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/admin/test_live_looks.py"]
    done = subprocess.run(
        command, cwd=ROOT, env={"PATH": ""}, capture_output=True, text=True, timeout=50, check=False
    )
    line = "5 tests skipped, this machine lacks chromium. Run: apt-get install chromium"
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines().count(line) == 1, done.stdout
