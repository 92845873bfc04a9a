"""Both ends of a connection without a socket, as `wire.py` wants them: `close()` is FIN, `reset()` is RST."""

from __future__ import annotations

import trio
import trio.testing


class MemoryWire(trio.abc.Stream):
    def __init__(
        self, sender: trio.testing.MemorySendStream, receiver: trio.testing.MemoryReceiveStream
    ) -> None:
        self._sender = sender
        self._receiver = receiver
        self._was_reset = False
        self.other: MemoryWire = self

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._sender.send_all(data)

    def send_now(self, data: bytes) -> None:
        """Send without a checkpoint: the other end is woken in this very pass."""
        self.other._receiver.put_data(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._sender.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._receiver.receive_some(max_bytes)
        if not data and self._was_reset:
            raise trio.BrokenResourceError
        return data

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        self._sender.close()
        self._receiver.close()

    def reset(self) -> None:
        self.other._was_reset = True
        self.close()


def memory_wires() -> tuple[MemoryWire, MemoryWire]:
    one_sends, other_receives = trio.testing.memory_stream_one_way_pair()
    other_sends, one_receives = trio.testing.memory_stream_one_way_pair()
    one, other = MemoryWire(one_sends, one_receives), MemoryWire(other_sends, other_receives)
    one.other, other.other = other, one
    return one, other
