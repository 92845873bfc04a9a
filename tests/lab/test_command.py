"""`fanout lab`: names in, exit code out, and nothing left behind, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import pytest
from click.testing import CliRunner, Result

from fanout.cli import cli
from fanout.lab import kernel
from fanout.lab.experiments import EXPERIMENTS
from fanout.testing.program import started

COMMAND: Final = (sys.executable, "-m", "fanout", "lab")
STARTED: Final = "fanout.lab.setup.started"
WITHIN_S: Final = 45  # on a machine that is busy


def lab(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["lab", *arguments])


def children_of(process: subprocess.Popen[bytes]) -> set[int]:
    """Those of fanout that it has started and not yet seen the end of. Trio starts `ldconfig`, once."""
    try:
        tasks = list(Path(f"/proc/{process.pid}/task").iterdir())
        children = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
        own = command_of(process.pid)  # a child has it until it runs its program
        return {pid for pid in children if b"fanout" in command_of(pid) and command_of(pid) != own}
    except (FileNotFoundError, ProcessLookupError):
        return set()


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def until(condition: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.02)


@contextmanager
def running(*arguments: str, output: IO[bytes] | int = subprocess.PIPE) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([*COMMAND, *arguments], stdout=output, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)  # nothing, once it has ended
        process.communicate(timeout=WITHIN_S)


@pytest.mark.parametrize(
    ("children", "times"), [(1, 2), (3, 1)], ids=["twice, while a child starts", "in an experiment"]
)
def test_ctrl_c_leaves_no_process(children: int, times: int) -> None:
    """G2 has a part in virtual time first, then an upstream and a server."""
    with running("G2") as process:
        until(lambda: len(children_of(process)) == children)
        started = children_of(process)
        for _ in range(times):
            process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=WITHIN_S)
    assert (process.returncode, output, errors) == (130, b"", b"")
    assert len(started) == children
    assert not any(map(is_alive, started))


@pytest.mark.long
def test_a_reader_that_has_gone_ends_it_quietly() -> None:
    """As `fanout lab | head -1` does."""
    reader, writer = os.pipe()
    os.close(reader)
    started: set[int] = set()
    with os.fdopen(writer, "wb") as output, running("G11", output=output) as process:

        def has_ended() -> bool:
            started.update(children_of(process))
            return process.poll() is not None

        until(has_ended)
        assert process.stderr is not None
        assert (process.returncode, process.stderr.read()) == (3, b"")
    assert len(started) == 1
    assert not any(map(is_alive, started))


def test_no_process_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(STARTED, fail)
    done = lab("G4")
    line = "fanout lab: no process can be started for it: Resource temporarily unavailable\n"
    assert (done.exit_code, done.output) == (3, line)


def test_a_server_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(STARTED, lambda *module, **options: started(*module, "--nonsense", **options))
    done = lab("G4")
    assert done.exit_code == 3
    (line,) = done.output.splitlines()
    assert line.startswith("fanout lab: `fanout upstream ")
    assert "--nonsense" in line


def test_no_socket_table_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "is_known", lambda: False)
    done = lab("G4")
    assert (done.exit_code, done.output.count("\n")) == (3, 1)
    assert "Linux" in done.output


def test_an_unknown_name_is_bad_usage() -> None:
    done = lab("H1")
    assert done.exit_code == 2
    assert f"there is no experiment 'H1': there are {', '.join(EXPERIMENTS)}" in done.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["--html", "pages", "--break", "losers_not_cancelled"],
        ["--try", "mine.py:first", "--breakages"],
        ["--try", "mine.py:first", "G4"],
    ],
    ids=" ".join,
)
def test_what_does_not_go_together_is_bad_usage(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(STARTED, None)
    done = lab(*arguments)
    assert done.exit_code == 2
    assert arguments[0] in done.output


def test_explain_prints_articles_and_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(STARTED, None)
    done = lab("g7", "G2", "g7", "--explain")
    assert done.exit_code == 0
    titles = [line for line in done.output.splitlines() if line.startswith("G")]
    assert titles == ["G7 the pool stays whole", "G2 on time"]
