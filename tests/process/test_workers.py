"""`serve --workers 2` as its operator has it: real processes, real sockets, real signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, HTTPServer
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing
from loguru import logger

import fanout.process.workers as workers_module
from fanout.config import Bind, SettingsError, load
from fanout.process.exits import FAILED
from fanout.process.restarts import FIRST_PAUSE_S, GROWN_UP_S, LONGEST_PAUSE_S, keep_running, next_pause_s
from fanout.process.sd_notify import ServiceManager
from fanout.process.service import longest_shutdown_s
from fanout.process.worker import ALIVE
from fanout.process.workers import SECOND_WAIT_S, STUCK_MARGIN_S, Workers
from fanout.server.listeners import open_listeners
from fanout.testing import Program, running
from tests.blackbox.conftest import request

FREE = ["--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0"]
WITHIN_S = 30  # generous: what is waited for is about to happen


def wait_until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not true():
        assert time.monotonic() < deadline, f"not within {WITHIN_S} s: {what}"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie: who was adopted by a lazy init has ended all the same."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except ProcessLookupError:
        return False
    except FileNotFoundError:  # it ended just now, or there is no /proc
        return not Path("/proc/self").exists()


class Cluster:
    """A running `serve --workers 2`. `admins`: the base URL of each worker's admin listener."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.api = program.urls["api"]
        self.admins = [program.urls["admin"], program.urls["admin-1"]]

    def log(self, part: str) -> list[dict[str, Any]]:
        lines = self.program.errors.decode().splitlines(keepends=True)
        entries = [json.loads(line) for line in lines if line.endswith("\n")]
        return [entry for entry in entries if part in entry["message"]]

    def pids(self) -> list[int]:
        """Of the workers, in their order; of the latest where one was replaced."""
        wait_until(
            lambda: len({entry["worker"] for entry in self.log("is ready")}) == 2, "the pids are logged"
        )
        latest = {entry["worker"]: entry["pid"] for entry in self.log("is ready")}
        return [latest[0], latest[1]]

    def in_flight(self) -> list[int]:
        return [request(admin, "/statistics").json["admission"]["in_flight"] for admin in self.admins]

    def admitted(self) -> int:
        return sum(request(admin, "/statistics").json["admission"]["admitted"] for admin in self.admins)

    def is_draining(self) -> bool:
        return len(self.log("requests in flight")) == 2

    def refuses(self) -> bool:
        """Whether nobody listens any more: no worker, nor the parent, where nobody would accept."""
        try:
            socket.create_connection(
                ("127.0.0.1", int(self.api.rpartition(":")[2])), timeout=WITHIN_S
            ).close()
        except ConnectionRefusedError:
            return True
        return False

    def occupy(self, threads: ThreadPoolExecutor) -> list[Future[int]]:
        """Start requests until both workers have some. Returns their statuses to be."""
        answers: list[Future[int]] = []
        before = self.admitted()
        while not all(self.in_flight()):
            assert len(answers) < 100, self.in_flight()
            answers.append(threads.submit(lambda: request(self.api, "/api/all?timeout=20000").status))
            # Not those in flight: on a slow machine the first may have ended before the last has begun.
            wait_until(lambda: self.admitted() >= before + len(answers), "the request is admitted")
        return answers


@pytest.fixture(scope="module")
def simulator() -> Iterator[str]:
    with running("upstream", "--reliable", "--bind", "127.0.0.1:0") as program:
        yield program.urls["upstream"]


@contextmanager
def cluster(simulator: str, *arguments: str, delay_ms: int) -> Iterator[Cluster]:
    """In a process group of its own, of which nothing is left after the block."""
    upstream = f"{simulator}/api/work?delay_ms={delay_ms}&fault=none"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "fanout",
            "serve",
            *FREE,
            "--workers",
            "2",
            "--upstream",
            upstream,
            *arguments,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    program = Program(process)
    try:
        program.wait_until_ready()
        yield Cluster(program)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        program.kill()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=100) as pool:
        yield pool


class Load:
    """Clients one after the other, eight at a time, each on a connection of its own."""

    def __init__(self, api: str, threads: ThreadPoolExecutor) -> None:
        self.good = 0
        self.bad: list[tuple[float, object]] = []  # when it began, and what came of it
        self._api = api
        self._enough = threading.Event()
        self._clients = [threads.submit(self._call) for _ in range(8)]

    def end(self) -> None:
        self._enough.set()
        for client in self._clients:
            client.result()

    def _call(self) -> None:
        while not self._enough.is_set():
            began = time.monotonic()
            try:
                status: object = request(self._api, "/api/first?timeout=5000").status
            except (OSError, HTTPException) as error:
                status = error
            if status in (
                200,
                503,
            ):  # refused is answered: eight clients can be more than a busy machine can serve
                self.good += 1
            else:
                self.bad.append((began, status))


def test_a_killed_worker_is_replaced_and_only_its_own_requests_fail(
    simulator: str, threads: ThreadPoolExecutor
) -> None:
    with cluster(simulator, delay_ms=50) as serving:
        (killed, other), load = serving.pids(), Load(serving.api, threads)
        wait_until(lambda: load.good > 50, "the load runs")
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: not is_running(killed), "the worker is dead")
        died_at = time.monotonic()
        wait_until(lambda: len(serving.log("worker 0 is ready")) == 2, "the worker is replaced")
        good = load.good
        wait_until(lambda: load.good > good + 50, "the load still runs")
        load.end()
        assert len(load.bad) <= 8
        assert all(began <= died_at for began, _ in load.bad), load.bad
        assert serving.pids()[0] != killed
        assert serving.pids()[1] == other
        assert request(serving.admins[0], "/readyz").status == 200, "the same port as before"
        assert [request(admin, "/statistics").json["restarts"] for admin in serving.admins] == [1, 0]
        (died,) = serving.log("another one starts")
        assert died["message"] == "worker 0 was ended by signal 9 (Killed): another one starts in 0.1 s"
        assert serving.program.output.count(b'"message":"ready"') == 1
        assert serving.program.stop() == 0
        assert len(serving.log("worker 0 is ready")) == 2, "who drained is not replaced"


@pytest.mark.parametrize(
    "send",
    [
        pytest.param(lambda parent: os.kill(parent, signal.SIGTERM), id="SIGTERM to the parent"),
        pytest.param(
            lambda parent: os.killpg(parent, signal.SIGINT),
            id="Ctrl-C: SIGINT to the group",
            marks=pytest.mark.long,
        ),
    ],
)
def test_one_signal_drains_every_worker(
    simulator: str, threads: ThreadPoolExecutor, send: Callable[[int], None]
) -> None:
    """G9: what was admitted, by any worker, is answered, and the exit code is 0."""
    with cluster(simulator, delay_ms=3000) as serving:
        answers, pids = serving.occupy(threads), serving.pids()
        send(serving.program.process.pid)
        wait_until(serving.refuses, "the port is closed while the requests run")
        assert not any(answer.done() for answer in answers)
        assert {answer.result() for answer in answers} == {200}
        assert serving.program.process.wait(WITHIN_S) == 0
        assert not any(is_running(pid) for pid in pids)
        assert not serving.log("another one starts")


def test_workers_serve_on_in_their_lame_duck_and_close_what_they_answer(
    simulator: str, threads: ThreadPoolExecutor
) -> None:
    """G9: no worker is ready any more, and new connections are served as before."""
    with cluster(simulator, "--lame-duck-ms", "3000", delay_ms=1) as serving:
        serving.program.process.send_signal(signal.SIGTERM)
        wait_until(lambda: len(serving.log("not ready any more")) == 2, "both know")
        assert [request(admin, "/readyz").status for admin in serving.admins] == [503, 503]
        answers = [request(serving.api, "/api/first?timeout=2000") for _ in range(20)]
        assert {(answer.status, answer.headers["connection"]) for answer in answers} == {(200, "close")}
        assert not serving.is_draining()
        assert serving.program.process.wait(WITHIN_S) == 0
        assert not serving.log("another one starts")


def test_a_second_signal_ends_everything_at_once(simulator: str, threads: ThreadPoolExecutor) -> None:
    with cluster(simulator, delay_ms=15_000) as serving:
        answers, pids = serving.occupy(threads), serving.pids()
        began = time.monotonic()
        serving.program.process.send_signal(signal.SIGTERM)
        wait_until(serving.is_draining, "every worker drains")
        serving.program.process.send_signal(signal.SIGTERM)
        assert serving.program.process.wait(WITHIN_S) == 0
        assert time.monotonic() - began < 10, "the requests were waited for"
        assert not any(is_running(pid) for pid in pids)
        assert all(answer.exception() for answer in answers)


def test_a_worker_lost_while_draining_is_the_exit_code(simulator: str, threads: ThreadPoolExecutor) -> None:
    """G9: requests without an answer are no success. Nor are they a broken guarantee, which is 1."""
    with cluster(simulator, delay_ms=3000) as serving:
        answers, pids = serving.occupy(threads), serving.pids()
        serving.program.process.send_signal(signal.SIGTERM)
        wait_until(serving.is_draining, "every worker drains")
        os.kill(pids[0], signal.SIGKILL)
        assert serving.program.process.wait(WITHIN_S) == FAILED
        assert [entry["worker"] for entry in serving.log("while it drained")] == [0]
        assert any(answer.exception() is None for answer in answers), "the other worker has drained"


def test_workers_drain_and_end_when_the_parent_is_killed(simulator: str, threads: ThreadPoolExecutor) -> None:
    with cluster(simulator, delay_ms=3000) as serving:
        answers, pids = serving.occupy(threads), serving.pids()
        serving.program.process.kill()
        assert {answer.result() for answer in answers} == {200}
        wait_until(lambda: not any(is_running(pid) for pid in pids), "the workers have ended")
        with pytest.raises(ConnectionRefusedError):
            request(serving.api, "/api/first")


def test_a_worker_that_is_stuck_does_not_hold_up_the_end(simulator: str) -> None:
    times = ["--max-timeout-ms", "100", "--default-timeout-ms", "100"]
    with cluster(simulator, *times, delay_ms=10) as serving:
        stuck, other = serving.pids()
        os.kill(stuck, signal.SIGSTOP)
        assert request(serving.api, "/openapi.json").status == 200, "who is not stuck takes the connection"
        assert serving.program.stop() == FAILED
        assert not is_running(stuck)
        assert not is_running(other)
        assert [entry["worker"] for entry in serving.log("killed")] == [0]


@pytest.mark.parametrize(
    ("flag", "variable"), [("--bind", "FANOUT_BIND"), ("--admin-bind", "FANOUT_ADMIN_BIND")]
)
def test_a_port_in_use_is_one_line_before_any_worker(flag: str, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-m", "fanout", "serve", *FREE, "--workers", "2"]
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run([*command, flag, bind], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"fanout: {variable}={bind}: cannot listen: address already in use")
    assert done.stderr.count("\n") == 1


@contextmanager
def two_admins(first_status: int, second_status: int) -> Iterator[int]:
    """Listeners on neighbouring ports that answer with these statuses. Gives the first port."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(first_status if self.server is first else second_status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    first, second = neighbours(Answer)
    for server in (first, second):
        threading.Thread(target=server.serve_forever, args=[0.01]).start()
    yield first.server_port
    for server in (first, second):
        server.shutdown()
        server.server_close()


def neighbours(handler: type[BaseHTTPRequestHandler]) -> tuple[HTTPServer, HTTPServer]:
    while True:
        first = HTTPServer(("127.0.0.1", 0), handler)
        try:
            return first, HTTPServer(("127.0.0.1", first.server_port + 1), handler)
        except (OSError, OverflowError):  # the next port is somebody else's, or there is none
            first.server_close()


@pytest.mark.parametrize(
    ("statuses", "said"), [((200, 200), (0, "ready\n")), ((200, 503), (1, "not ready\n"))]
)
def test_health_is_ready_when_every_worker_is(statuses: tuple[int, int], said: tuple[int, str]) -> None:
    with two_admins(*statuses) as port:
        command = [
            sys.executable,
            "-m",
            "fanout",
            "health",
            "--workers",
            "2",
            "--admin-bind",
            f"127.0.0.1:{port}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == said


def test_the_admin_ports_follow_each_other() -> None:
    flags = {"workers": "3", "admin_bind": "127.0.0.1:9000"}
    assert load({}, flags).settings.admin_binds == tuple(
        Bind("127.0.0.1", port) for port in (9000, 9001, 9002)
    )
    free = load({}, {"workers": "2", "admin_bind": "127.0.0.1:0"}).settings
    assert free.admin_binds == (Bind("127.0.0.1", 0), Bind("127.0.0.1", 0))


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"workers": "0"}, ["--workers='0'", "from 1 to 64"]),
        ({"workers": "65"}, ["--workers='65'", "from 1 to 64"]),
        (
            {"workers": "3", "admin_bind": "h:65534"},
            ["FANOUT_WORKERS=3", "FANOUT_ADMIN_BIND=h:65534", "65535"],
        ),
        (
            {"workers": "3", "bind": "h:82", "admin_bind": "h:80"},
            ["FANOUT_WORKERS=3", "FANOUT_ADMIN_BIND=h:80", "FANOUT_BIND=h:82"],
        ),
    ],
)
def test_workers_without_a_port_of_their_own_are_refused(flags: dict[str, str], named: list[str]) -> None:
    with pytest.raises(SettingsError) as raised:
        load({}, flags)
    assert all(part in str(raised.value) for part in named), raised.value


@pytest.mark.parametrize(
    "flags",
    [{"workers": "2", "admin_bind": "h:65534"}, {"workers": "3", "bind": "h:83", "admin_bind": "h:80"}],
)
def test_ports_that_just_fit_are_taken(flags: dict[str, str]) -> None:
    load({}, flags)


def test_pauses_double_up_to_a_limit_and_start_anew_after_a_good_life() -> None:
    pauses = [next_pause_s(0, 0)]
    while pauses[-1] < LONGEST_PAUSE_S:
        pauses.append(next_pause_s(pauses[-1], GROWN_UP_S - 1))
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0])
    assert next_pause_s(LONGEST_PAUSE_S, 0) == LONGEST_PAUSE_S
    assert next_pause_s(LONGEST_PAUSE_S, GROWN_UP_S) == FIRST_PAUSE_S


async def test_a_worker_that_keeps_dying_is_started_ever_later(autojump_clock: trio.abc.Clock) -> None:
    """Lives of 0, 0, 1 and 20 s: who lived long is replaced as quickly as the first."""
    stop, lives, starts = trio.Event(), iter([0, 0, 1, 20, 0]), list[float]()
    told: list[tuple[str, float]] = []

    async def live() -> str:
        starts.append(trio.current_time())
        await trio.sleep(next(lives))
        if len(starts) == 5:
            stop.set()
        return "died"

    await keep_running(live, lambda how, pause_s: told.append((how, pause_s)), stop)
    assert [pause_s for _, pause_s in told] == pytest.approx([0.1, 0.2, 0.4, 0.1])
    assert [at - starts[0] for at in starts] == pytest.approx([0, 0.1, 0.3, 1.7, 21.8])


async def test_a_stop_ends_the_pause_and_starts_nobody(autojump_clock: trio.abc.Clock) -> None:
    stop, starts = trio.Event(), list[float]()

    async def die() -> str:
        starts.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        return "died"

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_running, die, lambda *_: None, stop)
        await trio.sleep(0.65)  # after the third start, in the pause of 0.4 s
        stop.set()
    assert trio.current_time() - began == pytest.approx(0.65)
    assert [at - began for at in starts] == pytest.approx([0, 0.1, 0.3])


async def test_a_worker_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    said: list[str] = []
    sink = logger.add(lambda message: said.append(message.record["message"]), level="ERROR")
    settings = load({}, {"bind": "127.0.0.1:0", "admin_bind": "127.0.0.1:0"}).settings
    public, admin = (open_listeners(settings.bind, "FANOUT_BIND") for _ in range(2))
    try:
        with trio.fail_after(WITHIN_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(Workers(settings, public, [admin], ServiceManager()).run))
                while len(said) < 2:
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
    finally:
        logger.remove(sink)
        for sock in (*public, *admin):
            sock.close()
    assert said[0].startswith("worker 0 could not be started: ")
    assert [line.rpartition("starts in ")[2] for line in said[:2]] == ["0.1 s", "0.2 s"]


@contextmanager
def one_worker(watchdog_s: float = inf) -> Iterator[Workers]:
    """That of a server of which nothing runs yet."""
    settings = load({}, {"bind": "127.0.0.1:0", "admin_bind": "127.0.0.1:0"}).settings
    public, admin = (open_listeners(settings.bind, "FANOUT_BIND") for _ in range(2))
    try:
        yield Workers(settings, public, [admin], ServiceManager("", watchdog_s))
    finally:
        for sock in (*public, *admin):
            sock.close()


@pytest.mark.parametrize(
    ("on_abort", "number"), [("SIG_IGN", 9), pytest.param("SIG_DFL", 6, marks=pytest.mark.long)]
)
async def test_a_worker_that_hangs_before_it_serves_is_replaced(
    on_abort: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import that waits for a dead disk, say: nothing else would ever end it."""
    hangs = f"import signal, time; signal.signal(signal.SIGABRT, signal.{on_abort}); time.sleep(1000)"
    serves = workers_module._PROGRAM
    monkeypatch.setattr(workers_module, "_PROGRAM", hangs)
    monkeypatch.setattr(workers_module, "START_WITHIN_S", 1)
    monkeypatch.setattr(workers_module, "LEAVE_WITHIN_S", 0.5)
    said: list[str] = []
    sink = logger.add(lambda message: said.append(message.record["message"]), level="ERROR")
    try:
        with one_worker() as workers, trio.fail_after(WITHIN_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(workers.run)
                while len(said) < 2:
                    await trio.sleep(0.01)
                monkeypatch.setattr(workers_module, "_PROGRAM", serves)
                monkeypatch.setattr(workers_module, "START_WITHIN_S", WITHIN_S)
                await workers._ready.wait()
                nursery.cancel_scope.cancel()
    finally:
        logger.remove(sink)
    assert said[0] == "worker 0 does not serve after 1 s, so it is ended"
    assert said[1].startswith(f"worker 0 was ended by signal {number} (")
    assert len(said) == 2


async def test_a_signal_as_the_last_worker_becomes_ready_is_a_shutdown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The listeners are closed then, whichever task runs first. Trio draws lots, so some attempts."""
    for _ in range(10):
        with one_worker() as workers:

            async def becomes_ready(index: int, workers: Workers = workers) -> str:
                await trio.testing.wait_all_tasks_blocked()
                workers._count_ready(index)
                workers._stop.set()
                await trio.testing.wait_all_tasks_blocked()
                return "exited with code 0"

            monkeypatch.setattr(workers, "_run_one", becomes_ready)
            with trio.fail_after(WITHIN_S):
                await workers.run()


async def test_a_parent_that_was_stuck_itself_ends_no_worker(autojump_clock: trio.testing.MockClock) -> None:
    """What a worker said in time is read late, when its time is over."""
    ended: list[int] = []
    ours, theirs = socket.socketpair()
    with one_worker(watchdog_s=10) as workers, theirs:
        autojump_clock.autojump_threshold = inf
        leash = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        process = cast("subprocess.Popen[bytes]", SimpleNamespace(send_signal=ended.append))
        async with leash, trio.open_nursery() as nursery:
            nursery.start_soon(workers._watch, 0, leash, process)
            for _ in range(3):
                await trio.testing.wait_all_tasks_blocked()
                theirs.send(ALIVE, socket.MSG_DONTWAIT)
                autojump_clock.jump(11)
            await trio.testing.wait_all_tasks_blocked()
            autojump_clock.jump(11)
            await trio.testing.wait_all_tasks_blocked()
            assert not ended, "the worker may have been stopped together with this process"
            autojump_clock.jump(SECOND_WAIT_S)
    assert ended == [signal.SIGABRT], "who is silent is"


async def test_a_worker_whose_first_byte_is_read_late_is_not_killed_as_one_that_does_not_serve(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """G1, G9: it may have admitted requests. The parent was stopped, and reads that it serves afterwards."""
    killed: list[bool] = []
    ours, theirs = socket.socketpair()
    with one_worker() as workers, theirs:
        autojump_clock.autojump_threshold = inf
        leash, serves = trio.SocketStream(trio.socket.from_stdlib_socket(ours)), trio.Event()
        process = cast("subprocess.Popen[bytes]", SimpleNamespace(kill=lambda: killed.append(True)))
        async with leash, trio.open_nursery() as nursery:
            nursery.start_soon(workers._let_go, 0, leash, process, serves)
            workers._stop.set()
            await trio.testing.wait_all_tasks_blocked()
            autojump_clock.jump(STUCK_MARGIN_S + 10)
            await trio.testing.wait_all_tasks_blocked()
            serves.set()
            await trio.testing.wait_all_tasks_blocked()
            autojump_clock.jump(longest_shutdown_s(workers._settings))
            await trio.testing.wait_all_tasks_blocked()
            assert not killed
            autojump_clock.jump(STUCK_MARGIN_S)
    assert killed


async def test_a_worker_that_hangs_before_it_serves_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """G9: it has no requests, and may not even read its leash."""
    monkeypatch.setattr(workers_module, "_PROGRAM", "import time; time.sleep(1000)")
    with one_worker() as workers, trio.fail_after(longest_shutdown_s(workers._settings) / 2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(workers.run)
            await trio.sleep(0.5)
            workers._stop.set()
    assert workers.lost == 0
