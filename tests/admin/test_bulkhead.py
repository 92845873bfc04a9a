"""G10 on the admin listener: what its clients do costs neither the clients of the API nor the probes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import pytest
import trio

from fanout.process.service import ADMIN_CONNECTIONS
from fanout.testing import Program
from tests.admin.live_app import FREE
from tests.blackbox.conftest import request
from tests.bystander import bystander
from tests.forked import running

ATTACK_S = 2.5
STOOD_STILL_MS = 200  # of the machine's own delay: then a deadline of 300 ms may come, and that is a 500
PROBE_WITHIN_S = 1.0  # an orchestrator's usual timeout


def get(path: str, method: str = "GET", version: str = "1.1") -> bytes:
    return f"{method} {path} HTTP/{version}\r\nHost: localhost\r\n\r\n".encode("ascii")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Program]:
    fast = ["--reliable", "--min-delay-ms", "5", "--max-delay-ms", "20"]
    with running("upstream", "--bind", "127.0.0.1:0", *fast) as it:
        yield it


@pytest.fixture(scope="module")
def program(upstream: Program) -> Iterator[Program]:
    arguments = ["--upstream", upstream.urls["upstream"] + "/api/work", "--log-requests", "none"]
    with running("serve", *FREE, *arguments) as it:
        yield it


# --- probes

HELD = {
    "idle": b"",
    "within a head": b"GET /livez HTTP/1.1\r\n",
    "within a body": b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
    "viewers that never read": get("/live/events"),
    "scrapers that never read": get("/metrics") * 200,
    "probes that never read": get("/livez") * 300,
    "after a malformed request": b"no HTTP\r\n\r\nand more",
    "scripts that never read": get("/live/uplot.js") * 200,
}


@pytest.mark.parametrize("sent", HELD.values(), ids=HELD.keys())
def test_a_probe_gets_through_whatever_holds_the_connections(program: Program, sent: bytes) -> None:
    """More of them than the listener allows. A failed probe makes an orchestrator restart the process."""
    parts = urlsplit(program.urls["admin"])
    with ExitStack() as held:
        for _ in range(ADMIN_CONNECTIONS + 20):
            sock = held.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            sock.settimeout(5)
            sock.connect((parts.hostname, parts.port))
            with suppress(OSError):  # evicted already
                sock.sendall(sent)
        for path in ("/livez", "/readyz") * 3:
            answer = request(program.urls["admin"], path)
            assert answer.status == 200
            assert answer.took_s < PROBE_WITHIN_S


# --- clients of the API


async def again_and_again(port: int, sent: bytes, whole: bool = True) -> None:
    """Connect, send, and read to the end or only the first bytes; then the same again."""
    while True:
        with suppress(OSError, trio.BrokenResourceError):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(sent)
                while await stream.receive_some() and whole:
                    pass
        await trio.sleep(0.001)


async def as_fast_as_it_answers(port: int, sent: bytes, pipelined: int) -> None:
    while True:
        with suppress(OSError, trio.BrokenResourceError):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(sent * pipelined)
                while data := await stream.receive_some():
                    await stream.send_all(sent * data.count(b"HTTP/1.1 "))
        await trio.sleep(0.001)


async def attack(kind: str, port: int) -> None:
    async with trio.open_nursery() as nursery:
        match kind:
            case "ten downloads":
                for _ in range(10):
                    nursery.start_soon(again_and_again, port, get("/live/trace.json", version="1.0"))
            case "downloads without a body":
                nursery.start_soon(as_fast_as_it_answers, port, get("/live/trace.json", "HEAD"), 1)
            case "long queries":
                query = "&".join(["request=r"] * 500)
                nursery.start_soon(as_fast_as_it_answers, port, get(f"/live/trace.json?{query}"), 5)
            case "twenty scrapers":
                for _ in range(20):
                    nursery.start_soon(as_fast_as_it_answers, port, get("/metrics"), 2)
            case "hundred that pipeline":
                for path in ("/livez", "/statistics", "/no", "/live/uplot.js"):
                    for _ in range(25):
                        nursery.start_soon(as_fast_as_it_answers, port, get(path), 5)
            case "viewers that come and go":
                for _ in range(4):
                    nursery.start_soon(again_and_again, port, get("/live/events"), False)
            case "hundred viewers":
                for _ in range(100):
                    nursery.start_soon(again_and_again, port, get("/live/events"))


KINDS = ("ten downloads", "hundred that pipeline", "viewers that come and go")
MORE_KINDS = ("downloads without a body", "long queries", "twenty scrapers", "hundred viewers")


async def attack_for_a_while(kind: str, port: int) -> None:
    with trio.move_on_after(ATTACK_S):
        await attack(kind, port)


async def fill_the_trace_file(url: str) -> None:
    parts = urlsplit(url)
    limit = trio.CapacityLimiter(20)

    async def one() -> None:
        async with limit, await trio.open_tcp_stream(parts.hostname or "", parts.port or 0) as stream:
            await stream.send_all(get("/api/all", version="1.0"))
            while await stream.receive_some():
                pass

    async with trio.open_nursery() as nursery:
        for _ in range(500):
            nursery.start_soon(one)


@pytest.mark.parametrize(
    "kind", [*KINDS, *(pytest.param(each, marks=pytest.mark.long) for each in MORE_KINDS)]
)
def test_an_admin_client_delays_and_sheds_no_client_of_the_api(
    program: Program, upstream: Program, kind: str
) -> None:
    """As long as the bystander's rate alone does not overload the server, it gets every answer, on time."""
    if kind == KINDS[0]:
        trio.run(fill_the_trace_file, program.urls["api"])
    port = urlsplit(program.urls["admin"]).port
    assert port is not None
    pids = [program.process.pid, upstream.process.pid]
    with bystander(program.urls["api"], timeout_ms=300, every_s=0.02, pids=pids) as seen:
        trio.run(attack_for_a_while, kind, port)
    deadlines = [each for each in seen.requests if each.status == 500 and each.machine_ms < STOOD_STILL_MS]
    assert not deadlines, "a deadline came although the machine had time"
    seen.assert_unharmed(statuses=(200, 500), at_least=50)
