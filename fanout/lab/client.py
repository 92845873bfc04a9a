"""A client that does one thing at a time: it connects, sends, receives and disconnects, and measures time."""

from __future__ import annotations

import json
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import h11
import trio

_CHUNK: Final = 65_536
_RESET: Final = struct.pack("ii", 1, 0)  # linger for no time: close() sends RST


WITHIN_S: Final = 20.0  # for any answer: longer than the longest wait of an experiment, on a busy machine


@dataclass(slots=True)
class Answer:
    """The outcome of a request. Without a complete answer `status` is 0, and `missing` says why.

    took_ms: from the moment the request was sent to the last byte that came.
    """

    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    took_ms: float = 0.0
    missing: str = ""

    @property
    def json(self) -> Any:
        """`None` if it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def reason(self) -> str:
        """The problem's, empty for an answer that is none."""
        document = self.json
        return str(document.get("reason", "")) if isinstance(document, dict) else ""

    def __str__(self) -> str:
        """`500 deadline after 281 ms`."""
        if not self.status:
            return f"no answer after {self.took_ms:.0f} ms: {self.missing}"
        return f"{self.status}{self.reason and ' '}{self.reason} after {self.took_ms:.0f} ms"


class Client:
    """One connection to a listener. `async with` closes it."""

    def __init__(self, stream: trio.SocketStream, host: str) -> None:
        self._stream = stream
        self._host = host
        self._parser = h11.Connection(h11.CLIENT)
        self._sent_at = 0.0

    @classmethod
    async def to(cls, url: str) -> Client:
        """url: scheme, host and port."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        return cls(await trio.open_tcp_stream(parts.hostname, parts.port), parts.netloc)

    async def send(
        self, target: str, *fields: tuple[str, str], method: str = "GET", body: bytes = b""
    ) -> None:
        length = [("Content-Length", str(len(body)))] if body else []
        request = h11.Request(method=method, target=target, headers=[("Host", self._host), *length, *fields])
        events = (request, h11.Data(body), h11.EndOfMessage()) if body else (request, h11.EndOfMessage())
        await self.send_bytes(b"".join(self._parser.send(event) or b"" for event in events))

    async def send_bytes(self, data: bytes) -> None:
        """Send anything: a part of a request, or bytes that are not HTTP."""
        self._sent_at = trio.current_time()
        await self._stream.send_all(data)

    async def receive(self, within_s: float = WITHIN_S) -> Answer:
        """The answer to what `send` sent."""
        answer = Answer(missing=f"nothing in {within_s:g} s")
        with trio.move_on_after(within_s):
            await trio.lowlevel.checkpoint()
            try:
                while not self._take_answer(answer):
                    self._parser.receive_data(await self._stream.receive_some(_CHUNK))
            except (h11.RemoteProtocolError, trio.BrokenResourceError):
                answer.missing = "the connection ended"
        if answer.missing:
            answer.status, answer.took_ms = 0, self._since_sent_ms()
        return answer

    def _take_answer(self, answer: Answer) -> bool:
        """Put what has arrived into `answer`. Returns whether that is all of it."""
        while True:
            event = self._parser.next_event()
            if isinstance(event, h11.Response):
                answer.status = event.status_code
                answer.fields = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                answer.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                answer.took_ms, answer.missing = self._since_sent_ms(), ""
                if self._parser.our_state is h11.DONE and self._parser.their_state is h11.DONE:
                    self._parser.start_next_cycle()
                return True
            else:
                return False

    async def receive_end(self, within_s: float = WITHIN_S) -> bytes | None:
        """What still arrives until the server ends the connection, also by a reset; `None` if it does not."""
        rest = b""
        with trio.move_on_after(within_s) as patience:
            await trio.lowlevel.checkpoint()
            with suppress(trio.BrokenResourceError):
                while data := await self._stream.receive_some(_CHUNK):
                    rest += data
        return None if patience.cancelled_caught else rest

    def _since_sent_ms(self) -> float:
        return (trio.current_time() - self._sent_at) * 1000

    def finish(self) -> None:
        """Send FIN, and read on."""
        self._stream.socket.shutdown(socket.SHUT_WR)

    def disconnect(self, how: Literal["fin", "rst"] = "fin") -> None:
        """Disconnect at once, synchronously."""
        if how == "rst":
            self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._stream.socket.close()

    async def __aenter__(self) -> Client:
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.disconnect()
        await trio.lowlevel.cancel_shielded_checkpoint()


async def ask(
    url: str, target: str, *fields: tuple[str, str], method: str = "GET", body: bytes = b""
) -> Answer:
    """One request on a connection of its own, and its answer."""
    answer = Answer(missing="the connection was refused or reset")
    await trio.lowlevel.checkpoint()
    with suppress(OSError, trio.BrokenResourceError):
        async with await Client.to(url) as client:
            await client.send(target, *fields, ("Connection", "close"), method=method, body=body)
            answer = await client.receive()
    return answer
