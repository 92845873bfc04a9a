"""Where clients come in, and how they go: the same for both protocols."""

from __future__ import annotations

from typing import Protocol

import trio

from fanout.testing.world.facts import ConnectionFacts, RequestFacts
from fanout.testing.world.network import End
from fanout.testing.world.plan import ClientScript, Leaving

READ_BYTES = 65536


class Wire(Protocol):
    """A client's end of a connection, plain or encrypted. What the world does is an `OSError`."""

    def write(self, data: bytes | memoryview) -> int: ...

    def read(self, max_bytes: int) -> bytes | None: ...

    async def readable(self) -> None: ...

    async def writable(self) -> None: ...

    def send_end(self) -> None: ...

    def close(self) -> None: ...

    def reset(self) -> None: ...

    def wake(self) -> None: ...


class Door(Protocol):
    """Where clients come in."""

    def connect(self, client: ClientScript) -> tuple[ConnectionFacts, End] | None:
        """A connection; `None` when nobody listens any more."""

    def sent(self, request: RequestFacts) -> None:
        """A request is about to be sent, or a part of it."""


async def write(wire: Wire, data: bytes) -> None:
    """All of it."""
    view = memoryview(data)
    while view:
        view = view[wire.write(view) :]
        if view:
            await wire.writable()
    await trio.lowlevel.checkpoint()


def disconnect(wire: Wire, how: Leaving) -> None:
    """By FIN, RST, or a FIN behind which the client reads on."""
    match how:
        case "rst":
            wire.reset()
        case "half":
            wire.send_end()
        case _:
            wire.close()
    wire.wake()
