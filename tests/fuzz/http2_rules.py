"""RFC 9113 §8 as a table: each rule that a request may break, what follows from it, and what h2 makes of it.

It is written from the RFC, and shares nothing with `fanout.server.http2_head`. Between the two stands h2 with
its own check of heads, which the server does not use: the table says where that decides otherwise.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Final, NamedTuple

import h2.exceptions
from h2.utilities import HeaderValidationFlags, validate_headers

from fanout.server.limits import Limits

Field = tuple[bytes, bytes]

MALFORMED: Final = 0  # the stream is reset with PROTOCOL_ERROR; any other outcome is the status of an answer
SERVED: Final = 200
_TCHAR: Final = frozenset((string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~").encode())
_METHODS: Final = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"QUERY")
_REG_NAME: Final = frozenset((string.ascii_letters + string.digits + "-._~%!$&'()*+,;=").encode())
_OF_REQUESTS: Final = (b":method", b":scheme", b":authority", b":path")
_OF_A_CONNECTION: Final = (
    b"connection",
    b"proxy-connection",
    b"keep-alive",
    b"transfer-encoding",
    b"upgrade",
)


class Request(NamedTuple):
    """ended: the stream ends with its head."""

    fields: list[Field]
    ended: bool
    limits: Limits

    def first(self, name: bytes) -> bytes | None:
        return next((value for each, value in self.fields if each == name), None)

    def all(self, name: bytes) -> list[bytes]:
        return [value for each, value in self.fields if each == name]

    def plain(self) -> list[Field]:
        return [field for field in self.fields if field[0] not in _OF_REQUESTS]


class Rule(NamedTuple):
    """outcome: a status, or `MALFORMED`; `SERVED` if only h2 takes it for a mistake.

    h2: whether its own check refuses the head.
    """

    section: str
    what: str
    outcome: int
    h2: bool
    is_broken: Callable[[Request], bool]


def _has_colon(request: Request) -> bool:
    return any(b":" in name for name, _ in request.plain() if not name.startswith(b":"))


def _surrounded(request: Request) -> bool:
    return any(value != value.strip(b" \t") for _, value in request.fields)


def _unknown_pseudo(request: Request) -> bool:
    known = (b":protocol",) if _is_extended_connect(request) else ()
    return any(name.startswith(b":") and name not in known for name, _ in request.plain())


def _pseudo_behind(request: Request) -> bool:
    pseudo = [name.startswith(b":") for name, _ in request.fields]
    return pseudo != sorted(pseudo, reverse=True)


def _pseudo_twice(request: Request) -> bool:
    return any(len(request.all(name)) > 1 for name in _OF_REQUESTS)


def _is_extended_connect(request: Request) -> bool:
    return request.first(b":method") == b"CONNECT" and request.first(b":protocol") is not None


def _is_connect(request: Request) -> bool:
    return request.first(b":method") == b"CONNECT" and not _is_extended_connect(request)


def _lacks(*names: bytes) -> Callable[[Request], bool]:
    return lambda request: not _is_connect(request) and any(request.first(name) is None for name in names)


def _connect_with_more(request: Request) -> bool:
    return _is_connect(request) and (
        request.first(b":scheme") is not None or request.first(b":path") is not None
    )


def _connect_without(request: Request) -> bool:
    return _is_connect(request) and request.first(b":authority") is None


def _other_host(request: Request) -> bool:
    hosts, authority = request.all(b"host"), request.first(b":authority")
    if authority is None or not hosts:
        return False
    return _normal(hosts[-1], request) != _normal(authority, request)


def _respelled_host(request: Request) -> bool:
    hosts, authority = request.all(b"host"), request.first(b":authority")
    return authority is not None and any(host != authority for host in hosts)


def _normal(host: bytes, request: Request) -> bytes:
    name, colon, port = host.lower().rpartition(b":")
    default = {b"http": b"80", b"https": b"443"}.get(request.first(b":scheme") or b"", b"")
    return name if colon and port in (b"", default) else host.lower()


def _length_without_body(request: Request) -> bool:
    length = request.first(b"content-length")
    return request.ended and length is not None and _is_length(length) and int(length) > 0


def _method(request: Request) -> bytes:
    return request.first(b":method") or b""


def _unknown_method(request: Request) -> bool:
    return _method(request) not in _METHODS and bool(_method(request)) and {*_method(request)} <= _TCHAR


def _bad_path(request: Request) -> bool:
    path = request.first(b":path") or b""
    if path == b"*":
        return _method(request) != b"OPTIONS"
    return not path.startswith(b"/") or b"#" in path or any(not 0x21 <= each <= 0x7E for each in path)


def _host(request: Request) -> bytes | None:
    host = request.all(b"host")
    authority = request.first(b":authority")
    return host[-1] if host and authority is None else authority


def _bad_host(request: Request) -> bool:
    host = _host(request)
    if host is None:
        return False
    if host.startswith(b"["):
        address, bracket, port = host[1:].partition(b"]")
        if not bracket or not address or not {*address} <= {*b"0123456789abcdefABCDEF:."}:
            return True
        colon, port = port[:1], port[1:]
    else:
        name, colon, port = host.partition(b":")
        if not name or not {*name} <= _REG_NAME:
            return True
    return colon not in (b"", b":") or (bool(port) and not _is_port(port))


def _is_port(port: bytes) -> bool:
    return port.isdigit() and len(port) <= 5 and int(port) < 65536


def _is_length(value: bytes) -> bool:
    return value.isdigit() and len(value) <= 15


def _unknown_expectation(request: Request) -> bool:
    members = [member.strip() for value in request.all(b"expect") for member in value.lower().split(b",")]
    return any(member not in (b"", b"100-continue") for member in members)


def _size(request: Request) -> int:
    return sum(len(name) + len(value) + 4 for name, value in request.fields)


def _controls(request: Request) -> bool:
    return any(
        (each < 0x20 and each != 0x09) or each == 0x7F for _, value in request.plain() for each in value
    )


RULES: Final = (
    Rule("8.2.1", "an upper-case name", MALFORMED, True, lambda r: any(n != n.lower() for n, _ in r.fields)),
    Rule(
        "8.2.1",
        "a name with a control character, a space, or a byte that is not ASCII",
        MALFORMED,
        True,
        lambda r: any(each <= 0x20 or each >= 0x7F for name, _ in r.fields for each in name),
    ),
    Rule("8.2.1", "a colon in a name", MALFORMED, True, _has_colon),
    Rule("8.2.1", "an empty name", MALFORMED, True, lambda r: any(not name for name, _ in r.fields)),
    Rule(
        "8.2.1",
        "a value with a NUL, a CR or a LF",
        MALFORMED,
        True,
        lambda r: any({*value} & {0, 10, 13} for _, value in r.fields),
    ),
    Rule("8.2.1", "a value with a space or a tab around it", MALFORMED, True, _surrounded),
    Rule(
        "8.2.2",
        "a field of a connection",
        MALFORMED,
        True,
        lambda r: any(name in _OF_A_CONNECTION for name, _ in r.fields),
    ),
    Rule(
        "8.2.2",
        "a TE other than trailers",
        MALFORMED,
        True,
        lambda r: {te.lower() for te in r.all(b"te")} - {b"trailers"} != set(),
    ),
    Rule("8.3", "a pseudo-header field that requests do not have", MALFORMED, True, _unknown_pseudo),
    Rule("8.3", "an extended CONNECT, which was not offered", MALFORMED, False, _is_extended_connect),
    Rule("8.3", "a pseudo-header field behind a field", MALFORMED, True, _pseudo_behind),
    Rule("8.3", "a pseudo-header field twice", MALFORMED, True, _pseudo_twice),
    Rule("8.3.1", "no method", MALFORMED, True, _lacks(b":method")),
    Rule("8.3.1", "no scheme", MALFORMED, True, _lacks(b":scheme")),
    Rule(
        "8.3.1",
        "no path, or an empty one",
        MALFORMED,
        True,
        lambda r: not _is_connect(r) and not r.first(b":path"),
    ),
    Rule("8.3.1", "a host that is not the authority", MALFORMED, True, _other_host),
    Rule("8.5", "a CONNECT with a scheme or a path", MALFORMED, True, _connect_with_more),
    Rule("8.5", "a CONNECT without an authority", MALFORMED, False, _connect_without),
    Rule("8.3.1", "a host that is the authority in other letters", SERVED, True, _respelled_host),
    Rule("8.1.1", "a length, and no body", MALFORMED, False, _length_without_body),
    Rule("8.3.1", "neither an authority nor a host", 400, True, lambda r: _host(r) is None),
    Rule("8.3.1", "a method that is not known", 501, False, _unknown_method),
    Rule(
        "8.3.1", "a method that is not a token", 400, False, lambda r: not {*(_method(r) or b"@")} <= _TCHAR
    ),
    Rule("8.3.1", "a path that is none", 400, False, _bad_path),
    Rule("8.3.1", "an authority that is none", 400, False, _bad_host),
    Rule(
        "8.3.1",
        "a scheme that is not http",
        400,
        False,
        lambda r: (r.first(b":scheme") or b"").lower() not in (b"http", b"https"),
    ),
    Rule(
        "8.2.1",
        "a name that is not a token",
        400,
        False,
        lambda r: any(not {*n} <= _TCHAR for n, _ in r.plain()),
    ),
    Rule("8.2.1", "a control character in a value", 400, False, _controls),
    Rule("8.3.1", "two hosts", 400, True, lambda r: len(r.all(b"host")) > 1),
    Rule("8.1.1", "two lengths", 400, False, lambda r: len(r.all(b"content-length")) > 1),
    Rule(
        "8.1.1",
        "a length that is no number",
        400,
        False,
        lambda r: not all(map(_is_length, r.all(b"content-length"))),
    ),
    Rule("8.1", "an unknown expectation", 417, False, _unknown_expectation),
    Rule(
        "10.5.1",
        "too long a path",
        414,
        False,
        lambda r: len(r.first(b":path") or b"") > r.limits.max_target_bytes,
    ),
    Rule("10.5.1", "too large a head", 431, False, lambda r: _size(r) > r.limits.max_head_bytes),
    Rule("10.5.1", "too many fields", 431, False, lambda r: len(r.plain()) > r.limits.max_fields),
)


def outcomes(request: Request) -> tuple[set[int], list[Rule]]:
    """What may become of it, and the rules that it breaks."""
    broken = [rule for rule in RULES if rule.is_broken(request)]
    malformed = [rule for rule in broken if rule.outcome == MALFORMED]
    statuses = {rule.outcome for rule in broken} - {MALFORMED, SERVED}
    if malformed:  # 8.1.1: it may be answered before. Only of a length, which is looked at last, it is.
        return {MALFORMED} | (statuses if malformed == [_LENGTH] else set()), broken
    return statuses or {SERVED}, broken


def are_malformed(trailers: list[Field]) -> bool:
    """Whether trailers break 8.2, or 8.1: they have no pseudo-header fields."""
    request = Request(trailers, True, _NO_LIMITS)
    return any(
        rule.section in ("8.2.1", "8.2.2") and rule.outcome == MALFORMED and rule.is_broken(request)
        for rule in RULES
    ) or any(name.startswith(b":") for name, _ in trailers)


_NO_LIMITS: Final = Limits()
_LENGTH: Final = next(rule for rule in RULES if rule.is_broken is _length_without_body)
_OF_A_REQUEST: Final = HeaderValidationFlags(
    is_client=False, is_trailer=False, is_response_header=False, is_push_promise=False
)


def h2_refuses(fields: list[Field]) -> bool:
    """Whether h2's own check, which our server turns off, would refuse this head."""
    try:
        list(validate_headers(fields, _OF_A_REQUEST))
    except h2.exceptions.ProtocolError:
        return True
    return False


def fields_of_app(request: Request) -> list[Field]:
    """What the app must get: a host in the place of the authority, and how the body is framed."""
    host = _host(request)
    fields = [(b"host", host or b""), *(field for field in request.plain() if field[0] != b"host")]
    if not request.ended and request.first(b"content-length") is None:
        fields.append((b"transfer-encoding", b"chunked"))
    return fields
