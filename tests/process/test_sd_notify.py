"""What systemd learns of a server: real processes, and a real datagram socket in the place of systemd's."""

from __future__ import annotations

import json
import math
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from loguru import logger

from fanout.config import load
from fanout.process.sd_notify import EXIT_S, RETRY_S, ServiceManager, service_manager
from fanout.process.service import longest_shutdown_s
from fanout.process.workers import STUCK_MARGIN_S
from fanout.testing import Program
from fanout.testing import running as really_running
from tests.blackbox.conftest import request
from tests.forked import running

FREE = ("--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0")
SERVE = ("serve", *FREE, "--upstream", "http://127.0.0.1:1/")
ENTRY = '{"time":'
WITHIN_S = 30  # generous: what is waited for is about to happen
LONGEST_S = longest_shutdown_s(load({}, {}).settings) + EXIT_S
# Read by every Python that starts with it on its path: a signal blocks the main thread, which runs the loop.
BLOCKS_AT_SIGUSR1 = """
import signal, time
signal.signal(signal.SIGUSR1, lambda *_: time.sleep(60))
"""


class Manager:
    """Reads what a server sends. name: what NOTIFY_SOCKET is to be."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self.socket.settimeout(WITHIN_S)

    def environment(self, watchdog_s: float | None = None) -> dict[str, str]:
        found = {"NOTIFY_SOCKET": self.name}
        return found if watchdog_s is None else found | {"WATCHDOG_USEC": str(int(watchdog_s * 1e6))}

    def next(self) -> list[str]:
        """The assignments of the next message."""
        return self.socket.recv(4096).decode().split("\n")

    def next_but_feeds(self) -> list[str]:
        while (message := self.next()) == ["WATCHDOG=1"]:
            pass
        return message

    def is_silent_for(self, seconds: float) -> bool:
        return not select.select([self.socket], [], [], seconds)[0]

    def forget(self) -> None:
        while not self.is_silent_for(0):
            self.socket.recv(4096)

    def fill(self) -> None:
        """From now on, until something is read, nobody can send."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(self.socket.getsockname())
            sender.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    sender.send(b"WATCHDOG=1")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    with manager.socket:
        yield manager


@pytest.fixture
def blocks_at_sigusr1(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "start"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(BLOCKS_AT_SIGUSR1)
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).parents[2])])}


def log(program: Program, part: str) -> list[dict[str, Any]]:
    """Entries with this part. One may stand within a line of a traceback that another process writes."""
    lines = program.errors.decode().splitlines(keepends=True)
    found = [line[line.find(ENTRY) :] for line in lines if line.endswith("\n") and ENTRY in line]
    return [entry for entry in map(json.loads, found) if part in entry["message"]]


def wait_until_logged(program: Program, part: str, times: int = 1) -> dict[str, Any]:
    deadline = time.monotonic() + WITHIN_S
    while len(log(program, part)) < times:
        assert time.monotonic() < deadline, (part, program.errors)
        time.sleep(0.02)
    return log(program, part)[-1]


def ends_with(program: Program) -> int:
    """The exit code of a program that has had its signal."""
    code = program.process.wait(WITHIN_S)
    program.kill()  # it has ended: this reads the rest of what it said
    return code


@pytest.mark.parametrize("kind", ["file", "abstract"])
def test_a_server_says_when_it_is_ready_and_when_it_stops(tmp_path: Path, kind: str) -> None:
    """STOPPING comes with the signal, while requests are still in flight, and says how long they can take."""
    manager = Manager(str(tmp_path / "notify") if kind == "file" else f"@fanout-test-{os.getpid()}")
    with (
        manager.socket,
        socket.create_server(("127.0.0.1", 0)) as silent,
        running(
            "serve",
            *FREE,
            "--upstream",
            f"http://127.0.0.1:{silent.getsockname()[1]}/",
            environment=manager.environment(),
        ) as program,
    ):
        assert manager.next() == [
            "READY=1",
            f"STATUS=serving at {program.urls['api']}/api/first?timeout=1000",
        ]
        assert request(program.urls["admin"], "/readyz").status == 200
        host, _, port = program.urls["api"].removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=WITHIN_S) as client:
            client.sendall(b"GET /api/first?timeout=1000 HTTP/1.1\r\nHost: it\r\n\r\n")
            while not request(program.urls["admin"], "/statistics").json["admission"]["in_flight"]:
                time.sleep(0.01)
            program.process.send_signal(signal.SIGTERM)
            first, extend, status = manager.next()
            assert program.process.poll() is None
            assert client.recv(4096).startswith(b"HTTP/1.1 500"), "its timeout, and no shorter"
        assert (first, status) == ("STOPPING=1", "STATUS=graceful shutdown")
        assert extend == f"EXTEND_TIMEOUT_USEC={int(LONGEST_S * 1e6)}"
        assert ends_with(program) == 0
        assert manager.is_silent_for(0), "no watchdog was asked for"


def test_a_stuck_event_loop_does_not_feed_the_watchdog(
    manager: Manager, blocks_at_sigusr1: dict[str, str]
) -> None:
    """Twice per interval as long as the loop runs. While it is stuck, all other threads still run."""
    watchdog_s = 0.6
    with really_running(*SERVE, environment=manager.environment(watchdog_s) | blocks_at_sigusr1) as program:
        assert manager.next()[0] == "READY=1"
        began = time.monotonic()
        assert [manager.next() for _ in range(4)] == [["WATCHDOG=1"]] * 4
        assert time.monotonic() - began >= watchdog_s * 1.5, "not more often than needed"
        program.process.send_signal(signal.SIGUSR1)
        time.sleep(watchdog_s / 2)  # it is stuck
        manager.forget()
        assert manager.is_silent_for(watchdog_s * 2)
        program.kill()


def test_the_watchdog_of_another_process_is_not_fed(manager: Manager) -> None:
    other = {"WATCHDOG_PID": str(os.getpid())}
    with running(*SERVE, environment=manager.environment(0.1) | other) as program:
        assert manager.next()[0] == "READY=1"
        assert manager.is_silent_for(0.3)
        assert program.stop() == 0
        assert manager.next()[0] == "STOPPING=1"


@pytest.mark.timeout(180)  # three starts of a worker, each of which may take long on a busy machine
def test_the_parent_speaks_for_its_workers_and_ends_one_that_is_stuck(
    manager: Manager, blocks_at_sigusr1: dict[str, str]
) -> None:
    """READY when all workers are. A stuck one is replaced; its sibling serves, and the watchdog is fed."""
    environment = manager.environment(watchdog_s=2) | blocks_at_sigusr1 | {"PYTHONFAULTHANDLER": "1"}
    with really_running(*SERVE, "--workers", "2", environment=environment) as program:
        assert manager.next()[0] == "READY=1"
        admins = [program.urls["admin"], program.urls["admin-1"]]
        assert [request(admin, "/readyz").status for admin in admins] == [200, 200]
        wait_until_logged(program, "is ready", times=2)
        stuck, other = (
            next(entry["pid"] for entry in log(program, "is ready") if entry["worker"] == index)
            for index in (0, 1)
        )
        for pid in (stuck, other):
            assert b"NOTIFY_SOCKET" not in Path(f"/proc/{pid}/environ").read_bytes()
        os.kill(stuck, signal.SIGUSR1)
        assert wait_until_logged(program, "has been stuck")["worker"] == 0
        died = wait_until_logged(program, "another one starts")
        assert died["message"].startswith("worker 0 was ended by signal 6 (Aborted)")
        assert b"sitecustomize.py" in program.errors, "the traceback says where it was stuck"
        assert request(admins[1], "/statistics").json["restarts"] == 0
        wait_until_logged(program, "worker 0 is ready", times=2)
        assert manager.next() == ["WATCHDOG=1"]
        manager.forget()
        assert manager.next() == ["WATCHDOG=1"], "after that, too"
        program.process.send_signal(signal.SIGTERM)
        first, extend, _ = manager.next_but_feeds()
        assert (first, extend) == (
            "STOPPING=1",
            f"EXTEND_TIMEOUT_USEC={int((LONGEST_S + STUCK_MARGIN_S) * 1e6)}",
        )
        assert ends_with(program) == 0
        assert len(log(program, "has been stuck")) == 1, "who works, or drains, is not stuck"


@pytest.mark.parametrize("who", ["all", pytest.param("the parent", marks=pytest.mark.long)])
def test_a_parent_that_was_stopped_takes_nobody_for_stuck(manager: Manager, who: str) -> None:
    """G10: by Ctrl-Z, a debugger or a freezer. The parent has yet to read what its workers have sent."""
    with really_running(*SERVE, "--workers", "2", environment=manager.environment(watchdog_s=2)) as program:
        assert manager.next()[0] == "READY=1"
        wait_until_logged(program, "is ready", times=2)
        workers = [entry["pid"] for entry in log(program, "is ready")]
        stopped = [program.process.pid, *(workers if who == "all" else [])]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(3)
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        manager.forget()
        assert manager.next() == ["WATCHDOG=1"]
        time.sleep(1.5)  # longer than the second chance of a silent worker
        program.process.send_signal(signal.SIGTERM)
        assert ends_with(program) == 0
        assert not log(program, "has been stuck")
        assert [entry["pid"] for entry in log(program, "is ready")] == workers


@pytest.mark.parametrize("kind", ["nothing there", "not a socket", "too long"])
def test_a_manager_that_cannot_be_reached_is_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("x" * 200 if kind == "too long" else "notify")
    if kind == "not a socket":
        path.touch()
    environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "100000"}
    with running(*SERVE, environment=environment) as program:
        line = wait_until_logged(program, "NOTIFY_SOCKET")
        time.sleep(0.2)  # four times as long as between two messages to the watchdog
        assert request(program.urls["admin"], "/readyz").status == 200
        assert program.stop() == 0
        assert log(program, "NOTIFY_SOCKET") == [line]
        assert f"NOTIFY_SOCKET={path}: READY=1 was not sent: " in line["message"]


def test_a_manager_that_does_not_read_stalls_nothing_and_learns_it_later(manager: Manager) -> None:
    """EAGAIN: its queue is full, as while a machine boots. Without READY it would end the server."""
    manager.fill()
    with running(*SERVE, environment=manager.environment(0.1)) as program:
        line = wait_until_logged(program, "NOTIFY_SOCKET")
        assert request(program.urls["admin"], "/readyz").status == 200
        assert line["message"].endswith("Resource temporarily unavailable")
        assert len(log(program, "NOTIFY_SOCKET")) == 1
        assert manager.next_but_feeds()[0] == "READY=1"
        assert program.stop() == 0
        assert manager.next_but_feeds()[0] == "STOPPING=1"


def test_the_variables_are_for_one_process_only() -> None:
    environment = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "30000000", "FANOUT_BIND": "h:1"}
    environment["WATCHDOG_PID"] = str(os.getpid())
    assert service_manager(environment).watchdog_s == 30
    assert environment == {"FANOUT_BIND": "h:1"}


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        (
            {"NOTIFY_SOCKET": "notify", "WATCHDOG_USEC": "1000000"},
            "NOTIFY_SOCKET=notify: not used: use an absolute path, or @ and a name",
        ),
        *(
            (
                {"NOTIFY_SOCKET": "/notify", "WATCHDOG_USEC": usec},
                f"WATCHDOG_USEC={usec}: not used: use a whole number of microseconds from 100000 up",
            )
            for usec in ("0", "-1", "1e6", "1", "99999", "9" * 5000)
        ),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value.values()))[:20],
)
def test_what_no_manager_would_set_is_one_line_and_no_watchdog(
    environment: dict[str, str], line: str
) -> None:
    said: list[str] = []
    sink = logger.add(lambda message: said.append(message.record["message"]))
    try:
        assert service_manager(environment).watchdog_s == math.inf
    finally:
        logger.remove(sink)
    assert said == [line]


def test_the_shortest_watchdog_is_one_that_a_busy_event_loop_can_feed() -> None:
    assert service_manager({"NOTIFY_SOCKET": "/notify", "WATCHDOG_USEC": "100000"}).watchdog_s == 0.1


async def test_without_a_manager_nothing_is_sent_and_nothing_waits(autojump_clock: trio.abc.Clock) -> None:
    assert service_manager({"WATCHDOG_USEC": "1000000"}).watchdog_s == math.inf
    began = trio.current_time()
    await ServiceManager().keep_informed("http://it", 1, trio.Event())
    assert trio.current_time() == began


async def test_a_message_for_which_there_is_no_memory_is_sent_later(autojump_clock: trio.abc.Clock) -> None:
    """As one that the manager does not take. It would end the server."""
    sent: list[str] = []

    class Socket:
        lacks_memory = True

        def sendto(self, message: bytes, flags: int, address: str) -> None:
            if self.lacks_memory:
                self.lacks_memory = False
                raise MemoryError
            sent.append(message.decode())

    began = trio.current_time()
    await ServiceManager("/notify")._say(cast(socket.socket, Socket()), "READY=1", "STATUS=serving")
    assert sent == ["READY=1\nSTATUS=serving"]
    assert trio.current_time() - began == RETRY_S
