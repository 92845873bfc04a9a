"""The process of a bystander: threads and blocking sockets, so that no event loop of ours is what delays it.

`tests/bystander.py` starts it. Its only argument is the plan. It says `ready` after a first answer, runs
until its input ends, and writes what it saw.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import time
from bisect import bisect
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

NO_ANSWER: Final = 0
CONTROL_EVERY_S: Final = 0.01
CONTROL_NOISE_S: Final = 0.002  # what a quiet machine is late by
GIVE_UP_S: Final = 20  # beyond the timeout: then it counts as no answer


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the bystander. due_s: since its start. took_ms: from due_s to the answer's last byte.

    machine_ms: how long, within that, the bystander or one of `pids` waited for a processor.
    """

    due_s: float
    took_ms: float
    machine_ms: float
    status: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What the bystander does. fresh: a new connection per request, and its opening counts in `took_ms`."""

    url: str
    timeout_ms: int
    every_s: float
    target: str
    fresh: bool
    http2: bool
    pids: Sequence[int]

    @property
    def threads(self) -> int:
        """Enough to be on schedule while every answer takes all of its timeout."""
        return 2 + round(self.timeout_ms / 1000 / self.every_s)

    @property
    def full_target(self) -> str:
        return f"{self.target}{'&' if '?' in self.target else '?'}timeout={self.timeout_ms}"


def waited_s(pids: Sequence[int]) -> float:
    """How long these processes have waited for a processor, in all, as the kernel counts."""
    waited_ns = 0
    for pid in pids:
        with suppress(OSError, IndexError):  # a process that has ended, a kernel that does not count
            waited_ns += int(Path(f"/proc/{pid}/schedstat").read_text().split()[1])
    return waited_ns / 1e9


class Machine:
    """How long the machine kept processes from running, or stood still altogether: a record over time."""

    def __init__(self, pids: Sequence[int]) -> None:
        self.is_over = threading.Event()
        self._each_waited_s = dict.fromkeys(pids, 0.0)  # as last seen: processes end
        self._at: list[float] = []
        self._waited_s: list[float] = []  # by `pids`, for a processor
        self._late_s: list[float] = []  # by the control, in waking up

    def control(self) -> None:
        """Wake up every `CONTROL_EVERY_S`, until it `is_over`, and record by how much that was late."""
        late_s = 0.0
        each = self._each_waited_s
        while not self.is_over.is_set():
            due = time.monotonic() + CONTROL_EVERY_S
            time.sleep(CONTROL_EVERY_S)
            now = time.monotonic()
            if now - due > CONTROL_NOISE_S:
                late_s += now - due
            for pid, before_s in each.items():
                each[pid] = max(before_s, waited_s([pid]))
            self._waited_s.append(sum(each.values()))
            self._late_s.append(late_s)
            self._at.append(now)  # last: the others are as long at least

    def delay_ms(self, since: float, until: float) -> float:
        """Of that time. Between two records it is spread evenly."""
        found = (self._value(of, until) - self._value(of, since) for of in (self._waited_s, self._late_s))
        return max(0.0, *found) * 1000

    def share(self, since: float, until: float) -> float:
        """Of that time, what it kept them from running."""
        return self.delay_ms(since, until) / 1000 / (until - since)

    def _value(self, of: list[float], when: float) -> float:
        after = bisect(self._at, when)
        if after in (0, len(self._at)):
            return of[min(after, len(self._at) - 1)]
        begin, end = self._at[after - 1 : after + 1]
        return of[after - 1] + (of[after] - of[after - 1]) * (when - begin) / (end - begin)


class Client:
    """One connection, and one request after the other on it. A connection that is lost is opened anew."""

    def __init__(self, plan: Plan) -> None:
        parts = urlsplit(plan.url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._plan = plan
        self._tls = _trusting_anybody(plan.http2) if parts.scheme == "https" else None
        self._request = f"GET {plan.full_target} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        self._sock: socket.socket | None = None

    def open(self) -> None:
        """Connect ahead of the first request, unless each request is to have a new connection."""
        if self._sock is None and not self._plan.fresh:
            with suppress(OSError):
                self._sock = self._connect()

    def ask(self) -> int:
        """The status of the whole answer, or `NO_ANSWER`."""
        try:
            if self._sock is None:
                self._sock = self._connect()
            status, keep = self._exchange(self._sock)
        except (OSError, ValueError):
            status, keep = NO_ANSWER, False
        if self._sock is not None and (self._plan.fresh or not keep):
            self._sock.close()
            self._sock = None
        return status

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(self._address, timeout=self._plan.timeout_ms / 1000 + GIVE_UP_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            return sock
        return self._tls.wrap_socket(sock, server_hostname=self._address[0])

    def _exchange(self, sock: socket.socket) -> tuple[int, bool]:
        """The status, and whether the connection stays open."""
        sock.sendall(self._request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += _more(sock)
        head, _, body = data.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").lower().split("\r\n")
        fields = {name: value.strip() for name, _, value in (text.partition(":") for text in lines)}
        left = int(fields["content-length"]) - len(body)
        while left > 0:
            left -= len(_more(sock))
        return int(line.split()[1]), fields.get("connection") != "close"


class Http2Client(Client):
    """The same over HTTP/2."""

    def _connect(self) -> socket.socket:
        from h2.config import H2Configuration
        from h2.connection import H2Connection

        sock = super()._connect()
        self._connection = H2Connection(H2Configuration(header_encoding=None))
        self._connection.initiate_connection()
        return sock

    def _exchange(self, sock: socket.socket) -> tuple[int, bool]:
        from h2 import events

        connection, stream_id, status = self._connection, self._connection.get_next_available_stream_id(), 0
        fields = {":method": "GET", ":scheme": "https", ":authority": "a", ":path": self._plan.full_target}
        connection.send_headers(stream_id, list(fields.items()), end_stream=True)
        while True:
            sock.sendall(connection.data_to_send())
            for event in connection.receive_data(_more(sock)):
                if isinstance(event, events.ResponseReceived):
                    status = int(dict(event.headers)[b":status"])
                elif isinstance(event, events.DataReceived):
                    connection.acknowledge_received_data(event.flow_controlled_length, stream_id)
                elif isinstance(event, events.StreamEnded):
                    return status, True
                elif isinstance(event, events.StreamReset | events.ConnectionTerminated):
                    return NO_ANSWER, False


def _trusting_anybody(http2: bool) -> ssl.SSLContext:
    """Only time is measured here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2" if http2 else "http/1.1"])
    return context


def _more(sock: socket.socket) -> bytes:
    data = sock.recv(65536)
    if not data:
        raise ConnectionResetError("the end comes before the answer does")
    return data


def _stand_by(plan: Plan) -> tuple[float, float, list[Request]]:
    """Ask on schedule until the standard input ends.

    Returns when the first request was due, the machine's share in the time since then, and all requests.
    """
    machine, answers, stopped = Machine(plan.pids), list[tuple[float, float, int]](), threading.Event()
    client_class = Http2Client if plan.http2 else Client

    def ask_every_so_often(number: int, client: Client) -> None:
        due = began_at + number * plan.every_s
        while not stopped.wait(max(0.0, due - time.monotonic())):
            status = client.ask()
            answers.append((due, time.monotonic(), status))
            due += plan.every_s * plan.threads

    clients = [client_class(plan) for _ in range(plan.threads)]
    if clients[0].ask() == NO_ANSWER:
        return 0.0, 0.0, []
    for client in clients:
        client.open()
    threading.Thread(target=machine.control, daemon=True).start()
    began_at = time.monotonic() + 2 * CONTROL_EVERY_S
    threads = [threading.Thread(target=ask_every_so_often, args=each) for each in enumerate(clients)]
    for thread in threads:
        thread.start()
    time.sleep(max(0.0, began_at - time.monotonic()))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    stopped.set()
    for thread in threads:
        thread.join()
    time.sleep(2 * CONTROL_EVERY_S)  # the record of the last answer
    machines_share = machine.share(began_at, time.monotonic())
    requests = [
        Request(due - began_at, (ended - due) * 1000, machine.delay_ms(due, ended), status)
        for due, ended, status in sorted(answers)
    ]
    return began_at, machines_share, requests


if __name__ == "__main__":
    first_due_at, share, saw = _stand_by(Plan(**json.loads(sys.argv[1])))
    json.dump([first_due_at, share, [list(asdict(each).values()) for each in saw]], sys.stdout)
