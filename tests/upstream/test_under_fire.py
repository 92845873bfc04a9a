"""Many calls, many cancelled, an upstream that misbehaves: no answer crosses, and nothing is left.

CALLS=200000 pytest --timeout=0 tests/upstream/test_under_fire.py    the long form
"""

from __future__ import annotations

import collections
import os
import random
from pathlib import Path

import httpx
import pytest
import trio
import trio.lowlevel

from fanout.loop.sockets import sockets
from fanout.upstream.transport import PoolTransport
from tests.upstream.raw_server import Authority, RawConnection, RawServer, answer, raw_server

CALLS = int(os.environ.get("CALLS", "1500"))
AT_A_TIME = 10
# How long a client waits that has not given up at once; handshakes of both ends share one processor here.
PATIENCE_S = {"plain": 0.05, "tls": 0.3}
AUTHORITY = Authority()
NO_ANSWER = (httpx.TransportError, httpx.DecodingError)

# More than one token on a connection, answers in pieces, ends of every kind.
FAULTS = (
    *["none"] * 12,
    *("pieces", "chunked", "closing", "two answers", "until the end", "informational"),
    *("hang", "hang in the head", "hang in the body", "close", "close in the head", "close in the body"),
    *("reset", "garbage", "garbage behind", "too large", "close when idle"),
)


async def misbehave(connection: RawConnection) -> None:
    """Answers each request with the token in its path, in one of the ways above."""
    dice = random.Random(connection.number)
    while (request := await connection.request()) is not None:
        token = request.split(b" ")[1]
        whole = answer(token)
        await trio.sleep(dice.choice([0, 0, 0.0005, 0.002]))
        match dice.choice(FAULTS):
            case "none":
                await connection.send(whole)
            case "pieces":
                for start in range(0, len(whole), 9):
                    await connection.send(whole[start : start + 9])
                    await trio.lowlevel.checkpoint()
            case "chunked":
                head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                await connection.send(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(token), token))
            case "informational":
                await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n" + whole)
            case "two answers":
                await connection.send(whole + answer(b"somebody else's"))
            case "garbage behind":
                await connection.send(whole + b"garbage")
            case "closing":
                await connection.send(answer(token, b"Connection: close"))
                return
            case "close when idle":
                await connection.send(whole)
                return
            case "until the end":
                await connection.send(b"HTTP/1.1 200 OK\r\n\r\n" + token)
                return
            case "hang":
                await trio.sleep_forever()
            case "hang in the head":
                await connection.send(whole[:20])
                await trio.sleep_forever()
            case "hang in the body":
                await connection.send(whole[:-1])
                await trio.sleep_forever()
            case "close":
                return
            case "close in the head":
                await connection.send(whole[:20])
                return
            case "close in the body":
                await connection.send(whole[:-1])
                return
            case "reset":
                raise trio.BrokenResourceError
            case "garbage":
                await connection.send(b"\x16\x03\x01 is not HTTP\r\n\r\n")
            case "too large":
                await connection.send(answer(bytes(5000)))


@pytest.mark.parametrize("scheme", ["tls", pytest.param("plain", marks=pytest.mark.long)])
async def test_no_answer_crosses_and_nothing_is_left(scheme: str) -> None:
    """G7, G3: each answer carries its own call's token; files, tasks, slots and ports are all given back."""
    dice = random.Random(scheme)
    seen: collections.Counter[str] = collections.Counter()
    files_before = open_files()
    tasks_before = trio.lowlevel.current_statistics().tasks_living
    async with raw_server(misbehave, AUTHORITY.server if scheme == "tls" else None) as server:
        kept_before = ports_kept_by_the_kernel(server)  # the port may have been a client's a moment ago
        transport = PoolTransport(
            max_connections=AT_A_TIME, max_body_bytes=4096, ssl_context=AUTHORITY.client
        )
        async with trio.open_nursery() as nursery, httpx.AsyncClient(transport=transport) as client:
            await nursery.start(transport.run)
            numbers = iter(range(CALLS))
            async with trio.open_nursery() as clients:
                for _ in range(AT_A_TIME):
                    clients.start_soon(call_on, client, server, numbers, dice, seen, PATIENCE_S[scheme])

            [origin] = transport.statistics().origins
            assert (origin.in_use, origin.connecting) == (0, 0)
            assert origin.open == origin.idle <= AT_A_TIME
            assert origin.opened == origin.open + sum(origin.closed.values())
            assert not ports_kept_by_the_kernel(server) - kept_before
            assert seen["crossed"] == 0
            assert sum(seen.values()) == CALLS
            assert min(seen["answered"], seen["cancelled"], seen["failed"], origin.reused) > CALLS / 100
            nursery.cancel_scope.cancel()
    await until_equal(open_files, files_before)
    await until_equal(lambda: trio.lowlevel.current_statistics().tasks_living, tasks_before)


async def call_on(
    client: httpx.AsyncClient,
    server: RawServer,
    numbers: collections.abc.Iterator[int],
    dice: random.Random,
    seen: collections.Counter[str],
    patience_s: float,
) -> None:
    """One client: a third of its calls are cancelled at some moment."""
    for number in numbers:
        token = f"/{number}-{dice.getrandbits(64):x}"
        gives_up_s = dice.choice([patience_s, patience_s, dice.uniform(0, patience_s / 12)])
        outcome = "cancelled"
        with trio.move_on_after(gives_up_s):
            try:
                response = await client.get(server.url(token))
                outcome = "answered" if response.content == token.encode() else "crossed"
            except NO_ANSWER:
                outcome = "failed"
        seen[outcome] += 1


def open_files() -> int:
    """In a run of Trio, whose own are there when it is asked for the first time."""
    sockets()
    return len(os.listdir("/proc/self/fd"))


def ports_kept_by_the_kernel(server: RawServer) -> set[str]:
    """Client ports that cannot be used again for a minute: FIN_WAIT 1 and 2, TIME_WAIT."""
    port = int(server.origin.rpartition(":")[2])
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    to_server = [row for row in rows if int(row[2].partition(":")[2], 16) == port]
    return {local for _, local, _, state, *_ in to_server if state in {"04", "05", "06"}}


async def until_equal(measure: collections.abc.Callable[[], int], expected: int) -> None:
    with trio.fail_after(5):
        while measure() != expected:  # noqa: ASYNC110 - the kernel sets no event
            await trio.sleep(0.001)
