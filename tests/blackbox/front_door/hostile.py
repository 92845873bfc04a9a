"""Every way to be a bad client that we know, as acts on a connection of their own.

An act ends by itself, or holds its connection until it is cancelled.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from tests.blackbox.front_door.door import Door, closing, first_status, socket_of
from tests.server.hostile import BODIES, CHUNKS, GET, HEADS, POST, STOPPERS

Act = Callable[[Door], Awaitable[None]]
_REQUEST: Final = b"GET /api/first?timeout=2000 HTTP/1.1\r\nHost: a\r\n\r\n"
_BEHIND: Final = 503
_LARGE: Final = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"

STAGES: Final[dict[str, bytes]] = {
    "before a byte": b"",
    "in the request line": b"GET /api/fi",
    "in the head": _REQUEST[:-9],
    "before the last byte of the head": _REQUEST[:-1],
    "in a body": POST + b"Content-Length: 100\r\n\r\nabc",
    "in a chunk": CHUNKS + b"5\r\nab",
    "while its request runs": _REQUEST,
    "while its request runs, a byte behind it": _REQUEST + b"G",
    "while its request runs, more behind it": _REQUEST * 2,
    "while its request runs, much behind it": _REQUEST + bytes(40_000),
    "while it is answered": _LARGE * 20,
}
OTHER_PROTOCOLS: Final[dict[str, bytes]] = {
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "SMTP": b"EHLO example.org\r\n",
    "Redis": b"*1\r\n$4\r\nPING\r\n",
    "PROXY protocol": b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n" + _REQUEST,
    "PROXY protocol 2": b"\r\n\r\n\x00\r\nQUIT\n" + bytes(16),
    "SOCKS 5": b"\x05\x01\x00",
}


def malformed(sent: bytes, status: int) -> Act:
    """Send, and be refused: as malformed, or unread by a loop that is behind."""

    async def act(door: Door) -> None:
        with closing(await door.connect()) as client:
            await client.send(sent)
            got, _, _ = await client.answer()
            assert got in (status, _BEHIND), (sent[:80], got)

    return act


def sending(data: bytes) -> Act:
    """Send, take what comes, and go."""

    async def act(door: Door) -> None:
        with closing(await door.connect()) as client:
            await client.send(data)
            with trio.move_on_after(1):
                await first_status(client)

    return act


def leaving(data: bytes, *, reset: bool) -> Act:
    async def act(door: Door) -> None:
        with closing(await door.connect(), reset=reset) as client:
            await client.send(data)
            await trio.sleep(0.05)  # the server is to be in the middle of it

    return act


async def half_open(door: Door) -> None:
    """A FIN and no word more: the other half stays open as long as the server lets it."""
    with closing(await door.connect()) as client:
        socket_of(client).shutdown(socket.SHUT_WR)
        await trio.sleep_forever()


async def half_open_while_running(door: Door) -> None:
    with closing(await door.connect()) as client:
        await client.send(_REQUEST)
        socket_of(client).shutdown(socket.SHUT_WR)
        await trio.sleep_forever()


async def slow_head(door: Door) -> None:
    with closing(await door.connect()) as client:
        for byte in GET + b"X: " + b"x" * 1000:
            await client.send(bytes([byte]))
            await trio.sleep(0.1)


async def slow_body(door: Door) -> None:
    with closing(await door.connect()) as client:
        await client.send(POST + b"Content-Length: 1000\r\n\r\n")
        for _ in range(1000):
            await client.send(b"x")
            await trio.sleep(0.1)


async def expecting_forever(door: Door) -> None:
    with closing(await door.connect()) as client:
        await client.send(POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        await client.rest()


async def never_reading(door: Door) -> None:
    """Ask for more than any buffer holds, and read none of it."""
    with closing(await door.connect(receive_buffer_bytes=4096)) as client:
        await client.send(_LARGE * 400)
        await trio.sleep_forever()


async def flood(door: Door) -> None:
    """Pipeline requests without end, and read every answer."""
    with closing(await door.connect()) as client:
        await client.send(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n" * 50)
        for _ in range(50):
            await first_status(client)


async def idle(door: Door) -> None:
    with closing(await door.connect()):
        await trio.sleep_forever()


async def idle_between_requests(door: Door) -> None:
    with closing(await door.connect()) as client:
        await client.ask(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n")
        await trio.sleep_forever()


KINDS: Final[dict[str, Act]] = {
    **{f"malformed: {name}": malformed(*sent) for name, sent in HEADS.items()},
    **{f"body: {name}": sending(sent) for name, (sent, _) in BODIES.items()},
    **{f"hypercorn's: {name}": sending(sent) for name, sent in STOPPERS.items()},
    **{f"protocol: {name}": sending(sent) for name, sent in OTHER_PROTOCOLS.items()},
    **{f"RST {stage}": leaving(data, reset=True) for stage, data in STAGES.items()},
    **{f"FIN {stage}": leaving(data, reset=False) for stage, data in STAGES.items()},
    "half-open": half_open,
    "half-open while its request runs": half_open_while_running,
    "slow head": slow_head,
    "slow body": slow_body,
    "expecting for ever": expecting_forever,
    "never reading": never_reading,
    "flood": flood,
    "idle": idle,
    "idle between requests": idle_between_requests,
}


async def attack(
    door: Door,
    connections: int,
    *,
    per_s: float,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Every kind in turn: `started` when there were that many. Those that hold do until this is cancelled."""
    acts = list(KINDS.values())
    await _begin([acts[number % len(acts)] for number in range(connections)], door, per_s, task_status)


async def sit_idle(
    door: Door,
    connections: int,
    *,
    per_s: float,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    await _begin([idle] * connections, door, per_s, task_status)


async def _begin(acts: Sequence[Act], door: Door, per_s: float, task_status: trio.TaskStatus[None]) -> None:
    began_at = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number, act in enumerate(acts):
            await trio.sleep_until(began_at + number / per_s)
            nursery.start_soon(act, door)
        task_status.started()
