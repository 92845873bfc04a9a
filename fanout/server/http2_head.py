"""The head of an HTTP/2 request: what RFC 9113 adds to the grammar of `head`.

Rule 1: a request that RFC 9113 calls malformed (8.1.1) raises `Malformed`, and its stream is reset. Any other
        mistake raises the same `Rejected` as over HTTP/1.1, and gets the same status.
Rule 2: `Http2` turns h2's own check of heads off, because h2 would end the connection with every other
        request on it. h2 still ends it for a Content-Length that is not a number or not that of the data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from fanout.server import head, rejections
from fanout.server.head import CHUNKED, TOKEN, Fields, Head
from fanout.server.limits import Limits
from fanout.server.rejections import malformed

_PSEUDO: Final = frozenset((b":method", b":scheme", b":authority", b":path"))
_MANDATORY: Final = frozenset((b":method", b":scheme", b":path"))
_OF_CONNECT: Final = frozenset((b":method", b":authority"))
_OF_A_CONNECTION: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
_ONCE: Final = frozenset((b"host", b"content-length"))
_PROHIBITED_IN_A_NAME: Final = re.compile(rb"[\x00-\x20A-Z\x7f-\xff:]")  # RFC 9113 8.2.1
_PROHIBITED_IN_A_VALUE: Final = re.compile(rb"\A[ \t]|[\x00\r\n]|[ \t]\Z")
_NAME: Final = re.compile(TOKEN)
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*+")
_PORTS: Final = {b"http": b":80", b"https": b":443"}
_HTTP: Final = frozenset((b"http", b"https"))


class Malformed(Exception):
    """A stream error of the type PROTOCOL_ERROR."""


def read_head(sent: Iterable[tuple[bytes, bytes]], limits: Limits, *, ended: bool) -> Head:
    """The head, with a `host` field in place of `:authority`, as HTTP/1.1 has it.

    ended: the stream ended with its head. If not, and if there is no length, there is a `transfer-encoding`
    field: a gateway to HTTP/1.1 would say it so, and apps know it. Raises `Malformed` or `Rejected`.
    """
    fields: Fields = []
    pseudo: dict[bytes, bytes] = {}
    ruled: dict[bytes, bytes] = {}
    number = size_bytes = 0
    wrong = None
    for name, value in sent:
        size_bytes += len(name) + len(value) + 4  # as HTTP/1.1 would write it
        if name in _PSEUDO and name not in pseudo and not number:
            if _PROHIBITED_IN_A_VALUE.search(value):
                raise Malformed
            pseudo[name] = value
            continue
        number += 1
        if name != b"host":
            fields.append((name, value))
        if not _is_valid(name, value):
            wrong = "A header field is not a name and a value."
        if name in _ONCE:
            if name in ruled:
                wrong = f"The field {name.decode('ascii')} is there more than once."
            ruled[name] = value
        elif name == b"expect":
            ruled[name] = ruled.get(name, b"") + b"," + value
    method, host = _method_of(pseudo), pseudo.get(b":authority")
    if host is not None and not _is_same_host(ruled.get(b"host", host), host, pseudo.get(b":scheme")):
        raise Malformed
    head.check_method(method)
    head.check_target_size(pseudo[b":path"], limits)
    if size_bytes > limits.max_head_bytes:
        raise rejections.head_too_large(f"The head is longer than {limits.max_head_bytes} bytes.")
    head.check_number_of_fields(number, limits)
    if wrong is not None:
        raise malformed(wrong)
    host = ruled.get(b"host") if host is None else host
    if host is None:
        raise malformed("A request needs an :authority, or a Host field.")
    head.check_host(host)
    head.check_target(method, pseudo[b":path"])
    if pseudo[b":scheme"].lower() not in _HTTP:
        raise malformed("The scheme is neither http nor https.")
    expects_continue = head.has_expectation(ruled.get(b"expect")) and not ended
    body_length = 0 if ended else CHUNKED
    if b"content-length" in ruled:
        body_length = head.length_of(ruled[b"content-length"])
        if ended and body_length:
            raise Malformed
    elif not ended:
        fields.append((b"transfer-encoding", b"chunked"))
    path = head.split_target(pseudo[b":path"])
    fields.insert(0, (b"host", host))
    return Head(method.decode("ascii"), "2", *path, fields, True, body_length, expects_continue)


def check_trailers(fields: Iterable[tuple[bytes, bytes]], missing_bytes: int) -> None:
    """Check trailers, which no app reads. Raises `Malformed`.

    missing_bytes: of the body, by its content-length. Without trailers h2 checks that.
    """
    if missing_bytes > 0:
        raise Malformed
    for name, value in fields:
        _is_valid(name, value)


def _is_valid(name: bytes, value: bytes) -> bool:
    """Whether this is a valid field by RFC 9110. Raises `Malformed` where RFC 9113 demands it."""
    if (
        not name
        or name in _OF_A_CONNECTION
        or (name == b"te" and value.lower() != b"trailers")
        or _PROHIBITED_IN_A_NAME.search(name)
        or _PROHIBITED_IN_A_VALUE.search(value)
    ):
        raise Malformed
    return _NAME.fullmatch(name) is not None and _VALUE.fullmatch(value) is not None


def _is_same_host(one: bytes, other: bytes, scheme: bytes | None) -> bool:
    """As RFC 3986 6.2 compares: in any case, and the port of the scheme may be left out."""
    if one == other:
        return True
    port = _PORTS.get(scheme or b"", b":")
    return len({host.lower().removesuffix(port).removesuffix(b":") for host in (one, other)}) == 1


def _method_of(pseudo: dict[bytes, bytes]) -> bytes:
    """The method. Raises `Malformed` if the pseudo-header fields do not fit it."""
    method = pseudo.get(b":method")
    if method == b"CONNECT":
        if pseudo.keys() != _OF_CONNECT:
            raise Malformed
    elif not pseudo.keys() >= _MANDATORY or not pseudo[b":path"]:
        raise Malformed
    assert method is not None
    return method
