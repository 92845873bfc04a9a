"""What clients and upstreams do, in every way that the life of a connection can go.

One side is the victim: the clients of `Stage.victim`, or every connection to the upstream. Whatever happens
to it, the script goes on: a peer that was struck does nothing.
"""

from __future__ import annotations

import h2.connection
from h2.config import H2Configuration

from tests.faults.peers import OK, Client, says
from tests.faults.server import SHED, contexts
from tests.faults.stage import ALL, FIRST, LIMITS, Stage, get


async def nothing(stage: Stage) -> None:
    """The usual prelude."""


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


async def no_http(stage: Stage) -> None:
    client = stage.server.client("tls")
    stage.victims.append(client)
    client.send_raw(b"GET / HTTP/1.1\r\n\r\n")
    await stage.settle()


async def slow_handshake(stage: Stage) -> None:
    client = stage.server.client("tls")
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
