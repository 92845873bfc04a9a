"""The clients of a world: they connect, ask, read, wait, and leave as their scripts say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import trio

from fanout.testing.world.clients_http1 import Http1Asker
from fanout.testing.world.clients_http2 import Http2Asker
from fanout.testing.world.door import Door, Wire
from fanout.testing.world.facts_streams import StreamsFacts
from fanout.testing.world.plan import ClientScript, RequestScript
from fanout.testing.world.tls import secured


class Asker(Protocol):
    """One connection, from the client's side."""

    async def ask(self, group: list[RequestScript]) -> bool:
        """Send these requests and read their answers. Whether the connection can be used on."""


async def call(client: ClientScript, door: Door) -> None:
    """Play the script. Each time a connection has ended, the next request comes over a new one."""
    await trio.sleep(client.at_ms / 1000)
    left = _groups(client.requests)
    while left:
        connected = door.connect(client)
        if connected is None:
            return
        facts, end = connected
        wire: Wire = end
        try:
            if client.tls:
                wire = await secured(end, facts)
        except OSError:
            del left[0]  # nobody has spoken to it
        else:
            asker: Asker
            if isinstance(facts, StreamsFacts):
                asker = Http2Asker(door, facts, wire)
            else:
                asker = Http1Asker(door, facts, wire)
            while left and await asker.ask(left.pop(0)):
                pass
        wire.close()
        await trio.lowlevel.checkpoint()


def _groups(requests: Sequence[RequestScript]) -> list[list[RequestScript]]:
    """Each request with those that are sent behind it at once."""
    groups: list[list[RequestScript]] = []
    for request in requests:
        if request.pipelined and groups:
            groups[-1].append(request)
        else:
            groups.append([request])
    return groups
