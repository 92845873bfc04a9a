"""Where a situation is played: one server, clients that may be struck, and clients that may not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from fanout.server.limits import Limits
from tests.faults.peers import Client
from tests.faults.server import Server

LIMITS: Final = Limits()


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


class OnListener(Protocol):
    """A script for any listener."""

    def __call__(self, stage: Stage, on: str) -> Awaitable[None]: ...
