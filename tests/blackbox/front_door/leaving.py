"""The experiment: clients leave in the middle of their request. The upstream's wire tells when it knew."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any, Final

import trio

from tests.blackbox.front_door.door import SETTLE_WITHIN_S, Door, closing, socket_of
from tests.server.serving import Client

_REQUEST: Final = b"GET /api/all?timeout=30000 HTTP/1.1\r\nHost: a\r\n\r\n"
Departure = Callable[[Client], None]


def _fin(client: Client) -> None:
    socket_of(client).close()


def _rst(client: Client) -> None:
    with closing(client, reset=True):
        pass


def _half_close(client: Client) -> None:
    socket_of(client).shutdown(socket.SHUT_WR)


# What is sent behind the request, and how its client leaves.
DEPARTURES: Final[dict[str, tuple[bytes, Departure]]] = {
    "FIN": (b"", _fin),
    "RST": (b"", _rst),
    "half-close": (b"", _half_close),
    "FIN behind a pipelined byte": (b"G", _fin),
    "RST behind a pipelined byte": (b"G", _rst),
    "FIN behind a pipelined request": (_REQUEST, _fin),
    "FIN behind 40 kB": (bytes(40_000), _fin),
    "RST behind 40 kB": (bytes(40_000), _rst),
}


async def leave(door: Door, how: str, *, times: int) -> list[float]:
    """One client after the other: for each call, how many ms after its client left its socket was closed.

    The upstream must hang. Two clocks of one machine meet here: the client's and the simulator's.
    """
    behind, departure = DEPARTURES[how]
    took_ms: list[float] = []
    for _ in range(times):
        last = max((call["id"] for call in await door.calls()), default=0)
        with closing(await door.connect()) as client:
            await client.send(_REQUEST + behind)
            await _until_calls(door, last, lambda call: call["end"] == "open")
            left_at = time.time()
            departure(client)
            closed = await _until_calls(door, last, lambda call: call["end"] == "client_closed")
        took_ms += [(call["started_at"] - left_at) * 1000 + call["client_closed_ms"] for call in closed]
    return took_ms


async def _until_calls(door: Door, since: int, so: Callable[[Any], bool]) -> list[dict[str, Any]]:
    """Wait until both calls of the one request are so; more calls would be another request's."""
    with trio.fail_after(SETTLE_WITHIN_S):
        while True:
            calls = await door.calls(since=since)
            if len(calls) == 2 and all(map(so, calls)):
                return calls
            await trio.sleep(0.02)
