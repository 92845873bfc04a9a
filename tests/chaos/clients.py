"""Clients of every manner, a process of its own in the clients' namespace; they judge what they get.

    python -m tests.chaos.clients URL SEED RATE_PER_S

They run until the standard input ends, and then print one `Told` as JSON. That a connection was lost is
no judgement: only who knows what the network did can tell whether it was right (`judge.py`).
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

import trio

TIMEOUTS_MS: Final = (50, 200, 500, 1000, 2000)
PATIENCE_S: Final = 8.0  # past the timeout; what is not here by then is lost
MAX_IDLE_S: Final = 30.0  # well below the server's, so that no request crosses the server's close
MAX_VANISHED: Final = 50  # connections that are neither used nor closed
_RESET: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Lost:
    """A request without an answer, by the machine's monotonic clock. opened_at: its connection."""

    opened_at: float
    sent_at: float
    lost_at: float
    why: str


@dataclass(slots=True)
class Told:
    """What the clients have to tell. broken: answers that must not be, whatever the network did."""

    answers: dict[str, int] = field(default_factory=dict)
    departed: int = 0
    unconnected: int = 0
    lost: list[Lost] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


class Connection:
    """One connection: a request, then its answer."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.opened_at = self.idle_since = time.monotonic()
        self._ahead = b""

    async def ask(self, target: str, request_id: str) -> tuple[int, dict[str, str], bytes]:
        """Raises `trio.BrokenResourceError` or `EOFError` when no whole answer comes."""
        if self._ahead:
            raise ValueError(f"{len(self._ahead)} bytes beyond the answer before")
        head = f"GET {target} HTTP/1.1\r\nHost: chaos\r\nX-Request-Id: {request_id}\r\n\r\n"
        await self.stream.send_all(head.encode())
        while b"\r\n\r\n" not in self._ahead:
            await self._more()
        found, _, self._ahead = self._ahead.partition(b"\r\n\r\n")
        line, *lines = found.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in lines)}
        length = int(fields["content-length"])
        while len(self._ahead) < length:
            await self._more()
        body, self._ahead = self._ahead[:length], self._ahead[length:]
        return int(line.split()[1]), fields, body

    async def _more(self) -> None:
        data = await self.stream.receive_some(65536)
        if not data:
            raise EOFError("closed" + (" within an answer" if self._ahead else ""))
        self._ahead += data

    def close(self, *, reset: bool = False) -> None:
        if reset:
            self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.stream.socket.close()


class Clients:
    """Open loop: requests start on schedule, on an idle connection or a new one."""

    def __init__(self, url: str, seed: int, rate_per_s: float) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._random = Random(seed)
        self._rate_per_s = rate_per_s
        self._idle: list[Connection] = []
        self._vanished: list[Connection] = []
        self.told = Told()

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            number = 0
            while True:
                number += 1
                nursery.start_soon(self._one, f"chaos-{number}")
                await trio.sleep(self._random.expovariate(self._rate_per_s))

    async def _one(self, request_id: str) -> None:
        path = self._random.choice(("/api/first", "/api/all"))
        timeout_ms = self._random.choice(TIMEOUTS_MS)
        departs = self._random.choice((None, None, None, None, "FIN", "RST", "vanish"))
        leaves_after_s = self._random.uniform(0, 0.4) if departs else timeout_ms / 1000 + PATIENCE_S
        target = f"{path}?timeout={timeout_ms}"
        connection = await self._connection()
        if connection is None:
            return
        sent_at = time.monotonic()
        try:
            with trio.fail_after(leaves_after_s):
                status, fields, body = await connection.ask(target, request_id)
        except trio.TooSlowError:
            if departs:
                self._depart(connection, departs)
            else:
                self._lose(connection, sent_at, "no answer")
        except (trio.BrokenResourceError, EOFError) as error:
            self._lose(connection, sent_at, repr(error.__cause__ or error))
        except (ValueError, KeyError, IndexError) as error:
            self._break(connection, f"{request_id} {target}: {error!r}")
        else:
            self._judge(connection, path, request_id, status, fields, body)

    async def _connection(self) -> Connection | None:
        while self._idle and time.monotonic() - self._idle[0].idle_since > MAX_IDLE_S:
            self._idle.pop(0).close()
        if self._idle and self._random.random() < 0.8:
            return self._idle.pop()
        try:
            with trio.fail_after(PATIENCE_S):
                return Connection(await trio.open_tcp_stream(self._host, self._port))
        except (OSError, trio.TooSlowError):
            self.told.unconnected += 1
            return None

    def _depart(self, connection: Connection, how: str) -> None:
        self.told.departed += 1
        if how != "vanish":
            connection.close(reset=how == "RST")
            return
        self._vanished.append(connection)
        if len(self._vanished) > MAX_VANISHED:
            self._vanished.pop(0).close()

    def _lose(self, connection: Connection, sent_at: float, why: str) -> None:
        self.told.lost.append(Lost(connection.opened_at, sent_at, time.monotonic(), why))
        connection.close()

    def _break(self, connection: Connection, why: str) -> None:
        self.told.broken.append(why)
        connection.close()

    def _judge(
        self,
        connection: Connection,
        path: str,
        request_id: str,
        status: int,
        fields: dict[str, str],
        body: bytes,
    ) -> None:
        key = f"{path} {status}"
        self.told.answers[key] = self.told.answers.get(key, 0) + 1
        document: Any = None
        with suppress(ValueError):
            document = json.loads(body)
        right = {
            200: _is_success(path, document),
            500: isinstance(document, dict) and document.get("reason") in ("deadline", "no_success"),
            503: isinstance(document, dict) and document.get("reason") in ("overloaded", "draining"),
        }
        if not right.get(status, False) or fields.get("x-request-id", request_id) != request_id:
            self._break(connection, f"{request_id} {path}: {status} {fields} {body[:200]!r}")
        elif fields.get("connection") == "close":
            connection.close()
        else:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)


def _is_success(path: str, document: Any) -> bool:
    """`first`: an upstream's object; `all`: one or two of them."""
    found = document if path == "/api/all" else [document]
    return isinstance(found, list) and 1 <= len(found) <= 2 and all(map(_has_time, found))


def _has_time(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("time"), int)


async def main(url: str, seed: int, rate_per_s: float) -> Told:
    clients = Clients(url, seed, rate_per_s)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clients.run)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel(reason="the input has ended")
    return clients.told


if __name__ == "__main__":
    json.dump(asdict(trio.run(main, sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))), sys.stdout)
