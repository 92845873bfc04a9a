"""Three parsers of HTTP/1.1 that nobody here wrote: llhttp, h11, and aiohttp's, which is in Python.

Each is as strict as its settings make it, and reads the bytes of one connection at once: what they make of
pieces is their own affair.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple

import h11
import httptools
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.http_parser import HttpRequestParserPy, HttpResponseParserPy

from tests.fuzz.reading import CLOSES, REJECTS, WAITS, WAITS_FOR_BODY, Message, Reading, normal_fields

_MAX_LINE_BYTES: Final = 1 << 20  # above every bound of ours, so that theirs do not matter
_END_OF_HEAD: Final = b"\r\n\r\n"


class Witness(NamedTuple):
    """requests: of all that a client sends. answer: to a method, of all that an upstream sends."""

    name: str
    requests: Callable[[bytes], Reading]
    answer: Callable[[str, bytes], Reading]


def request(method: bytes, target: bytes, version: bytes, fields: list[tuple[bytes, bytes]]) -> Message:
    """The head of a request. An absolute target is made what it says: a path, and a host (RFC 9112 3.2.2)."""
    scheme, mark, rest = target.partition(b"://")
    if mark and scheme.lower() in (b"http", b"https"):
        at = min((at for sign in b"/?" if (at := rest.find(sign)) >= 0), default=len(rest))
        authority, target = rest[:at], rest[at:]
        if not target.startswith(b"/"):
            target = b"*" if not target and method == b"OPTIONS" else b"/" + target
        fields = [(b"host", authority), *(field for field in fields if field[0].lower() != b"host")]
    path, _, query = target.partition(b"?")
    return Message((method, path, query, version), normal_fields(fields), b"", True)


# llhttp, through httptools


class _Heard:
    def __init__(self) -> None:
        self.parser: Any = None
        self.messages: list[Message] = []
        self.begun: Message | None = None
        self._url = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self.body = b""

    def on_message_begin(self) -> None:
        self._url, self._fields, self.body, self.begun = b"", [], b"", None

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.begun is None:  # else a trailer
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        parser = self.parser
        version = parser.get_http_version().encode("ascii")
        if isinstance(parser, httptools.HttpRequestParser):
            self.begun = request(parser.get_method(), self._url, version, self._fields)
        else:
            status = b"%d" % parser.get_status_code()
            self.begun = Message((status, version), normal_fields(self._fields), b"", True)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if self.begun is not None:
            keeps = self.parser.should_keep_alive()
            self.messages.append(self.begun._replace(body=self.body, keeps=keeps))
            self.begun = None


def _llhttp(heard: _Heard, data: bytes) -> Reading:
    end = WAITS
    try:
        heard.parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        end = CLOSES
    except httptools.HttpParserError:
        end = REJECTS
    heard.parser = None  # which refers to it
    begun = heard.begun and heard.begun._replace(body=heard.body)
    if end == WAITS and begun is not None:
        end = WAITS_FOR_BODY
    return Reading(tuple(heard.messages), begun, end)


def _llhttp_requests(data: bytes) -> Reading:
    heard = _Heard()
    heard.parser = httptools.HttpRequestParser(heard)
    return _llhttp(heard, data)


def _llhttp_answer(method: str, data: bytes) -> Reading:
    heard = _Heard()
    heard.parser = httptools.HttpResponseParser(heard)
    return _final(_llhttp(heard, data), method)


def _final(reading: Reading, method: str) -> Reading:
    """The final answer alone. Whether it has a body depends on the method, which llhttp does not know."""
    heads = reading.heads()
    while heads and heads[0].start[0].startswith(b"1") and heads[0].start[0] != b"101":
        del heads[0]
    if not heads:
        return Reading((), None, REJECTS)
    first = heads[0]
    if method == "HEAD" or first.start[0] in (b"204", b"304"):
        return Reading((first._replace(body=b"", keeps=None),), None, CLOSES)
    if first is reading.begun:
        names = {name for name, _ in first.fields}
        if reading.end != WAITS_FOR_BODY or names & {b"content-length", b"transfer-encoding"}:
            return Reading((), first, REJECTS)
        return Reading((first._replace(keeps=False),), None, CLOSES)
    return Reading((first._replace(keeps=None if first.keeps else False),), None, CLOSES)


# h11


def _h11_requests(data: bytes) -> Reading:
    messages: list[Message] = []
    begun: Message | None = None
    while True:
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(data)
        body = b""
        try:
            while not isinstance(event := connection.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Request):
                    begun = request(event.method, event.target, event.http_version, event.headers.raw_items())
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                else:
                    return Reading(tuple(messages), begun, WAITS if begun is None else WAITS_FOR_BODY)
        except h11.RemoteProtocolError:
            return Reading(tuple(messages), begun, REJECTS)
        assert begun is not None
        keeps = connection.their_state is not h11.MUST_CLOSE
        messages.append(begun._replace(body=body, keeps=keeps))
        begun = None
        if not keeps:
            return Reading(tuple(messages), None, CLOSES)
        data, _ = connection.trailing_data  # a new one reads on: to answer on this one would say nothing


def _h11_answer(method: str, data: bytes) -> Reading:
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    begun: Message | None = None
    body = b""
    try:
        connection.receive_data(data)
        connection.receive_data(b"")
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                start = (b"%d" % event.status_code, event.http_version)
                begun = Message(start, normal_fields(event.headers.raw_items()), b"", True)
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif not isinstance(event, h11.InformationalResponse) or event.status_code == 101:
                return Reading((), begun, REJECTS)
    except h11.RemoteProtocolError:
        return Reading((), begun, REJECTS)
    assert begun is not None
    rest, _ = connection.trailing_data
    framed = {name for name, _ in begun.fields} & {b"content-length", b"transfer-encoding"}
    keeps = connection.their_state is not h11.MUST_CLOSE and not rest and bool(framed)
    return Reading((begun._replace(body=body, keeps=keeps),), None, CLOSES)


# aiohttp's, in Python


class _Strict(HttpResponseParserPy):
    lax = False


class _Protocol:
    """What the parser needs of a connection."""

    def pause_reading(self) -> None: ...

    def resume_reading(self, resume_parser: bool = True) -> None: ...


_SETTINGS: Final[dict[str, Any]] = {
    "loop": _Protocol(),  # nothing waits
    "limit": _MAX_LINE_BYTES,
    "max_line_size": _MAX_LINE_BYTES,
    "max_field_size": _MAX_LINE_BYTES,
    "max_headers": _MAX_LINE_BYTES,
    "auto_decompress": False,
}


class _Aiohttp:
    """Feeds one of its parsers, and collects what it returns.

    An error hides the messages before it, so it gets the bytes head by head.
    """

    def __init__(self, parser: Any) -> None:
        self._parser = parser
        self.found: list[tuple[Any, Any]] = []
        self.is_rejected = False
        self.is_upgraded = False
        self.rest = b""

    def feed(self, data: bytes) -> None:
        while data and not self.is_upgraded:
            head, end, data = data.partition(_END_OF_HEAD)
            try:
                found, self.is_upgraded, self.rest = self._parser.feed_data(head + end, b"\r\n")
            except (BadHttpMessage, ValueError):
                self.is_rejected = True
                return
            self.found += found

    def end(self) -> None:
        with suppress(BadHttpMessage):
            self._parser.feed_eof()

    def reading(self, head_of: Callable[[Any], Message]) -> Reading:
        messages: list[Message] = []
        begun: Message | None = None
        for parsed, payload in self.found:
            message = head_of(parsed)
            if payload.exception() is not None or not payload.is_eof():
                begun = message
                self.is_rejected = self.is_rejected or payload.exception() is not None
                break
            messages.append(message._replace(body=payload.read_nowait(), keeps=not parsed.should_close))
        if self.is_rejected:
            return Reading(tuple(messages), begun, REJECTS)
        if self.is_upgraded:
            return Reading(tuple(messages), begun, CLOSES)
        return Reading(tuple(messages), begun, WAITS if begun is None else WAITS_FOR_BODY)


def _version(parsed: Any) -> bytes:
    return b"%d.%d" % tuple(parsed.version)


def _aiohttp_request(parsed: Any) -> Message:
    target = parsed.path.encode("utf-8", "surrogateescape")
    return request(parsed.method.encode("ascii"), target, _version(parsed), list(parsed.raw_headers))


def _aiohttp_requests(data: bytes) -> Reading:
    feeder = _Aiohttp(HttpRequestParserPy(_Protocol(), **_SETTINGS))  # type: ignore[arg-type]  # a part of one
    feeder.feed(data)
    return feeder.reading(_aiohttp_request)


def _aiohttp_final(parsed: Any) -> Message:
    return Message(
        (b"%d" % parsed.code, _version(parsed)), normal_fields(list(parsed.raw_headers)), b"", True
    )


def _aiohttp_answer(method: str, data: bytes) -> Reading:
    parser = _Strict(
        _Protocol(),  # type: ignore[arg-type]  # a part of one
        method=method,
        response_with_body=method != "HEAD",
        read_until_eof=True,
        **_SETTINGS,
    )
    feeder = _Aiohttp(parser)
    feeder.feed(data)
    if not feeder.is_rejected:
        feeder.end()
    return _final(feeder.reading(_aiohttp_final), method)


WITNESSES: Final = (
    Witness("llhttp", _llhttp_requests, _llhttp_answer),
    Witness("h11", _h11_requests, _h11_answer),
    Witness("aiohttp", _aiohttp_requests, _aiohttp_answer),
)
