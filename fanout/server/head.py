"""The strict grammar of a request head, and its bounds, for HTTP/1.1 and for HTTP/2.

`parse_head` reads a head of HTTP/1.x: one regular expression, then a few rules between the fields. The rules
for a method, a target, a host, a body's length and the number of fields are functions of their own, which
`http2_head` calls as well.

Rule 1: a head that two servers could read differently is refused: bare CR or LF, NUL, a space before a colon,
        a folded line, a repeated or odd length, a length next to a transfer coding, any coding but `chunked`,
        and a request without exactly one host.
Rule 2: llhttp reads every head of HTTP/1.x as well (`http1_reader`), and both must agree. Alone it would
        accept two spaces in the request line, blank lines before it, HTTP/0.9 and 2.0, RTSP and ICE, other
        methods, no host, two hosts, an odd host, codings before `chunked`, a coding in HTTP/1.0, `GET *`, a
        fragment, and any scheme.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote

from fanout.server import rejections
from fanout.server.limits import Limits
from fanout.server.rejections import Rejected, malformed

Fields = list[tuple[bytes, bytes]]
CHUNKED: Final = -1

# RFC 9110, PATCH of RFC 5789, and QUERY. Every other token is a 501, and so is CONNECT: there are no tunnels.
METHODS: Final = frozenset(
    (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"QUERY"),
)
_MAX_METHOD_BYTES: Final = 32

# Possessive throughout: no input makes it look at a byte more than twice.
TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_HEAD: Final = re.compile(
    rb"(" + TOKEN + rb") ([\x21\x22\x24-\x7e]++) HTTP/(1\.[01])\r\n"
    rb"((?:" + TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)*+)\r\n"
)
_FIELD: Final = re.compile(rb"([^:]++):[ \t]*+([^\r]*+)\r\n")
_OTHER_VERSION: Final = re.compile(TOKEN + rb" [\x21-\x7e]++ HTTP/[0-9]\.[0-9]\r\n")
_NEVER: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?=[^\n])")
_METHOD: Final = re.compile(TOKEN)
_PATH: Final = re.compile(rb"/[\x21\x22\x24-\x7e]*+")
_PORT: Final = rb"(?:[0-5]?[0-9]{0,4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~%!$&'()*+,;=]+)(?::" + _PORT + rb")?")
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/?]++)(.*)")
_CODING: Final = re.compile(TOKEN + rb"(?:[ \t]*+;.*+)?")
_LISTS: Final = frozenset((b"connection", b"proxy-connection", b"upgrade", b"transfer-encoding", b"expect"))
_RULED: Final = _LISTS | {b"host", b"content-length"}
_MAX_LENGTH_DIGITS: Final = 15


class Head(NamedTuple):
    """One request head. `fields` have lower-case names; `body_length` is in bytes, or `CHUNKED`."""

    method: str
    version: str
    path: str  # percent-decoded as UTF-8, undecodable bytes as U+FFFD
    raw_path: bytes
    query: bytes
    fields: Fields
    keep_alive: bool
    body_length: int
    expects_continue: bool


def check_unfinished(data: bytes, checked: int, limits: Limits) -> None:
    """Raise `Rejected` if no further bytes can make `data` a head. `checked` bytes of it were seen before."""
    if _NEVER.search(data, max(0, checked - 1)):
        raise malformed("A control character, or a CR or LF without the other, stands in the head.")
    check_size(data, len(data), limits)


def check_size(data: bytes, head_bytes: int, limits: Limits) -> None:
    """Raise `Rejected` if the head, its first `head_bytes` bytes, is too large."""
    if head_bytes > limits.max_target_bytes:
        line = data[:head_bytes].partition(b"\r\n")[0].removesuffix(b"\r")  # half of its end may be there
        if len(line) > limits.max_target_bytes + _MAX_METHOD_BYTES:  # it has two spaces and a version, too
            method = _METHOD.match(line)
            if method is not None and method.end() > _MAX_METHOD_BYTES:
                raise Rejected(rejections.METHOD_NOT_IMPLEMENTED)
            raise rejections.target_too_long(limits.max_target_bytes)
        if head_bytes > limits.max_head_bytes:
            raise rejections.head_too_large(f"The head is longer than {limits.max_head_bytes} bytes.")


def parse_head(data: bytes, limits: Limits) -> Head:
    """Read `data`, which ends with the first blank line. Raises `Rejected`."""
    match = _HEAD.fullmatch(data)
    if match is None:
        raise _why(data)
    method, target, version, lines = match.groups()
    if method not in METHODS:
        raise Rejected(rejections.METHOD_NOT_IMPLEMENTED)
    check_target_size(target, limits)
    fields: Fields = []
    ruled: dict[bytes, bytes] = {}
    for name, value in _FIELD.findall(lines):
        name, value = name.lower(), value.rstrip(b" \t")
        fields.append((name, value))
        if name in _RULED:
            if name not in ruled:
                ruled[name] = value
            elif name in _LISTS:
                ruled[name] += b"," + value
            else:
                raise malformed(f"The field {name.decode('ascii')} is there more than once.")
    check_number_of_fields(len(fields), limits)
    host = ruled.get(b"host")
    if host is None:
        if version == b"1.1":
            raise malformed("An HTTP/1.1 request needs a Host field.")
    else:
        check_host(host)
    if target[0] != 0x2F:  # not in origin form, which begins with a slash
        target = _other_form(method, target, fields)
    if b"connection" in ruled or version == b"1.0":
        options = _options(ruled.get(b"connection", b""))
        keep_alive = b"close" not in options and (version == b"1.1" or b"keep-alive" in options)
    else:
        keep_alive = True
    body_length, expects_continue = 0, False
    if len(ruled) > (host is not None):
        expects_continue = has_expectation(ruled.get(b"expect")) and version == b"1.1"
        body_length = _body_length(ruled, version)
        if b"upgrade" in ruled:
            _check_upgrade(ruled, body_length)
            keep_alive = False  # llhttp reads nothing behind an Upgrade, so nothing comes behind it
        if b"proxy-connection" in ruled and b"close" in _options(ruled[b"proxy-connection"]):
            keep_alive = False  # likewise, though no standard has this field
    return Head(
        method.decode("ascii"),
        version.decode("ascii"),
        *split_target(target),
        fields,
        keep_alive and body_length != CHUNKED,  # where a chunked body ends only llhttp knows
        body_length,
        expects_continue,
    )


def split_target(target: bytes) -> tuple[str, bytes, bytes]:
    """`path`, `raw_path` and `query` of a `Head`, from a path with a query, or `*`."""
    raw_path, _, query = target.partition(b"?")
    path = raw_path.decode("ascii")
    return unquote(path) if "%" in path else path, raw_path, query


def _why(data: bytes) -> Rejected:
    if _NEVER.search(data):
        return malformed("A control character, or a CR or LF without the other, stands in the head.")
    if _OTHER_VERSION.match(data):
        line, _, _ = data.partition(b"\r\n")
        if not line.endswith((b"HTTP/1.1", b"HTTP/1.0")):
            return Rejected(rejections.VERSION_NOT_SUPPORTED)
        if b"#" not in line:
            return malformed("A header field is not a name, a colon and a value on one line.")
    return malformed("The first line is not a method, a target and a version with one space between them.")


def _other_form(method: bytes, target: bytes, fields: Fields) -> bytes:
    """The target in origin form (or `*`). An absolute one brings its own host, which replaces the field."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        check_target(method, target)
        return target
    check_host(match[1])
    fields[:] = [(b"host", match[1]), *(field for field in fields if field[0] != b"host")]
    if match[2].startswith(b"/"):
        return match[2]
    if not match[2] and method == b"OPTIONS":
        return b"*"  # RFC 9110 4.2.3: for any other method an empty path is a slash
    return b"/" + match[2]


def _options(connection: bytes) -> list[bytes]:
    return [option.strip(b" \t") for option in connection.lower().split(b",")]


def _body_length(ruled: dict[bytes, bytes], version: bytes) -> int:
    length, coding = ruled.get(b"content-length"), ruled.get(b"transfer-encoding")
    if coding is None:
        return 0 if length is None else length_of(length)
    codings = [name.strip(b" \t") for name in coding.lower().split(b",")]
    if length is None and version == b"1.1" and codings[-1] == b"chunked":
        if len(codings) == 1:
            return CHUNKED
        if codings.count(b"chunked") == 1 and all(_CODING.fullmatch(name) for name in codings):
            raise Rejected(rejections.CODING_NOT_IMPLEMENTED)
    raise malformed("Transfer-Encoding must be chunked, once, in HTTP/1.1, without Content-Length.")


def _check_upgrade(ruled: dict[bytes, bytes], body_length: int) -> None:
    """An Upgrade is ignored, as it may be; not where ignoring it would run the request for nobody."""
    if b"websocket" in ruled[b"upgrade"].lower():
        raise malformed("There are no websockets here.")
    if body_length:
        raise malformed("A request with an Upgrade cannot have a body.")


# The rules of both protocols. Each raises `Rejected`.


def check_method(method: bytes) -> None:
    if method not in METHODS:
        if _METHOD.fullmatch(method):
            raise Rejected(rejections.METHOD_NOT_IMPLEMENTED)
        raise malformed("The method is not a token.")


def check_target_size(target: bytes, limits: Limits) -> None:
    if len(target) > limits.max_target_bytes:
        raise rejections.target_too_long(limits.max_target_bytes)


def check_number_of_fields(number: int, limits: Limits) -> None:
    if number > limits.max_fields:
        raise rejections.head_too_large(f"The head has more than {limits.max_fields} fields.")


def check_target(method: bytes, target: bytes) -> None:
    """A path with a query, or `*`: the server itself, which only OPTIONS may ask for. RFC 9110 9.3.7."""
    if not _PATH.fullmatch(target) and (target != b"*" or method != b"OPTIONS"):
        raise malformed("The target is neither a path nor an http URL.")


def check_host(host: bytes) -> None:
    if not _HOST.fullmatch(host):
        raise malformed("The host is not a name or an address, with or without a port.")


def has_expectation(expectations: bytes | None) -> bool:
    """Whether the client expects a 100. Expectations are a list, which may have empty elements."""
    if expectations is None:
        return False
    members = {member.strip(b" \t") for member in expectations.lower().split(b",")} - {b""}
    if not members <= {b"100-continue"}:
        raise Rejected(rejections.EXPECTATION_FAILED)
    return bool(members)


def length_of(content_length: bytes) -> int:
    if not content_length.isdigit() or len(content_length) > _MAX_LENGTH_DIGITS:
        raise malformed("Content-Length is not a decimal number of bytes.")
    return int(content_length)
