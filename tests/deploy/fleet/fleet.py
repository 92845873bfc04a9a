"""Replicas of `fanout serve`, their upstream, a balancer, clients, and what became of every request.

Everything here is synchronous and runs inside a namespace (`namespace.run_inside`). To test a balancer:

    add_addresses(BALANCER, *REPLICAS)
    with Fleet(lame_duck_ms=2000) as fleet, Balancer(["haproxy", "-db", "-f", path], log) as balancer:
        load = Load(balancer.url, "--no-keep-alive")     # `fanout load`, RATE_PER_S, until it is stopped
        fleet.rolling_restarts(12)                       # SIGTERM, exit, start, ready, the next one
        counts = load.stop()                             # waits for what is in flight
        assert counts.lost == 0, (counts, balancer.log())

* `fleet.replicas[0]` listens at REPLICAS[0], ports API_PORT and ADMIN_PORT, and so on. The configurations
  that we ship have the same addresses, so a run tests the shipped file itself.
* `Replica`: `start()`, `stop()`, `restart()`, `kill()`, `statistics()`.
* `Fleet(also=["--max-in-flight", "3"])` for all replicas; `replica.restart("--max-in-flight", "3")` for one.
* `Load(...).finish()` waits for the end of a load with `--requests` or `--duration`.
* `Counts.lost`: clients that received no answer of a race. Late ones did: a busy machine loses nobody.
* `kill_with_work(replica, load)`: `kill -9`; returns exactly how many requests were in flight there.
* `measure.py` has the four measurements that every balancer is compared by.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from fanout.testing import Program
from fanout.testing.program import started
from tests import forked

BALANCER: Final = "192.0.2.10"  # RFC 5737: addresses for documents, never anybody's
REPLICAS: Final = ("192.0.2.11", "192.0.2.12", "192.0.2.13")
BALANCER_PORT, API_PORT, ADMIN_PORT = 80, 8080, 8081
UPSTREAM: Final = "127.0.0.1:9000"
RATE_PER_S: Final = 200
TIMEOUT_MS: Final = 1000  # the slowest answer of the simulated upstream takes 600 ms
GIVE_UP_MS: Final = 10_000  # beyond the timeout: on a busy machine an answer is late, but not missing
WITHIN_S: Final = 30.0  # what a busy machine may take for anything else
READY_WITHIN_S: Final = 180.0
_CLOSE_WAIT: Final = "08"  # in /proc/net/tcp


@contextmanager
def _running(*arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[Program]:
    """As `fanout.testing.running`, but a start may take minutes: the load goes on meanwhile."""
    program = started("fanout", *arguments, environment=environment)
    try:
        program.wait_until_ready(READY_WITHIN_S)
        yield program
    finally:
        if program.process.poll() is None:
            program.kill()


class Replica:
    """One `fanout serve`, at one address, started again and again."""

    def __init__(
        self,
        host: str,
        options: Sequence[str],
        environment: Mapping[str, str],
        exit_codes: list[int | None],
        *,
        is_quick: bool,
    ) -> None:
        """exit_codes: gets that of each process of this replica, when it has ended."""
        self.host = host
        self._options = ["--bind", f"{host}:{API_PORT}", "--admin-bind", f"{host}:{ADMIN_PORT}", *options]
        self._environment = environment
        self._run = forked.running if is_quick else _running
        self._open = ExitStack()
        self._program: Program | None = None
        self._exit_codes = exit_codes

    @property
    def program(self) -> Program:
        if self._program is None:
            raise RuntimeError(f"the replica at {self.host} does not run")
        return self._program

    def start(self, *also: str) -> None:
        """Return when it is ready."""
        running_program = self._run("serve", *self._options, *also, environment=self._environment)
        self._program = self._open.enter_context(running_program)

    def stop(self) -> None:
        """SIGTERM, and wait for the exit."""
        self.program.stop()
        self._ended()

    def restart(self, *also: str) -> None:
        """Stop it, and start it with these options as well."""
        self.stop()
        self.start(*also)

    def kill(self) -> None:
        self.program.kill()
        self._ended()

    def statistics(self) -> Any:
        """Of the process that runs now: see `/statistics`."""
        with urllib.request.urlopen(
            f"http://{self.host}:{ADMIN_PORT}/statistics", timeout=WITHIN_S
        ) as answer:
            return json.load(answer)

    def close(self) -> None:
        """End it, in whatever state it is."""
        if self._program is not None:
            self.kill()

    def _ended(self) -> None:
        self._exit_codes.append(self.program.process.returncode)
        self._program = None
        self._open.close()


class Fleet:
    """The replicas and their upstream. Enter it when all of them are to be ready."""

    def __init__(
        self,
        *,
        lame_duck_ms: int = 2000,
        also: Sequence[str] = (),
        upstream: Sequence[str] = ("--reliable",),
        is_quick: bool = False,
    ) -> None:
        """also: more options of `fanout serve`. upstream: options of `fanout upstream`.

        is_quick: programs are forks of one that has imported everything: a start takes 0.1 s instead of one.
        """
        self._is_quick = is_quick
        self._run = forked.running if is_quick else _running
        self._upstream = upstream
        self._open = ExitStack()
        options = ["--upstream", f"http://{UPSTREAM}/api/work", "--log-requests", "failed", *also]
        # What another program keeps from running here is no overload of fanout's.
        options += ["--max-loop-lag-ms", "1000"]
        environment = {"FANOUT_LAME_DUCK_MS": f"{lame_duck_ms}"}
        self.exit_codes: list[int | None] = []  # of all processes of replicas that have ended, in that order
        self.replicas = [
            Replica(host, options, environment, self.exit_codes, is_quick=is_quick) for host in REPLICAS
        ]

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            opened.enter_context(self._run("upstream", "--bind", UPSTREAM, *self._upstream))
            for replica in self.replicas:
                opened.callback(replica.close)
                replica.start()
            self._open = opened.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def load(self, url: str, *options: str, rate_per_s: float = RATE_PER_S) -> Load:
        """A `Load` that starts as quickly as the replicas."""
        return Load(url, *options, rate_per_s=rate_per_s, is_quick=self._is_quick)

    def rolling_restarts(self, count: int, say: Callable[[str], None] = lambda line: None) -> None:
        """Restart one replica after the other, `count` in all."""
        for number in range(count):
            began_at = time.monotonic()
            self.replicas[number % len(self.replicas)].restart()
            say(f"restart {number + 1} of {count}: {time.monotonic() - began_at:.1f} s")

    def statistics(self) -> list[Any]:
        return [replica.statistics() for replica in self.replicas]

    def wait_until_quiet(self) -> None:
        """Return when no replica has a request in flight."""
        wait_until(lambda: not any(each["admission"]["in_flight"] for each in self.statistics()))


class Balancer:
    """A balancer, from its command. `url`: where it listens."""

    def __init__(
        self, command: Sequence[str], log: Path, url: str = f"http://{BALANCER}:{BALANCER_PORT}"
    ) -> None:
        """log: a file for whatever it prints. It is ready as soon as `url` accepts a connection."""
        self.url = url
        self._command = command
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_until(self._is_ready)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"{self._command[0]} has ended: {self.log()}")
        host, _, port = self.url.rpartition("/")[2].partition(":")
        with socket.socket() as client:
            return client.connect_ex((host, int(port or 80))) == 0


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the requests of one load. outcomes: by `fanout.tools.load.outcome.Outcome`."""

    offered: int
    outcomes: dict[str, int]
    reasons: dict[str, int]
    statuses: dict[str, int]
    span_s: float
    sent_late: float  # the share that was sent more than 5 ms late: above 0.01 the machine was too busy

    @property
    def lost(self) -> int:
        """Clients that received no answer of a race, but a rejection, another error, or nothing."""
        results = ("useful", "deadline", "no_success", "late", "left")
        return self.offered - sum(self[outcome] for outcome in results)

    @property
    def useful_per_s(self) -> float:
        return self["useful"] / self.span_s

    def __getitem__(self, outcome: str) -> int:
        return self.outcomes.get(outcome, 0)


class Load:
    """`fanout load` against a balancer, from now on."""

    def __init__(
        self, url: str, *options: str, rate_per_s: float = RATE_PER_S, is_quick: bool = False
    ) -> None:
        """options: more of `fanout load`. Without `--requests` or `--duration` it goes on until `stop`.

        is_quick: see `Fleet`.
        """
        bounds = [] if {"--requests", "--duration"} & set(options) else ["--duration", "3600"]
        plan = ["--url", url, "--rate", f"{rate_per_s}", "--timeout-ms", f"{TIMEOUT_MS}", *bounds, *options]
        command = ("load", "--json", "--quiet", "--give-up-ms", f"{GIVE_UP_MS}", *plan)
        self._folder = Path(tempfile.mkdtemp())
        with self._report.open("wb") as report, self._errors.open("wb") as errors:
            self._process = (
                forked.Forked(command, {}, report.fileno(), errors.fileno())
                if is_quick
                else subprocess.Popen(
                    [sys.executable, "-m", "fanout", *command], stdout=report, stderr=errors
                )
            )

    @property
    def _report(self) -> Path:
        return self._folder / "report"

    @property
    def _errors(self) -> Path:
        return self._folder / "errors"

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The clients send nothing in the block. What they are late with then, they send after it at once."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> Counts:
        """Send nothing more, and wait for what is in flight."""
        self._process.send_signal(signal.SIGINT)
        return self.finish()

    def finish(self) -> Counts:
        """Wait until all was sent and answered. Raises `RuntimeError` when no run was possible."""
        self._process.wait()
        if not self._report.stat().st_size:
            raise RuntimeError(self._errors.read_text().strip())
        report = json.loads(self._report.read_text())
        kept = ("offered", "outcomes", "reasons", "statuses", "span_s")
        late = report["client"]["late_launch_share"]
        return Counts(**{name: report[name] for name in kept}, sent_late=late)


def kill_with_work(replica: Replica, load: Load) -> int:
    """`kill -9` while requests are in flight. Returns exactly how many there were.

    The clients are paused until the balancer has closed its connections to the replica: so nothing was on its
    way there, and nothing is sent over a connection that has just died.
    """
    with load.paused():
        admitted = -1
        while admitted != (admitted := replica.statistics()["admission"]["admitted"]):
            time.sleep(0.01)  # the balancer passes on what it had received
        in_flight: int = replica.statistics()["admission"]["in_flight"]
        replica.kill()
        wait_until(lambda: not _is_connected_to(replica.host))
    return in_flight


def _is_connected_to(host: str) -> bool:
    """Whether a socket of this namespace is still open whose other end, in this replica, has gone."""
    address = socket.inet_aton(host)[::-1].hex().upper()
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    sockets = [line.split()[2:4] for line in lines]  # the other end's address and the state
    return [f"{address}:{API_PORT:04X}", _CLOSE_WAIT] in sockets


def wait_until(is_so: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    """Raises `TimeoutError`."""
    give_up_at = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"not so within {within_s:g} s")
        time.sleep(0.01)
