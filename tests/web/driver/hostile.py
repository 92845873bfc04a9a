"""Hostile requests: what is sent, and the status that the answer must have before the connection closes.

`None`: no answer is owed, only the close.
"""

from __future__ import annotations

POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
CHUNKS = POST + b"Transfer-Encoding: chunked\r\n\r\n"

HEADS: dict[str, tuple[bytes, int]] = {
    "bare LF after the request line": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    "bare LF throughout": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "bare LF after a field": (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
    "bare CR in a value": (GET + b"X: a\rY: b\r\n\r\n", 400),
    "CR CR LF": (GET + b"X: a\r\r\n\r\n", 400),
    "folded line": (GET + b"X: a\r\n b\r\n\r\n", 400),
    "folded first field": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    "space before the colon": (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    "tab before the colon": (GET + b"Content-Length\t: 1\r\n\r\n", 400),
    "no colon": (GET + b"abc\r\n\r\n", 400),
    "empty name": (GET + b": x\r\n\r\n", 400),
    "separator in a name": (GET + b"a(b: x\r\n\r\n", 400),
    "non-ASCII name": (GET + b"\xe9: x\r\n\r\n", 400),
    "NUL in a value": (GET + b"X: \x00\r\n\r\n", 400),
    "control character in a value": (GET + b"X: \x01\r\n\r\n", 400),
    "DEL in a value": (GET + b"X: \x7f\r\n\r\n", 400),
    "vertical tab before chunked": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n", 400),
    "two spaces in the request line": (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "tabs in the request line": (b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "space behind the version": (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    "space before the method": (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "blank lines before the request": (b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "space in the target": (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "NUL in the target": (b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "raw non-ASCII in the target": (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "fragment in the target": (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "relative target": (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "star for GET": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a scheme that is not http": (b"GET ftp://a/b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a user in an absolute target": (b"GET http://u@a/b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "HTTP/0.9 with a version": (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    "HTTP/2 with prior knowledge": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), 505),
    "version in lower case": (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    "RTSP": (b"GET / RTSP/1.0\r\nHost: a\r\n\r\n", 400),
    "unknown method": (b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "method in lower case": (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "CONNECT": (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (GET + b"Host: b\r\n\r\n", 400),
    "host with a path": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "host that is not ASCII": (b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n", 400),
    "two different lengths": (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400),
    "the same length twice": (POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
    "a list of lengths": (POST + b"Content-Length: 1, 1\r\n\r\nx", 400),
    "signed length": (POST + b"Content-Length: +1\r\n\r\nx", 400),
    "negative length": (POST + b"Content-Length: -1\r\n\r\nx", 400),
    "empty length": (POST + b"Content-Length:\r\n\r\n", 400),
    "hexadecimal length": (POST + b"Content-Length: 0x1\r\n\r\nx", 400),
    "endless length": (POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nx", 400),
    "length and coding": (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "coding and length": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    "unknown coding": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "coding before chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "coding behind chunked": (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    "chunked twice": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "empty coding": (POST + b"Transfer-Encoding:\r\n\r\n", 400),
    "coding in HTTP/1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "unknown expectation": (POST + b"Content-Length: 1\r\nExpect: 200-ok\r\n\r\n", 417),
    "websocket": (GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 400),
    "upgrade with a body": (
        POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
        400,
    ),
    "head too large": (GET + b"X: " + b"x" * 20_000 + b"\r\n\r\n", 431),
    "endless head": (GET + b"X: x\r\n" * 4_000, 431),
    "too many fields": (GET + b"X: x\r\n" * 101 + b"\r\n", 431),
    "target too long": (b"GET /" + b"x" * 8_200 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "endless target": (b"GET /" + b"x" * 70_000, 414),
    "TLS on the cleartext port": (bytes.fromhex("16030100d8010000d40303") + bytes(32), 400),
    "binary": (bytes(range(256)) * 4, 400),
}

WEBSOCKET = (
    b"GET / HTTP/1.%d\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: %d\r\nSec-WebSocket-Key: bKdPyn3u98cTfZJSh4TNeQ==\r\n\r\n"
)
# What was found to stop hypercorn 0.18, or near it, on a cleartext port. The rest is in `test_http2`.
STOPPERS: dict[str, bytes] = {
    "websocket with trailing bytes": WEBSOCKET % (1, 13) + b"x\r\n",
    "websocket in HTTP/1.0": WEBSOCKET % (0, 13),
    "websocket of an unknown version": WEBSOCKET % (1, 99),
    "host that is not UTF-8": b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n",
    "absolute target": b"GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n",
    "star": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "garbage for a chunk": CHUNKS + b"ZZZ\r\n",
    "raw query": b"GET /?\xc3 HTTP/1.1\r\nHost: a\r\n\r\n",
    "h2c with broken settings": GET
    + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: !!!!\r\n\r\n",
    "h2c": GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    "prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ngarbage garbage garbage",
}

BODIES: dict[str, tuple[bytes, int]] = {
    "chunk size that is not hexadecimal": (CHUNKS + b"ZZZ\r\n", 400),
    "negative chunk size": (CHUNKS + b"-1\r\nx\r\n0\r\n\r\n", 400),
    "chunk size with 0x": (CHUNKS + b"0x1\r\nx\r\n0\r\n\r\n", 400),
    "space behind the chunk size": (CHUNKS + b"1 \r\nx\r\n0\r\n\r\n", 400),
    "endless chunk size": (CHUNKS + b"f" * 17 + b"\r\nx\r\n0\r\n\r\n", 400),
    "bare LF behind the chunk size": (CHUNKS + b"1\nx\r\n0\r\n\r\n", 400),
    "bare LF in a chunk extension": (CHUNKS + b"1;a\nx\r\nx\r\n0\r\n\r\n", 400),
    "chunk longer than its size": (CHUNKS + b"1\r\nxyy0\r\n\r\n", 400),
    "malformed trailer": (CHUNKS + b"0\r\nX : y\r\n\r\n", 400),
}
