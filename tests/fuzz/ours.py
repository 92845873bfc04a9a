"""What fanout makes of the bytes of one connection, in whatever pieces they come: no socket, no network.

Nothing here waits, so one task runs all of it. Call it inside `trio.run`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

import httpx

from fanout.server.asgi import Message as Event
from fanout.server.asgi import Receive, Scope, Send
from fanout.server.connection import Connection
from fanout.server.driver import Driver
from fanout.server.head import Head, parse_head
from fanout.server.http1 import Http1
from fanout.server.http1_reader import END_OF_HEAD, Reader
from fanout.server.limits import Limits
from fanout.server.rejections import Rejected
from fanout.server.timeouts import Timeouts
from fanout.server.transport import Transport
from fanout.upstream.answer import Answer
from fanout.upstream.errors import BodyTooLarge
from tests.fuzz.reading import CLOSES, REJECTS, WAITS, WAITS_FOR_BODY, Message, Reading, normal_fields

# Small, so that a short input meets all of them.
LIMITS: Final = Limits(max_head_bytes=700, max_target_bytes=120, max_fields=12)
MAX_BODY_BYTES: Final = 300  # of an answer
_SHED: Final = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
_ANSWER: Final = re.compile(rb"HTTP/1\.1 ([0-9]{3}) [^\r]*\r\n((?:[^\r]+\r\n)*)\r\n")


class Wire(Transport):
    """Delivers its pieces, then the client's end. sent: what the server has written."""

    __slots__ = ("_pieces", "sent")

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__("http")
        self._pieces: Iterator[bytes] = iter(pieces)
        self.sent = b""

    def send_now(self, data: bytes) -> bool:
        self.sent += data
        return True

    async def flush(self) -> None: ...

    async def receive(self) -> bytes:
        return next(self._pieces, b"")

    def watch(self, client_left: object) -> None: ...

    def has_bytes(self) -> bool:
        return False

    async def send_eof(self) -> None: ...

    def close(self) -> None: ...

    abort = close


def _message(head: Head, body: bytes = b"") -> Message:
    start = (head.method.encode("ascii"), head.raw_path, head.query, head.version.encode("ascii"))
    return Message(start, normal_fields(head.fields), body, head.keep_alive)


async def head(pieces: Iterable[bytes]) -> Reading:
    """The first head of a connection, as `Reader` reads it: one message without its body."""
    first, *more = pieces
    reader = Reader(Connection(Timeouts(LIMITS), Wire(more)))
    try:
        read = await reader.read_head(first)
    except Rejected as rejected:
        return Reading((), None, REJECTS, rejected.rejection.status)
    return Reading((), None, WAITS) if read is None else Reading((_message(read),), None, CLOSES)


def head_alone(data: bytes) -> Reading:
    """As `head`, by our own grammar alone, without the second opinion of llhttp."""
    lines, end, _ = data.removeprefix(b"\r\n").partition(END_OF_HEAD)
    if not end:
        return Reading((), None, WAITS)
    try:
        return Reading((_message(parse_head(lines + end, LIMITS)),), None, CLOSES)
    except Rejected as rejected:
        return Reading((), None, REJECTS, rejected.rejection.status)


class Server:
    """The server's own loop of a connection, with an app that keeps what it receives."""

    def __init__(self) -> None:
        self.crashes: list[BaseException] = []
        self._driver = Driver(LIMITS, on_crash=self.crashes.append)
        self._shedding = Driver(LIMITS, on_crash=self.crashes.append, shed=lambda beginning: _SHED)
        self._heads: list[Message] = []
        self._bodies: list[bytes] = []

    async def requests(self, pieces: Iterable[bytes]) -> Reading:
        """What reaches the app, and how it ends. Raises `AssertionError` if an answer is missing."""
        self._heads, self._bodies = [], []
        wire = Wire(pieces)
        await self._serve(self._driver, wire)
        answers = [
            (int(status), b"connection: close\r\n" in fields) for status, fields in _ANSWER.findall(wire.sent)
        ]
        final = [answer for answer in answers if answer[0] != 100]
        closes = bool(final) and final[-1][1]
        status = final[-1][0] if closes and final[-1][0] != 200 else 0
        assert [each for each, _ in final] == [200] * len(self._bodies) + [status] * bool(status), wire.sent
        assert [closes for _, closes in final[:-1]] == [False] * (len(final) - 1), wire.sent
        messages = tuple(
            head._replace(body=body, keeps=not closes)
            for head, body, (_, closes) in zip(self._heads, self._bodies, final, strict=False)
        )
        begun = self._heads[len(messages)] if len(self._heads) > len(messages) else None
        if status:
            return Reading(messages, begun, REJECTS, status)
        if closes:
            return Reading(messages, begun, CLOSES)
        return Reading(messages, begun, WAITS if begun is None else WAITS_FOR_BODY)

    async def sheds_whole(self, data: bytes) -> bool:
        """Whether the server under overload takes `data` for one whole request: it answers and reads on."""
        wire = Wire((data,))
        await self._serve(self._shedding, wire)
        return b"connection: close" not in wire.sent

    async def _serve(self, driver: Driver, wire: Wire) -> None:
        async def serve(connection: Connection) -> None:
            await Http1(driver, connection, self._app, {}).run()

        await driver.hold(wire, serve)

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = (scope["method"].encode("ascii"), scope["raw_path"], scope["query_string"])
        version = scope["http_version"].encode("ascii")
        self._heads.append(Message((*start, version), normal_fields(scope["headers"]), b"", None))
        body = b""
        more: Event = {"more_body": True}
        while more.get("more_body"):
            more = await receive()
            if more["type"] == "http.disconnect":
                return
            body += more["body"]
        self._bodies.append(body)
        fields = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b""})


def answer(method: str, pieces: Iterable[bytes]) -> Reading:
    """An answer to `method`, from what an upstream sends before it closes."""
    found = Answer(method, MAX_BODY_BYTES)
    try:
        for piece in (*pieces, b""):
            if not found.is_complete:
                found.feed(piece)
            elif piece:
                found.keeps_connection = False  # as the pool has it: bytes that nobody asked for
        response = found.response(httpx.Request(method, "http://a/"))
    except httpx.RemoteProtocolError:
        return Reading((), None, REJECTS, 502)
    except BodyTooLarge:
        return Reading((), None, REJECTS, 413)
    finally:
        found.stop()
    version = response.extensions["http_version"].removeprefix(b"HTTP/")
    start = (b"%d" % response.status_code, version)
    return Reading(
        (Message(start, normal_fields(response.headers.raw), response.content, found.keeps_connection),),
        None,
        CLOSES,
    )
