"""A test that the machine cannot run is skipped, and one line says what brings it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.lacking import AS_ROOT, left_out, reason, summary

ROOT = Path(__file__).parent.parent


def test_one_line_names_all_that_is_lacking_and_the_commands() -> None:
    reasons = [reason("chromium")] * 3 + [reason("promtool"), reason("prometheus"), reason("root", AS_ROOT)]
    assert summary(reasons) == [
        "6 tests skipped, this machine lacks chromium, prometheus, promtool, root. "
        "Run: apt-get install chromium-headless-shell prometheus; sudo make test"
    ]


def test_another_reason_is_not_lost_and_nothing_skipped_is_no_line() -> None:
    assert summary(["only on Linux", "only on Linux"]) == ["skipped: only on Linux"]
    assert summary([]) == []


def test_what_one_part_of_a_run_left_out_the_next_one_says_too(tmp_path: Path) -> None:
    noted = tmp_path / "left-out"
    noted.write_text("Python 3.12\n")
    assert left_out([reason("chromium"), "only on Linux"], noted) == ["Python 3.12", "chromium"]
    assert left_out([], noted) == ["Python 3.12", "chromium"]
    assert left_out([reason("node"), reason("node")]) == ["node"]
    assert left_out([]) == []


def test_a_run_on_a_machine_without_a_browser_ends_with_it(tmp_path: Path) -> None:
    """The last line, too, with what the parts of the run before it have left out."""
    noted = tmp_path / "left-out"
    noted.write_text("Python 3.12\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/admin/test_live_looks.py"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": "", "NOTED_LEFT_OUT": f"{noted}"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    line = "5 tests skipped, this machine lacks chromium. Run: apt-get install chromium-headless-shell"
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines().count(line) == 1, done.stdout
    assert "5 skipped, 2 left out (Python 3.12, chromium) in " in done.stdout.splitlines()[-1], done.stdout
