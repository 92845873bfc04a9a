"""A client of HTTP/1.1: a request, or some that are pipelined, and then their answers."""

from __future__ import annotations

import trio

from fanout.testing.world.door import READ_BYTES, Door, Wire, disconnect, write
from fanout.testing.world.facts import ConnectionFacts, RequestFacts
from fanout.testing.world.plan import Leave, RequestScript


class Http1Asker:
    """One connection, from the client's side."""

    def __init__(self, door: Door, facts: ConnectionFacts, wire: Wire) -> None:
        self._door = door
        self._facts = facts
        self._wire = wire
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
            await write(self._wire, data[:split])
            await trio.sleep(first.pause_ms / 1000)
        await write(self._wire, data[split:])

    async def _read_answers(self, first: RequestScript) -> bool:
        """Read until every request has its answer, or the end. Whether there may be another request."""
        await trio.sleep(first.stall_ms / 1000)
        reader = self._facts.reader
        while reader.complete < len(self._facts.requests) or self._read < reader.answers[-1].end:
            await self._wire.readable()
            data = self._wire.read(READ_BYTES)
            if not data:
                return False
            self._read += len(data)
        return not reader.answers[-1].closes

    async def _leave(self, leave: Leave) -> None:
        await trio.lowlevel.checkpoint()
        disconnect(self._wire, leave.how)
        if leave.how == "half":
            while True:
                await self._wire.readable()
                if not self._wire.read(READ_BYTES):
                    return
