"""The programs of a benchmark: servers under test and the upstream they share, started, pinned, stopped.

Every server is one process on one core and gets the same upstream, nginx with Lua, else fanout's simulator.
Needs Linux's taskset; Go for the Go peer, aiohttp for the aiohttp peer: without one, `servers` leaves it out.

Every server that is started gets the same answers from the upstream, in the same order.

Rule 1: a port is given once in a run, and is below those that the system gives to outgoing connections.
Rule 2: a program has started when only it, or a process that it started, owns the listener of its port:
another program might answer there, too.
"""

from __future__ import annotations

import getpass
import importlib.util
import os
import random
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

HERE: Final = Path(__file__).parent
PEERS: Final = HERE / "peers"
NGINX_MODULES: Final = Path("/usr/lib/nginx/modules")  # Debian's
FANOUT: Final = (sys.executable, "-m", "fanout")
_START_S: Final = 30.0
_STOP_S: Final = 5.0
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
VARIED: Final = "nginx with Lua"
_of_nginx: set[str] = set()  # the URLs of running upstreams that can begin again


class CannotStart(Exception):
    """A program is not here or did not start. The message is one line."""


@dataclass(frozen=True, slots=True)
class Server:
    """How to start one contender. `{bind}`, its `{port}` and `{upstream}` are filled in, in every word."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    log: Path | None = None  # what it writes to standard error goes there; else to ours


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files in PEM: what a server shows, and the authority by which a client trusts it."""

    chain: Path
    key: Path
    authority: Path


@dataclass(slots=True)
class Program:
    """A running one. `url` is where it listens."""

    pid: int
    url: str
    whole_cpu_s: float | None = None
    """Once it has ended: processor time from its start to its exit, of all its threads and children."""

    def cpu_s(self) -> float:
        """Processor time used so far, user and system, all threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    def others_s(self, core: int) -> float:
        """Processor time that everything else has used on this program's core, since the machine started."""
        lines = Path("/proc/stat").read_text().splitlines()
        fields = next(line.split() for line in lines if line.startswith(f"cpu{core} "))
        user, nice, system, _idle, _iowait, irq, softirq = map(int, fields[1:8])
        return (user + nice + system + irq + softirq) / _TICKS_PER_S - self.cpu_s()

    def peak_memory_mib(self) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        raise AssertionError("Linux always says VmHWM")


def servers(folder: Path, fanout_options: Sequence[str] = ()) -> dict[str, Server]:
    """The contenders that this machine can run, by name. The Go peer is built into `folder`."""
    fanout = (*FANOUT, "serve", "--bind", "{bind}", "--admin-bind", "127.0.0.1:0", "--upstream", "{upstream}")
    quiet = ("--log-level", "warning")
    found = [Server("fanout", (*fanout, *quiet, *fanout_options))]
    if importlib.util.find_spec("aiohttp"):
        peer = (
            sys.executable,
            str(PEERS / "aiohttp_peer.py"),
            "--bind",
            "{bind}",
            "--upstream",
            "{upstream}",
        )
        found.append(Server("aiohttp", peer))
    if shutil.which("go"):
        binary = str(folder / "go_peer")
        subprocess.run(["go", "build", "-o", binary, str(PEERS / "go_peer.go")], check=True)
        go_peer = (binary, "-bind", "{bind}", "-upstream", "{upstream}")
        found.append(Server("go", go_peer, {"GOMAXPROCS": "1"}))
    return {server.name: server for server in found}


@contextmanager
def running(server: Server, upstream_url: str, core: int | str) -> Iterator[Program]:
    """The server on `core` (several: `0,1`), from the moment it accepts connections until it has ended.

    The shared upstream begins again with its first answer, so the servers are asked one after another.
    """
    bind = f"127.0.0.1:{free_port()}"
    fill = {"bind": bind, "port": bind.rpartition(":")[2], "upstream": upstream_url}
    command = [part.format(**fill) for part in server.command]
    environment = {name: value.format(**fill) for name, value in server.environment.items()}
    _begin_again(upstream_url)
    with ExitStack() as stack:
        log = stack.enter_context(server.log.open("ab")) if server.log else None
        yield stack.enter_context(_running(command, core, bind, environment, log))


@contextmanager
def upstream(folder: Path, core: int, certificate: Certificate | None = None) -> Iterator[tuple[str, str]]:
    """The shared upstream on `core`: its URL, and what it is. 100 to 600 ms, one call in ten fails.

    nginx answers no two calls alike; fanout's simulator varies only `time`. With `?delay_ms=MS` it takes MS,
    and does not fail if it is nginx. TLS with a certificate, if it is nginx.
    """
    port = free_port()
    bind = f"127.0.0.1:{port}"
    if has_nginx():
        tls = ""
        if certificate:
            tls = "ssl_protocols TLSv1.2 TLSv1.3; "
            tls += f"ssl_certificate {certificate.chain}; ssl_certificate_key {certificate.key};"
        text = (PEERS / "upstream.conf").read_text()
        values = {
            "modules": NGINX_MODULES,
            "user": getpass.getuser(),
            "port": port,
            "ssl": "ssl" if certificate else "",
            "certificate": tls,
        }
        for name, value in values.items():
            text = text.replace(f"@{name}@", str(value))
        (folder / "upstream.conf").write_text(text)
        command = ["nginx", "-p", str(folder), "-c", "upstream.conf", "-e", "stderr"]
        what = VARIED
    elif certificate:
        raise CannotStart("only nginx speaks TLS here")
    else:
        command = [*FANOUT, "upstream", "--bind", bind, "--reliable", "--fault", "status=0.1"]
        what = "fanout's simulator"
    url = f"http{'s' if certificate else ''}://{bind}/api/work"
    with _running(command, core, bind), ExitStack() as stack:
        if what == VARIED:
            _of_nginx.add(url)
            stack.callback(_of_nginx.discard, url)
        yield url, what


def _begin_again(upstream_url: str) -> None:
    """Let the next server have the same answers as the one before."""
    url, _, _ = upstream_url.partition("?")
    if url in _of_nginx:
        trust = ssl.create_default_context()
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE  # our own, on loopback
        with urllib.request.urlopen(url.replace("/api/work", "/begin_again"), context=trust):
            pass


def has_nginx() -> bool:
    return bool(shutil.which("nginx")) and (NGINX_MODULES / "ngx_http_lua_module.so").exists()


@contextmanager
def _running(
    command: Sequence[str],
    core: int | str,
    bind: str,
    environment: Mapping[str, str] | None = None,
    log: IO[bytes] | None = None,
) -> Iterator[Program]:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # inherited
    process = subprocess.Popen(
        ["taskset", "-c", str(core), *command],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=log,
        cwd=HERE.parent,
    )
    program = Program(process.pid, f"http://{bind}")
    try:
        _wait_until_it_listens(process, int(bind.rpartition(":")[2]), command[0])
        yield program
    finally:
        before_s = _ended_children_s()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            for pid in _family(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
        program.whole_cpu_s = _ended_children_s() - before_s


def _ended_children_s() -> float:
    """Processor time of all children of this process that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, name: str) -> None:
    give_up_at = time.monotonic() + _START_S
    while time.monotonic() < give_up_at:
        if process.poll() is not None:
            raise CannotStart(f"{name} ended with {process.returncode} before it listened")
        inodes = _listeners(port)
        if inodes and inodes <= _sockets(process.pid):
            return
        if len(inodes) > 1:
            raise CannotStart(f"port {port}, given to {name}, has listeners of another program")
        time.sleep(0.02)
    raise CannotStart(f"{name} does not listen on port {port} after {_START_S:.0f} s")


def _listeners(port: int) -> set[str]:
    """The inodes of the sockets that listen on an IPv4 port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}


def _sockets(pid: int) -> set[str]:
    """The inodes of the sockets of a process and of those that it has started."""
    found = set()
    for each in _family(pid):
        with suppress(OSError):  # ended meanwhile
            for descriptor in Path(f"/proc/{each}/fd").iterdir():
                with suppress(OSError):  # closed meanwhile
                    found.add(os.readlink(descriptor).removeprefix("socket:[").removesuffix("]"))
    return found


def _family(pid: int) -> list[int]:
    """A process and those that it has started, and so on."""
    found = [pid]
    with suppress(OSError):  # ended meanwhile
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += _family(int(child))
    return found


_given: set[int] = set()


def free_port() -> int:
    """A port on which nobody listens now, not given before."""
    lowest_of_system = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(lowest_of_system // 2, lowest_of_system)
        if port in _given:
            continue
        _given.add(port)
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
