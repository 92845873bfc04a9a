"""The requests of `hostile`, head by head, as HTTP/2 sends them, and those that only HTTP/2 can send.

A status is that of the answer on the stream. `RESET`: the stream ends with PROTOCOL_ERROR, as RFC 9113 8.1.1
has it. `GOODBYE`: the connection does, as 5.4.1 allows: h2 checks a length, and the bounds of a field block.
"""

from __future__ import annotations

from typing import Final

from tests.server.http2 import Header, request

RESET: Final = "reset"
GOODBYE: Final = "goodbye"
Ending = int | str


def get(
    *more: Header, path: bytes = b"/", method: bytes = b"GET", authority: bytes | None = b"a"
) -> list[Header]:
    fields = [field for field in request(path, method) if field[0] != b":authority"]
    return [*fields[:1], *([] if authority is None else [(b":authority", authority)]), *fields[1:], *more]


def without(name: bytes, *more: Header) -> list[Header]:
    return [field for field in request() if field[0] != name] + list(more)


# The names are those of `HEADS`. Left out are those about HTTP/1's lines, versions and transfer codings.
SAME: dict[str, tuple[list[Header], Ending]] = {
    "bare LF after a field": (get((b"x", b"a\ny: b")), RESET),
    "bare CR in a value": (get((b"x", b"a\ry: b")), RESET),
    "CR CR LF": (get((b"x", b"a\r")), RESET),
    "folded line": (get((b"x", b"a\r\n b")), RESET),
    "folded first field": (get((b" host", b"a")), RESET),
    "space before the colon": (get((b"host ", b"a")), RESET),
    "tab before the colon": (get((b"content-length\t", b"1")), RESET),
    "empty name": (get((b"", b"x")), RESET),
    "separator in a name": (get((b"a(b", b"x")), 400),
    "non-ASCII name": (get((b"\xe9", b"x")), RESET),
    "NUL in a value": (get((b"x", b"\x00")), RESET),
    "control character in a value": (get((b"x", b"\x01")), 400),
    "DEL in a value": (get((b"x", b"\x7f")), 400),
    "vertical tab before chunked": (get((b"x", b"\x0bchunked")), 400),
    "two spaces in the request line": (get(path=b" /"), RESET),
    "tabs in the request line": (get(path=b"\t/\t"), RESET),
    "space behind the version": (get(path=b"/ "), RESET),
    "space before the method": (get(method=b" GET"), RESET),
    "space in the target": (get(path=b"/a b"), 400),
    "NUL in the target": (get(path=b"/\x00"), RESET),
    "raw non-ASCII in the target": (get(path=b"/\xc3\xa9"), 400),
    "fragment in the target": (get(path=b"/a#b"), 400),
    "relative target": (get(path=b"a"), 400),
    "star for GET": (get(path=b"*"), 400),
    "a scheme that is not http": ([(b":scheme", b"ftp"), *without(b":scheme")], 400),
    "a user in an absolute target": (get(path=b"http://u@a/b"), 400),
    "unknown method": (get(method=b"FOO"), 501),
    "method in lower case": (get(method=b"get"), 501),
    "method of RTSP": (get(method=b"DESCRIBE"), 501),
    "method of WebDAV": (get(method=b"PROPFIND"), 501),
    "long method": (get(method=b"G" * 100), 501),
    "method longer than a target": (get(method=b"G" * 9_000), 501),
    "endless method": (get(method=b"G" * 70_000), GOODBYE),
    "method that is not a token": (get(method=b"G@T("), 400),
    "method with a target": (get(method=b"GET /x"), 400),
    "method that is not ASCII": (get(method=b"G\xff"), 400),
    "CONNECT": ([(b":method", b"CONNECT"), (b":authority", b"a:1")], 501),
    "CONNECT with a path": (get(method=b"CONNECT"), RESET),
    "CONNECT with a star": (get(method=b"CONNECT", path=b"*"), RESET),
    "CONNECT without a host": ([(b":method", b"CONNECT")], RESET),
    "CONNECT with a length": (
        [(b":method", b"CONNECT"), (b":authority", b"a:1"), (b"content-length", b"9")],
        501,
    ),
    "no host": (get(authority=None), 400),
    "two hosts": (get((b"host", b"a"), (b"host", b"b"), authority=None), 400),
    "empty host": (get(authority=b""), 400),
    "host with nothing but a port": (get(authority=b":80"), 400),
    "host with a path": (get(authority=b"a/b"), 400),
    "host that is not ASCII": (get(authority=b"\xff\xfe"), 400),
    "host with a user": (get(authority=b"u@a"), 400),
    "host with a user and a path": (get(authority=b"x@y/z"), 400),
    "host with a space": (get(authority=b"a b"), 400),
    "port that is no number": (get(authority=b"a:b"), 400),
    "port of six digits": (get(authority=b"a:123456"), 400),
    "port above all ports": (get(authority=b"a:65536"), 400),
    "two different lengths": (
        get((b"content-length", b"1"), (b"content-length", b"2"), method=b"POST"),
        GOODBYE,
    ),
    "the same length twice": (get((b"content-length", b"1"), (b"content-length", b"1"), method=b"POST"), 400),
    "a list of lengths": (get((b"content-length", b"1, 1"), method=b"POST"), GOODBYE),
    "signed length": (get((b"content-length", b"+1"), method=b"POST"), GOODBYE),
    "negative length": (get((b"content-length", b"-1"), method=b"POST"), GOODBYE),
    "empty length": (get((b"content-length", b""), method=b"POST"), GOODBYE),
    "hexadecimal length": (get((b"content-length", b"0x1"), method=b"POST"), GOODBYE),
    "endless length": (get((b"content-length", b"9" * 30), method=b"POST"), 400),
    "length and coding": (
        get((b"content-length", b"1"), (b"transfer-encoding", b"chunked"), method=b"POST"),
        RESET,
    ),
    "coding before chunked": (get((b"transfer-encoding", b"gzip, chunked"), method=b"POST"), RESET),
    "chunked twice": (get((b"transfer-encoding", b"chunked"), method=b"POST"), RESET),
    "unknown expectation": (get((b"content-length", b"1"), (b"expect", b"200-ok"), method=b"POST"), 417),
    "unknown expectation of a request without a body": (get((b"expect", b"foo")), 417),
    "websocket": (get((b"connection", b"Upgrade"), (b"upgrade", b"websocket")), RESET),
    "upgrade with a body": (get((b"upgrade", b"h2c"), (b"content-length", b"3"), method=b"POST"), RESET),
    "head too large": (get((b"x", b"x" * 20_000)), 431),
    "endless head": (get(*[(b"x", b"x")] * 4_000), GOODBYE),
    "too many fields": (get(*[(b"x", b"x")] * 101), 431),
    "half as many fields again": (get(*[(b"x", b"x")] * 150), 431),
    "a target of 12 KiB": (get(path=b"/" + b"x" * 12_288), 414),
    "target too long": (get(path=b"/" + b"x" * 8_200), 414),
    "endless target": (get(path=b"/" + b"x" * 70_000), GOODBYE),
}

OWN: dict[str, tuple[list[Header], Ending]] = {
    "upper case in a name": (get((b"X", b"y")), RESET),
    "colon in a name": (get((b"x:y", b"z")), RESET),
    "space before a value": (get((b"x", b" y")), RESET),
    "tab behind a value": (get((b"x", b"y\t")), RESET),
    "connection": (get((b"connection", b"close")), RESET),
    "keep-alive": (get((b"keep-alive", b"timeout=5")), RESET),
    "proxy-connection": (get((b"proxy-connection", b"keep-alive")), RESET),
    "upgrade": (get((b"upgrade", b"h2c")), RESET),
    "te": (get((b"te", b"gzip")), RESET),
    "te in a field of its own": (get((b"te", b"trailers"), (b"te", b"gzip")), RESET),
    "te with more than trailers": (get((b"te", b"trailers, gzip")), RESET),
    "no method": (without(b":method"), RESET),
    "no scheme": (without(b":scheme"), RESET),
    "no path": (without(b":path"), RESET),
    "empty path": (get(path=b""), RESET),
    "empty method": (get(method=b""), 400),
    "two methods": ([(b":method", b"GET"), *get()], RESET),
    "two paths": ([(b":path", b"/x"), *get()], RESET),
    "two schemes": ([(b":scheme", b"https"), *get()], RESET),
    "two authorities": ([(b":authority", b"a"), *get()], RESET),
    "a pseudo-header field that is not known": ([(b":foo", b"bar"), *get()], RESET),
    "a pseudo-header field of answers": ([(b":status", b"200"), *get()], RESET),
    "a pseudo-header field in upper case": ([(b":Path", b"/"), *get()], RESET),
    "a pseudo-header field behind a field": (without(b":path", (b"x", b"y"), (b":path", b"/")), RESET),
    "a line break in the path": (get(path=b"/\r\nx: y"), RESET),
    "a line break in the method": (get(method=b"GET / HTTP/1.1\r\nx: y"), RESET),
    "a line break in the authority": (get(authority=b"a\nb"), RESET),
    "a NUL in the authority": (get(authority=b"a\0"), RESET),
    "a space before the authority": (get(authority=b" a"), RESET),
    "CONNECT with a scheme": (
        [(b":method", b"CONNECT"), (b":scheme", b"https"), (b":authority", b"a:1")],
        RESET,
    ),
    "a protocol": (get((b":protocol", b"websocket"), method=b"CONNECT"), RESET),
    "a host that is not the authority": (get((b"host", b"b")), RESET),
    "a scheme with a space": ([(b":scheme", b"a b"), *without(b":scheme")], 400),
    "an empty scheme": ([(b":scheme", b""), *without(b":scheme")], 400),
    "a tab in the path": (get(path=b"/a\tb"), 400),
    "an absolute path": (get(path=b"https://a/"), 400),
    "a length and no body": (get((b"content-length", b"5")), RESET),
    "two expectations, one unknown": (get((b"expect", b"100-continue"), (b"expect", b"x")), 417),
    "a host with another port": (get((b"host", b"a:80")), RESET),
}

# Unusual, and allowed: (HTTP/1's bytes, HTTP/2's fields)
ALLOWED: dict[str, tuple[bytes, list[Header]]] = {
    "a target of 8 KiB": (
        b"GET /" + b"x" * 8_191 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        get(path=b"/" + b"x" * 8_191),
    ),
    "a hundred fields": (
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: x\r\n" * 99 + b"\r\n",
        get(*[(b"x", b"x")] * 99),
    ),
    "a head of 16 KiB": (
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 16_000 + b"\r\n\r\n",
        get((b"x", b"x" * 16_000)),
    ),
    "OPTIONS of the server": (
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        get(method=b"OPTIONS", path=b"*"),
    ),
    "the last port": (b"GET / HTTP/1.1\r\nHost: a:65535\r\n\r\n", get(authority=b"a:65535")),
    "an empty port": (b"GET / HTTP/1.1\r\nHost: a:\r\n\r\n", get(authority=b"a:")),
    "an address of IPv6": (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", get(authority=b"[::1]:80")),
    "bytes that are not ASCII in a value": (
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\t\xe9\r\n\r\n",
        get((b"x", b"\xff\t\xe9")),
    ),
    "an expectation of 100-continue": (
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n",
        get((b"expect", b"100-Continue")),
    ),
    "a length of nothing": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        get((b"content-length", b"0"), method=b"POST"),
    ),
    "the same host twice": (
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        get((b"host", b"a")),
    ),
    "the same host in capitals": (
        b"GET http://a/ HTTP/1.1\r\nHost: A\r\n\r\n",
        get((b"host", b"A")),
    ),
    "trailers": (b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n", get((b"te", b"trailers"))),
    "trailers in capitals": (b"GET / HTTP/1.1\r\nHost: a\r\nTE: Trailers\r\n\r\n", get((b"te", b"Trailers"))),
    "the same host with the port of its scheme": (
        b"GET https://a/ HTTP/1.1\r\nHost: a:443\r\n\r\n",
        get((b"host", b"a:443")),
    ),
    "an expectation twice": (
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: 100-continue\r\n\r\n",
        get((b"expect", b"100-continue"), (b"expect", b"100-continue")),
    ),
    "an empty list of expectations": (
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: ,\r\n\r\n",
        get((b"expect", b",")),
    ),
    "another scheme of http": (
        b"GET HTTP://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        [(b":scheme", b"HTTP"), *without(b":scheme")],
    ),
}
