"""Requests out of bytes, with httptools.

Rule 1: heads and bodies are bounded.
Rule 2: `feed` never raises for what a client sends. What cannot be read becomes a `Refusal`, the last one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import httptools

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_BODY_BYTES: Final = 64 * 1024  # settings and slots are small


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request. closing: the connection is to be closed after the answer.

    fields: its header fields, by name in lower case.
    """

    method: str
    path: str
    query: str
    body: bytes
    closing: bool
    fields: Mapping[bytes, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing more can be read from this client."""

    status: int
    why: str


class RequestParser:
    """Feed it what arrives, in any pieces, and it hands out whole requests."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._messages: list[Request | Refusal] = []
        self._refused = False
        self._in_head = True
        self._head_bytes = 0  # received since the last head ended
        self._url = b""
        self._body = b""
        self._fields: dict[bytes, bytes] = {}

    def feed(self, data: bytes | bytearray) -> list[Request | Refusal]:
        """The messages that these bytes complete. After a refusal, none any more."""
        self._messages = []
        if not self._refused:
            self._head_bytes += len(data)
            self._parse(data)
            if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"a head has at most {MAX_HEAD_BYTES} bytes"
                )
        return self._messages

    def _parse(self, data: bytes | bytearray) -> None:
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:  # offers of h2c and the like are not taken up
                data = data[upgrade.args[0] :]
            except httptools.HttpParserError as error:
                return self._refuse(HTTPStatus.BAD_REQUEST, f"this is not HTTP/1.1: {error}")
            else:
                return None
        return None

    def _refuse(self, status: int, why: str) -> None:
        if not self._refused:
            self._refused = True
            self._messages.append(Refusal(status, why))

    # Called by httptools from within feed_data.

    def on_message_begin(self) -> None:
        self._in_head = True
        self._url = b""
        self._body = b""
        self._fields = {}

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > MAX_BODY_BYTES:
            self._body = b""
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {MAX_BODY_BYTES} bytes")

    def on_message_complete(self) -> None:
        self._in_head = True
        if self._refused:
            return
        # Origin form or absolute form. A path may hold any bytes, and latin-1 takes them all.
        path, _, query = self._url.decode("latin-1").partition("?")
        if "://" in path:
            path = "/" + path.partition("://")[2].partition("/")[2]
        method = self._parser.get_method().decode("ascii")
        closing = not self._parser.should_keep_alive()
        self._messages.append(Request(method, path, query, self._body, closing, self._fields))
