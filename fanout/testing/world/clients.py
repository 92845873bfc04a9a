"""The clients of a world: they connect, ask, read, wait, and leave as their scripts say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import trio

from fanout.testing.world.facts import ConnectionFacts, RequestFacts
from fanout.testing.world.network import End
from fanout.testing.world.plan import ClientScript, Leave, RequestScript

_READ_BYTES = 65536


class Door(Protocol):
    """Where clients come in."""

    def connect(self, client: ClientScript) -> tuple[ConnectionFacts, End] | None:
        """A connection; `None` when nobody listens any more."""

    def sent(self, request: RequestFacts) -> None:
        """A request is about to be sent, or a part of it."""


async def call(client: ClientScript, door: Door) -> None:
    """Play the script. Each time a connection has ended, the next request comes over a new one."""
    await trio.sleep(client.at_ms / 1000)
    left = _groups(client.requests)
    while left:
        connected = door.connect(client)
        if connected is None:
            return
        facts, end = connected
        asker = _Asker(door, facts, end)
        while left and await asker.ask(left.pop(0)):
            pass
        end.close()
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


class _Asker:
    """One connection, from the client's side."""

    def __init__(self, door: Door, facts: ConnectionFacts, end: End) -> None:
        self._door = door
        self._facts = facts
        self._end = end
        self._sent = 0
        self._read = 0

    async def ask(self, group: list[RequestScript]) -> bool:
        """Send these requests and read their answers. Whether the connection can be used on."""
        first = group[0]
        await trio.sleep(first.gap_ms / 1000)
        leave = next((request.leave for request in group if request.leave is not None), None)
        try:
            await self._send(group, first, leave)
            if leave is not None:
                with trio.move_on_after(leave.after_ms / 1000):
                    await self._read_answers(first)
                await self._leave(leave)
                return False
            return await self._read_answers(first)
        except OSError:
            return False

    async def _send(self, group: list[RequestScript], first: RequestScript, leave: Leave | None) -> None:
        data = b""
        for request in group:
            data += request.data
            if request.is_head:
                self._facts.reader.to_head.add(len(self._facts.requests))
            head_end = self._sent + len(data)
            facts = RequestFacts(request, self._facts, trio.current_time(), head_end)
            self._facts.requests.append(facts)
            self._door.sent(facts)
        if leave is not None:
            data = data[: round(leave.of_head * len(data))]
        self._sent += len(data)
        split = round(first.split_at * len(data))
        if split:
            await self._write(data[:split])
            await trio.sleep(first.pause_ms / 1000)
        await self._write(data[split:])

    async def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._end.write(view) :]
            if view:
                await self._end.writable()
        await trio.lowlevel.checkpoint()

    async def _read_answers(self, first: RequestScript) -> bool:
        """Read until every request has its answer, or the end. Whether there may be another request."""
        await trio.sleep(first.stall_ms / 1000)
        reader = self._facts.reader
        while reader.complete < len(self._facts.requests) or self._read < reader.answers[-1].end:
            await self._end.readable()
            data = self._end.read(_READ_BYTES)
            if not data:
                return False
            self._read += len(data)
        return not reader.answers[-1].closes

    async def _leave(self, leave: Leave) -> None:
        await trio.lowlevel.checkpoint()
        if leave.how == "rst":
            self._end.reset()
        elif leave.how == "fin":
            self._end.close()
        else:
            self._end.send_end()
            while True:
                await self._end.readable()
                if not self._end.read(_READ_BYTES):
                    return
