"""A transport to the driver that records what is done with it, without a client."""

from __future__ import annotations

from collections.abc import Callable

import trio

from fanout.server.transport import Transport


class Recorded(Transport):
    """Keeps what is done with it.

    arriving: what it receives or raises instead, then the end. takes: whether the kernel takes at once what
    is sent; if not, it has it after `flush_s`. alpn: what the handshake agrees on, which takes `handshake_s`.
    """

    def __init__(
        self,
        *arriving: bytes | Exception,
        takes: bool = True,
        flush_s: float = 0.0,
        alpn: str | None = None,
        handshake_s: float = 0.0,
    ) -> None:
        super().__init__("http")
        self._alpn = alpn
        self._handshake_s = handshake_s
        self.client_left: Callable[[], None] | None = None
        self.done: list[str | bytes] = []
        self.arriving = list(arriving)
        self.is_broken = False  # to send raises
        self._takes = takes
        self._flush_s = flush_s

    def send_now(self, data: bytes) -> bool:
        if self.is_broken:
            raise trio.BrokenResourceError
        self.done.append(data)
        return self._takes

    async def flush(self) -> None:
        await trio.sleep(self._flush_s)

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        piece = self.arriving.pop(0) if self.arriving else b""
        if isinstance(piece, Exception):
            raise piece
        return piece

    def watch(self, client_left: Callable[[], None]) -> None:
        self.client_left = client_left

    async def handshake(self) -> str | None:
        await trio.sleep(self._handshake_s)
        return self._alpn

    def has_bytes(self) -> bool:
        return bool(self.arriving)

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()
        self.done.append("eof")

    def close(self) -> None:
        self.done.append("close")

    def abort(self) -> None:
        self.done.append("abort")
