"""What a server writes: rows for people on a terminal, and nothing but JSON lines anywhere else."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from fanout.process.ready import say_ready
from tests.blackbox.conftest import request
from tests.forked import Forked
from tests.lacking import needs

FREE: Final = ("--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0")
WITHIN_S: Final = 20
COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")


class Output:
    """All that a program writes, to either stream, in one piece. `text` grows."""

    def __init__(self, process: Forked, descriptor: int) -> None:
        self.process = process
        self.text = ""
        self._descriptor = descriptor
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._descriptor, 65536)
            except OSError:  # a terminal that nobody has open any more
                return
            if not data:
                return
            self.text += data.decode().replace("\r\n", "\n")

    def wait_for(self, holds: Callable[[str], Any], within_s: float = WITHIN_S) -> Any:
        """What `holds` gives of the text, once that is true."""
        ends_at = time.monotonic() + within_s
        while not (found := holds(self.text)):
            assert time.monotonic() < ends_at, self.text
            time.sleep(0.01)
        return found

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(WITHIN_S)
        self._reader.join()
        return code

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every line so far. Raises `ValueError` for one that is not JSON."""
        return [json.loads(line) for line in self.text.splitlines(keepends=True) if line.endswith("\n")]


@contextmanager
def started(ends: tuple[int, int], /, *arguments: str, **environment: str) -> Iterator[Output]:
    """`fanout ARGUMENTS` with both streams on the second of two descriptors; we read the first."""
    ours, its = ends
    output = Output(Forked(arguments, environment, its, its), ours)
    os.close(its)
    try:
        yield output
        if output.process.poll() is None:
            output.stop()
    finally:
        output.process.kill()
        output.process.wait()
        os.close(ours)


def piped(*arguments: str, **environment: str) -> AbstractContextManager[Output]:
    """As `fanout ARGUMENTS 2>&1 |`."""
    return started(os.pipe(), *arguments, **environment)


def on_a_terminal(*arguments: str, **environment: str) -> AbstractContextManager[Output]:
    return started(os.openpty(), *arguments, **environment)


def ready(text: str) -> dict[str, str] | None:
    events = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return next((event for event in events if event["message"] == "ready"), None)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_without_a_terminal_every_line_is_json(workers: str) -> None:
    """From the first, a warning about a setting, to the last, and of every worker: what `jq` gets."""
    upstreams = (
        "--upstream",
        "http://me:hidden@127.0.0.1:1/a?key=hidden",
        "--upstream",
        "http://127.0.0.1:2/b",
    )
    arguments = ("serve", *FREE, "--workers", workers, *upstreams)
    with piped(*arguments, FANOUT_LOG_LEVELS="info") as output:
        event = output.wait_for(ready)
        assert request(event["api"], "/api/all?timeout=500").status == 500
        assert request(event["api"], "/nowhere", method="DELETE").status == 404
        output.wait_for(lambda text: text.count('"message":"request"') == 2)
        assert output.stop() == 0
    assert {"api", "docs", "admin", "live", "version", "time", "level"} <= event.keys()
    assert ("admin-1" in event) is (workers == "2")
    assert (event["upstream"], event["upstream-1"]) == (
        "http://***@127.0.0.1:1/a?key=***",
        "http://127.0.0.1:2/b",
    )
    events = output.events
    assert "hidden" not in output.text
    assert [event["message"] for event in events if "FANOUT_LOG_LEVELS" in event["message"]] == [
        "FANOUT_LOG_LEVELS is not a setting and was ignored: did you mean FANOUT_LOG_LEVEL?"
    ]
    other, first = sorted((e for e in events if e["message"] == "request"), key=lambda e: str(e["method"]))
    assert (first["method"], first["path"], first["status"]) == ("GET", "/api/all", 500)
    assert re.fullmatch(r"127\.0\.0\.1:\d+", first["client"])
    assert [call["upstream"] for call in first["calls"]] == ["127.0.0.1:1", "127.0.0.1:2"]
    assert (other["method"], other["path"], other["status"]) == ("DELETE", "/nowhere", 404)
    assert events[-1]["message"] == "stopped"


ODD: Final = """
import sys, threading, warnings
from fanout import __main__, cli
from fanout.observe.log import configure_logging, log_what_python_reports

class Odd:
    def __del__(self):
        raise ValueError("in a finalizer")

def run(endpoints=None):
    configure_logging("info", sys.argv[1], secrets=["open-sesame"])
    log_what_python_reports()
    warnings.warn("an odd use", stacklevel=1)
    Odd()
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    raise {"bug": RuntimeError, "lack": MemoryError}[sys.argv[2]]("open-sesame")

cli.run = run
__main__.main()
"""


def odd(log_format: str, end: str) -> subprocess.CompletedProcess[str]:
    """A program in which Python reports three things, before it ends with a bug, or for lack of memory."""
    command = [sys.executable, "-c", ODD, log_format, end]
    return subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)


def test_what_python_reports_and_a_crash_are_json_lines() -> None:
    """G11: a bug of the server itself is its last line, with the traceback, and nothing in it is secret."""
    done = odd("json", "bug")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert (done.returncode, done.stdout) == (3, "")
    assert "an odd use" in events[0]["message"]
    assert (events[0]["level"], events[0]["logger"]) == ("warning", "py.warnings")
    assert "ValueError: in a finalizer" in events[1]["traceback"]
    assert (events[2]["message"], events[2]["level"]) == ("an exception ended a thread", "error")
    assert "ZeroDivisionError" in events[2]["traceback"]
    assert (events[3]["message"], events[3]["level"]) == ("the server has crashed", "error")
    assert events[3]["traceback"].endswith("RuntimeError: ***")
    assert len(events) == 4


def test_a_machine_that_lacks_something_is_one_last_line() -> None:
    done = odd("text", "lack")
    assert done.returncode == 3
    assert done.stderr.endswith("\ncannot allocate memory: give this process more\n")


def rows(text: str) -> list[str]:
    """The request lines of a terminal, in words: without colours and times."""
    plain = COLOURS.sub("", text)
    return re.findall(
        r"^(?:INFO   |WARNING|ERROR  ) \d\d:\d\d:\d\d\.\d{3} ([A-Z]+ /.*)$", plain, re.MULTILINE
    )


def _has_more_rows(before: int, text: str) -> bool:
    return len(rows(text)) > before


def row_of(output: Output, command: str, said: str) -> str:
    """Run the command until its row says that. curl, which gives up after 90 ms, may not have connected by
    then, on a machine that is busy."""
    for _ in range(WITHIN_S):
        before = len(rows(output.text))
        subprocess.run(["sh", "-c", command], capture_output=True, timeout=WITHIN_S, check=False)
        with suppress(AssertionError):
            output.wait_for(partial(_has_more_rows, before), within_s=2)
        found = [row for row in rows(output.text)[before:] if re.search(said, row)]
        if found:
            return found[0]
    raise AssertionError(output.text)


def hints(text: str) -> list[str]:
    """The commands that the demo's ready lines end with."""
    return re.findall(r"^  [a-z ,:]+?  +(curl .+)$", text, re.MULTILINE)


@needs("curl")
@pytest.mark.parametrize("no_colour", ["", "1"])
def test_on_a_terminal_the_demo_ends_with_three_things_to_try_and_the_log_tells_their_story(
    no_colour: str,
) -> None:
    """The commands run as they stand; each row is in colour, unless `NO_COLOR` is set."""
    with on_a_terminal("demo", *FREE, "--reliable", NO_COLOR=no_colour) as output:
        race, disconnect, fail = output.wait_for(lambda text: len(hints(text)) == 3 and hints(text))
        lab = output.wait_for(lambda text: re.search(r"step through: (\S+/lab)\n$", text))
        assert f"{fail}\n\nEvery guarantee" in output.text
        live = re.findall(r"^  live +(\S+)$", output.text, re.MULTILINE)[0]
        assert f"to watch at {live}\n" in output.text
        assert lab[1] == live.replace("/live", "/lab")
        won = row_of(output, race, r"GET /api/first 200 \d+ ms  .*call \d won after \d+ ms")
        assert re.search(r"call \d was cancelled after \d+ ms \(call \d settled the race\)", won)
        row_of(
            output,
            disconnect,
            r"GET /api/first --- \d+ ms  the client disconnected: call 0 was cancelled after",
        )
        subprocess.run(["sh", "-c", fail], capture_output=True, timeout=WITHIN_S, check=True)
        row_of(
            output,
            race,
            r"GET /api/first 500 \d+ ms  no success: call 0 failed after \d+ ms \(bad_status 50",
        )
    assert ("\x1b[32m200\x1b[0m" in output.text) is not bool(no_colour)
    assert ("\x1b[31m500\x1b[0m" in output.text) is not bool(no_colour)
    assert ("\x1b" in output.text) is not bool(no_colour)


def test_json_is_json_on_a_terminal_too() -> None:
    with on_a_terminal("demo", *FREE, FANOUT_LOG_FORMAT="json") as output:
        output.wait_for(ready)
    assert output.events[-1]["message"] == "stopped"


@pytest.mark.parametrize("log_format", ["text", "json", "auto"])
def test_the_ready_lines_have_the_form_that_is_asked_for(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    say_ready("fanout", {"api": "http://a/", "admin": "http://b/"}, log_format, hints=["", "try it"])
    text = capsys.readouterr().out
    if log_format == "text":
        assert re.fullmatch(r"fanout \S+ is ready\n  api    http://a/\n  admin  http://b/\n\ntry it\n", text)
    else:
        assert (json.loads(text)["api"], json.loads(text)["message"]) == ("http://a/", "ready")


def browsers(folder: Path, words: str) -> str:
    """A `PATH` on which the only browser is a script, to be named by `BROWSER`."""
    browser = folder / "browser"
    browser.write_text(f"#!/bin/sh\n{words}\n")
    browser.chmod(0o755)
    return f"{browser} %s"


def test_open_opens_the_live_page_that_is_printed(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    browser = browsers(tmp_path, f'echo "$1" > {seen}.part && /bin/mv {seen}.part {seen}')
    with piped("demo", *FREE, "--open", BROWSER=browser, PATH=str(tmp_path)) as output:
        event = output.wait_for(ready)
        output.wait_for(lambda _: seen.exists())
        assert seen.read_text() == event["live"] + "\n"
        page = request(event["live"], urlsplit(event["live"]).path)
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert output.stop() == 0
    assert [event["message"] for event in output.events if event["level"] == "warning"] == []


def test_without_a_browser_the_log_says_what_to_open(tmp_path: Path) -> None:
    with piped("demo", *FREE, "--open", BROWSER=browsers(tmp_path, "exit 1"), PATH=str(tmp_path)) as output:
        event = output.wait_for(ready)
        message = f"no browser can be opened here: open {event['live']} yourself"
        output.wait_for(lambda text: message in text)
        assert request(event["api"], "/api/first?timeout=3000").status in (200, 500)
        assert output.stop() == 0


def test_a_browser_that_takes_its_time_delays_neither_answers_nor_the_exit(tmp_path: Path) -> None:
    slow = browsers(tmp_path, "exec > /dev/null 2>&1; /bin/sleep 30 & echo $! > $0.pid; wait")
    with piped("demo", *FREE, "--open", BROWSER=slow, PATH=str(tmp_path)) as output:
        event = output.wait_for(ready)
        output.wait_for(lambda _: (tmp_path / "browser.pid").exists())
        began = time.monotonic()
        assert request(event["admin"], "/livez").status == 200
        assert output.stop() == 0
        assert time.monotonic() - began < 10
        os.kill(int((tmp_path / "browser.pid").read_text()), signal.SIGKILL)
