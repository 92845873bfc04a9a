"""`fanout lab --try FILE.py:FUNCTION`: a reader's function, and their mistakes in one line each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fanout.lab.side_by_side import try_it
from fanout.lab.side_by_side.process import Patience
from fanout.lab.side_by_side.readers_function import YOURS, find
from fanout.lab.side_by_side.tasks import measured
from fanout.lab.side_by_side.try_it import run_try
from fanout.lab.side_by_side.variants import BY_NAME

FORGETS = """
import asyncio

async def first(calls, timeout):
    print("on standard output")
    tasks = [asyncio.ensure_future(call()) for call in calls]
    done, _ = await asyncio.wait(tasks, timeout=timeout, return_when="FIRST_COMPLETED")
    return done.pop().result()
"""


def test_it_says_that_it_executes_the_code_and_shows_the_line_that_leaks(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FORGETS)

    code = run_try(f"{file}:first")

    output, errors = capfd.readouterr()
    assert code == 1
    assert errors.startswith("This executes mine.py on this machine: first(calls, timeout), on asyncio")
    assert "on standard output" in errors
    assert "on standard output" not in output
    assert "-> line 6: tasks = [asyncio.ensure_future(call()) for call in calls]" in output
    assert "Your function kept 0 of 10 rows" in output


def test_a_function_on_trio_runs_on_trio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text(BY_NAME["trio_nursery"].source)

    code = run_try(f"{file}:all_", as_json=True)

    output, errors = capsys.readouterr()
    (section,) = json.loads(output)["sections"]
    verdicts = {row["name"]: row["cells"][0]["verdict"] for row in section["rows"]}
    assert code == 1
    assert "on trio" in errors
    assert {row["endpoint"] for row in section["rows"]} == {"all"}
    assert {name for name, verdict in verdicts.items() if verdict != "kept"} == {
        "clean-up waits",
        "unshielded",
    }


@pytest.mark.parametrize(
    ("source", "text"),
    [
        pytest.param(
            "async def first(calls, timeout):\n    while True: pass", "never returns", marks=pytest.mark.long
        ),
        ("import os\nasync def first(calls, timeout):\n    os._exit(0)", "ends the process (0)"),
        ("import sys\nasync def first(calls, timeout):\n    sys.exit(0)", "sys.exit"),
        ("import trio, sys\nasync def first(calls, timeout):\n    sys.exit(0)", "sys.exit"),
        ("async def first(calls, timeout):\n    return call()", "wrong"),
        ("async def first(calls, timeout):\n    return {object()}", "wrong"),
        (
            "import asyncio\nasync def first(calls, timeout):\n    while True:\n        try:\n"
            "            await asyncio.sleep(1)\n        except BaseException:\n            pass",
            "never",
        ),
    ],
)
def test_a_function_that_misbehaves_is_a_red_row_and_no_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], source: str, text: str
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(source)
    readers = find(f"{file}:first")
    places = [(YOURS, "slow loser", "first"), (YOURS, "one hangs", "first")]

    cells = measured(readers.runtime, places, readers, Patience(spins=1, sleeps=20))

    assert [(cell.verdict, cell.text) for cell in cells.values()] == [("broken", text)] * 2
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "def first(calls, timeout): pass",
            "first in mine.py is no coroutine function: write `async def first(",
        ),
        ("async def first(calls): pass", "cannot be called with two arguments"),
        ("async def other(calls, timeout): pass", "mine.py has no function first: it has other"),
        ("x = 1 / 0", "mine.py, line 1: ZeroDivisionError: division by zero, as the file is imported"),
        ("import sys\nsys.exit('bye')", "mine.py, line 2: SystemExit: bye, as the file is imported"),
        (
            "import time\ntime.sleep(99)",
            "mine.py never returns as it is imported: put what it runs below `if",
        ),
        ("x = (", "line 1: '(' was never closed"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_what_cannot_be_run_is_one_line_with_the_fix(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    source: str | None,
    words: str,
) -> None:
    monkeypatch.setattr(try_it, "PATIENCE", Patience(spins=2, sleeps=2))
    file = tmp_path / "mine.py"
    if source is not None:
        file.write_text(source)

    code = run_try(f"{file}:first")

    output, errors = capfd.readouterr()
    assert (code, output) == (2, "")
    (line,) = [line for line in errors.splitlines() if not line.startswith("This executes")]
    assert words in line


def test_what_was_started_ends_with_the_command_whatever_ends_it(tmp_path: Path) -> None:
    """Even if the function does not give the event loop back, and nobody could tell its process to end."""
    file, pid_file = tmp_path / "mine.py", tmp_path / "pid"
    file.write_text(f"""
import os, pathlib
async def first(calls, timeout):
    pathlib.Path({str(pid_file)!r}).write_text(f"{{os.getpid()}} ")
    while True: pass
""")
    code = f"from fanout.lab.side_by_side.try_it import run_try; run_try({f'{file}:first'!r})"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as command:
        wait_until(lambda: pid_file.exists() and pid_file.read_text().endswith(" "))
        command.kill()

    pid = int(pid_file.read_text())
    try:
        wait_until(lambda: not is_running(pid))
    finally:
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return False
    return state != "Z"  # ended; whoever has inherited it has not looked yet


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("target", ["mine.py", ":first", "mine.py:", "mine.py:1st"])
def test_a_target_has_a_file_and_a_function(target: str) -> None:
    with pytest.raises(ValueError, match=r"is not FILE.py:FUNCTION, such as mine.py:first"):
        find(target)
