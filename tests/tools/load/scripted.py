"""A server that answers as a script says, on loopback, and what is needed to run a load against it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from fanout.tools.load.plan import LoadPlan, parsed_target
from fanout.tools.load.report import Report
from fanout.tools.load.run import run_load

GOOD = b'{"time": 123}'
Stream = trio.abc.Stream


@dataclass
class Visits:
    """What the server has seen so far."""

    targets: list[str] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0
    ends: list[str] = field(default_factory=list)  # "fin" or "rst", one a connection the client ended


Script = Callable[[str, Stream], Awaitable[None]]
"""Called with the request target for every request; closes the stream if it wants no more of them."""


def answer(status: int, body: bytes = GOOD, *headers: bytes) -> bytes:
    """A whole answer with its length."""
    lines = [b"HTTP/1.1 %d Because" % status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def problem(status: int, reason: str) -> bytes:
    """A whole problem document."""
    body = b'{"type": "urn:fanout:problem:%s", "reason": "%s"}' % (reason.encode(), reason.encode())
    return answer(status, body, b"Content-Type: application/problem+json")


def always(data: bytes, *, then_close: bool = False) -> Script:
    """A script that sends the same bytes to every request."""

    async def script(target: str, stream: Stream) -> None:
        await stream.send_all(data)
        if then_close:
            await stream.aclose()

    return script


def of_fanout(script: Script) -> Script:
    """The same script behind what `fanout load` recognizes a fanout by."""

    async def answer_the_probe(target: str, stream: Stream) -> None:
        if target.endswith("?timeout=0"):
            await stream.send_all(problem(400, "invalid_timeout"))
        else:
            await script(target, stream)

    return answer_the_probe


@asynccontextmanager
async def serving(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, Visits]]:
    """Serve on a free port of loopback until the block ends: the base URL, and what the server has seen."""
    visits = Visits()

    async def serve(tcp: trio.SocketStream) -> None:
        visits.connections += 1
        stream: Stream = tcp if tls is None else trio.SSLStream(tcp, tls, server_side=True)
        try:
            await _converse(stream, script, visits)
        except trio.ClosedResourceError:
            pass
        except trio.BrokenResourceError:
            visits.ends.append("rst")
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        await nursery.start(trio.serve_listeners, serve, listeners)
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}", visits
        nursery.cancel_scope.cancel()


async def _converse(stream: Stream, script: Script, visits: Visits) -> None:
    received = b""
    while True:
        while b"\r\n\r\n" not in received:
            data = await stream.receive_some(65536)
            if not data:
                visits.ends.append("fin")
                return
            received += data
        head, _, received = received.partition(b"\r\n\r\n")
        target = head.split(b" ", 2)[1].decode()
        visits.targets.append(target)
        visits.heads.append(head)
        await script(target, stream)


async def loaded(url: str, **options: Any) -> Report:
    """The report of a load; unless told otherwise ten quick requests."""
    settings: dict[str, Any] = {"rate_per_s": 200.0, "requests": 10, "duration_s": None, "give_up_ms": 50.0}
    return await run_load(LoadPlan(target=parsed_target(url), **(settings | options)))
