"""The life of a connection, in every way it can go: what is swept.

Each situation is a script of what clients and upstreams do. One side is the victim: the clients of `victim()`, or
every connection to the upstream. Whatever happens to it, the script goes on: a peer that was struck does nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import h2.connection
from h2.config import H2Configuration

from fanout.web.driver.limits import Limits
from tests.faults.peers import OK, Client, says
from tests.faults.server import SHED, Server, contexts

LIMITS: Final = Limits()
END: Final = b"\r\n\r\n"


def get(path: str, *fields: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", *fields, "", ""]).encode("ascii")


ALL: Final = get("/api/all")
FIRST: Final = get("/api/first")


class Stage:
    """One run of a script. victims: the clients that may be struck. helpers: those that may not."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.victims: list[Client] = []
        self.helpers: list[Client] = []

    async def victim(self, listener: str = "plain") -> Client:
        """A client, connected, over TLS with the handshake done."""
        self.victims.append(self.server.client(listener))
        await self.settle()
        return self.victims[-1]

    async def helper(self, listener: str, request: bytes) -> Client:
        self.helpers.append(self.server.client(listener))
        await self.settle()
        self.helpers[-1].send(request)
        await self.settle()
        return self.helpers[-1]

    async def settle(self) -> None:
        await self.server.settle(*self.victims, *self.helpers)

    async def says(self, client: Client, *pieces: bytes) -> None:
        """Send these, and after each let everybody go on."""
        for piece in pieces:
            client.send(piece)
            await self.settle()

    async def wait(self, seconds: float) -> None:
        self.server.clock.move(seconds)
        await self.settle()


Script = Callable[[Stage], Awaitable[None]]


async def nothing(stage: Stage) -> None:
    """The usual prelude."""


@dataclass(frozen=True, slots=True)
class Situation:
    """statuses: what the victim, or the client of the upstream that is one, gets when nothing is done.

    listener: which a fresh client is served by afterwards. before: done first, and not struck. drains: the server
    is shut down in it, so each run has its own.
    """

    name: str
    script: Script
    statuses: tuple[int, ...]
    side: Literal["client", "upstream"] = "client"
    listener: str = "plain"
    before: Script = nothing
    drains: bool = False
    tls_upstream: bool = False

    def __str__(self) -> str:
        return self.name


# --- clients


async def two_requests(stage: Stage, on: str) -> None:
    client = await stage.victim(on)
    await stage.says(client, ALL, FIRST)


async def head_in_pieces(stage: Stage, on: str) -> None:
    client = await stage.victim(on)
    await stage.says(client, FIRST[:1], FIRST[1:9], FIRST[9:-3], FIRST[-3:])


async def pipelined(stage: Stage, on: str) -> None:
    client = await stage.victim(on)
    await stage.says(client, FIRST + get("/echo") + get("/nowhere"))


async def body(stage: Stage, on: str) -> None:
    client = await stage.victim(on)
    head = get("/echo", "Content-Length: 6", "Expect: 100-continue", method="POST")
    await stage.says(client, head, b"abc", b"def")


async def says_close(stage: Stage, on: str) -> None:
    client = await stage.victim(on)
    await stage.says(client, get("/nowhere", "Connection: close"))


async def malformed(stage: Stage, on: str) -> None:
    """Answered, and then the server lingers: it reads on for a while."""
    client = await stage.victim(on)
    await stage.says(client, b"GET / HTTP/1.1\r\nHost: a\r\n bad\r\n\r\n", b"more", b"and more")
    await stage.wait(LIMITS.linger_timeout_s)


async def no_http(stage: Stage, on: str) -> None:
    client = stage.server.client(on)
    stage.victims.append(client)
    client.send_raw(b"GET / HTTP/1.1\r\n\r\n")
    await stage.settle()


async def slow_handshake(stage: Stage, on: str) -> None:
    client = stage.server.client(on)
    client.is_reading = False
    stage.victims.append(client)
    await stage.settle()
    client.send_raw(bytes.fromhex("1603010200010001fc0303"))
    await stage.settle()
    await stage.wait(LIMITS.handshake_timeout_s)


async def slow_head(stage: Stage, on: str) -> None:
    client = await stage.victim(on)
    await stage.says(client, b"G")
    await stage.wait(LIMITS.head_timeout_s)


async def slow_body(stage: Stage, on: str) -> None:
    client = await stage.victim(on)
    await stage.says(client, get("/echo", "Content-Length: 6", method="POST"), b"abc")
    await stage.wait(LIMITS.body_timeout_s)


async def slow_reader(stage: Stage, on: str) -> None:
    client = await stage.victim(on)
    client.is_reading = False
    await stage.says(client, get("/large"))
    await stage.wait(LIMITS.write_timeout_s)


async def reads_in_pieces(stage: Stage, on: str) -> None:
    client = await stage.victim(on)
    client.is_reading = False
    await stage.says(client, get("/large"))
    client.is_reading = True
    await stage.settle()


async def idle(stage: Stage, on: str) -> None:
    client = await stage.victim(on)
    await stage.says(client, get("/nowhere"))
    await stage.wait(LIMITS.idle_timeout_s)


async def never_asks(stage: Stage, on: str) -> None:
    await stage.victim(on)
    await stage.wait(LIMITS.idle_timeout_s)


async def slow_app(stage: Stage, on: str) -> None:
    client = await stage.victim(on)
    await stage.says(client, get("/stays"))
    await stage.wait(LIMITS.idle_timeout_s)


async def deadline(stage: Stage, on: str) -> None:
    stage.server.upstream.is_answering = False
    client = await stage.victim(on)
    await stage.says(client, get("/api/all?timeout=1000"))
    await stage.wait(1)


async def over_the_limit(stage: Stage, on: str) -> None:
    await stage.victim(on)
    await stage.wait(LIMITS.linger_timeout_s)


async def is_full(stage: Stage, on: str) -> None:
    await stage.helper(on, get("/waits"))


async def evicted(stage: Stage, on: str) -> None:
    client = await stage.victim(on)
    await stage.says(client, get("/nowhere"))
    await stage.helper(on, get("/nowhere"))


async def evicts(stage: Stage, on: str) -> None:
    client = await stage.victim(on)
    await stage.says(client, get("/nowhere"))


async def is_idle(stage: Stage, on: str) -> None:
    await stage.helper(on, get("/nowhere"))


async def shed(stage: Stage, on: str) -> None:
    stage.server.refusal = SHED
    client = await stage.victim(on)
    await stage.says(client, FIRST, FIRST, FIRST[:20])
    await stage.wait(LIMITS.linger_timeout_s)


async def shed_and_not_read(stage: Stage, on: str) -> None:
    stage.server.refusal = b"HTTP/1.1 503 No\r\ncontent-length: 300000\r\n\r\n" + b"x" * 300_000
    client = await stage.victim(on)
    client.is_reading = False
    await stage.says(client, FIRST, FIRST)
    await stage.wait(LIMITS.write_timeout_s)


async def over_http2(stage: Stage) -> None:
    client = Client(stage.server.ports["tls"], contexts().client_h2)
    stage.victims.append(client)
    await stage.settle()
    http2 = h2.connection.H2Connection(H2Configuration(client_side=True))
    http2.initiate_connection()
    head = [(":method", "GET"), (":authority", "a"), (":scheme", "https")]
    http2.send_headers(1, [*head, (":path", "/api/all")], end_stream=True)
    await stage.says(client, http2.data_to_send())
    http2.send_headers(3, [*head, (":path", "/large")], end_stream=True)
    await stage.says(client, http2.data_to_send())
    await stage.wait(LIMITS.write_timeout_s)


async def drained_idle(stage: Stage, on: str) -> None:
    client = await stage.victim(on)
    await stage.says(client, get("/nowhere"))
    await _drain(stage)


async def drained_within_head(stage: Stage, on: str) -> None:
    client = await stage.victim(on)
    await stage.says(client, b"GET")
    await _drain(stage)


async def drained_busy(stage: Stage, on: str) -> None:
    stage.server.upstream.is_answering = False
    client = await stage.victim(on)
    await stage.says(client, ALL)
    stage.server.drain()
    await stage.settle()
    stage.server.upstream.is_answering = True
    await stage.settle()
    await stage.wait(1)


async def drained_slow_reader(stage: Stage, on: str) -> None:
    client = await stage.victim(on)
    client.is_reading = False
    await stage.says(client, get("/large"))
    await _drain(stage)


async def _drain(stage: Stage) -> None:
    stage.server.drain()
    await stage.settle()
    await stage.wait(LIMITS.drain_grace_s)


# --- upstreams


async def calls(stage: Stage) -> None:
    client = await stage.helper("plain", ALL)
    await stage.says(client, FIRST)


async def calls_in_pieces(stage: Stage) -> None:
    stage.server.upstream.answer = [OK[:5], OK[5:-15], OK[-15:-1], OK[-1:]]
    await stage.helper("plain", ALL)


async def calls_large(stage: Stage) -> None:
    payload = b'{"time": 1, "padding": "%b"}' % (b"x" * 60_000)
    stage.server.upstream.answer = [says(payload)]
    await stage.helper("plain", ALL)


async def calls_until_close(stage: Stage) -> None:
    stage.server.upstream.answer = [says(b'{"time": 1}', framing=b"Connection: close"), b""]
    await stage.helper("plain", ALL)


async def calls_that_hang(stage: Stage) -> None:
    stage.server.upstream.is_answering = False
    await stage.helper("plain", get("/api/first?timeout=1000"))
    await stage.wait(1)


async def is_warm(stage: Stage) -> None:
    await stage.helper("plain", ALL)


async def one_call(stage: Stage) -> None:
    await stage.helper("plain", FIRST)


CLIENTS: Final[tuple[tuple[str, Callable[[Stage, str], Awaitable[None]], tuple[int, ...]], ...]] = (
    ("two requests", two_requests, (200, 200)),
    ("a head in pieces", head_in_pieces, (200,)),
    ("pipelined requests", pipelined, (200, 200, 404)),
    ("a body in pieces", body, (200,)),
    ("connection: close", says_close, (404,)),
    ("malformed, then lingering", malformed, (400,)),
    ("a slow head", slow_head, (408,)),
    ("a slow body", slow_body, ()),
    ("a slow reader", slow_reader, ()),
    ("an answer read in pieces", reads_in_pieces, (200,)),
    ("idle for too long", idle, (404,)),
    ("idle from the start", never_asks, ()),
    ("an app that does not return", slow_app, (200,)),
    ("a deadline", deadline, (500,)),
    ("shed", shed, (503, 503, 503)),
    ("shed and not read", shed_and_not_read, ()),
)
NARROW: Final[tuple[tuple[str, Callable[[Stage, str], Awaitable[None]], Callable[[Stage, str], Awaitable[None]] | None, tuple[int, ...]], ...]] = (
    ("over the limit", over_the_limit, is_full, (503,)),
    ("evicted", evicted, None, (404,)),
    ("in the place of another", evicts, is_idle, (404,)),
)
DRAINED: Final[tuple[tuple[str, Callable[[Stage, str], Awaitable[None]], tuple[int, ...]], ...]] = (
    ("drained while idle", drained_idle, (404,)),
    ("drained within a head", drained_within_head, (408,)),
    ("drained while busy", drained_busy, (200,)),
    ("drained while it does not read", drained_slow_reader, ()),
)
UPSTREAMS: Final[tuple[tuple[str, Script, Script, tuple[int, ...]], ...]] = (
    ("new connections, then reused ones", calls, nothing, (200, 200)),
    ("a reused connection", one_call, is_warm, (200,)),
    ("an answer in pieces", calls_in_pieces, nothing, (200,)),
    ("a large answer", calls_large, nothing, (200,)),
    ("an answer until the end", calls_until_close, nothing, (200,)),
    ("calls that hang", calls_that_hang, nothing, (500,)),
)


def _all() -> list[Situation]:
    found = []
    for tls in (False, True):
        on, narrow, over = ("tls", "narrow tls", ", TLS") if tls else ("plain", "narrow", "")
        found += [
            Situation(name + over, partial(script, on=on), statuses, listener=on)
            for name, script, statuses in CLIENTS
        ]
        found += [
            Situation(
                name + over,
                partial(script, on=narrow),
                statuses,
                listener=narrow,
                before=nothing if before is None else partial(before, on=narrow),
            )
            for name, script, before, statuses in NARROW
        ]
        found += [
            Situation(name + over, partial(script, on=on), statuses, listener=on, drains=True)
            for name, script, statuses in DRAINED
        ]
        found += [
            Situation(f"upstream{over}: {name}", script, statuses, "upstream", before=before, tls_upstream=tls)
            for name, script, before, statuses in UPSTREAMS
        ]
    found += [
        Situation("no handshake", partial(no_http, on="tls"), (), listener="tls"),
        Situation("a slow handshake", partial(slow_handshake, on="tls"), (), listener="tls"),
        Situation("HTTP/2", over_http2, (), listener="tls"),
    ]
    return found


SITUATIONS: Final = tuple(_all())
