"""Requests and answers of HTTP/1.1, made from the grammar of RFC 9112: valid in most places, odd in few.

Each part has a list of valid forms and a list of odd ones. How often the odd ones are taken is drawn per
input, so that many inputs have exactly one of them. Then bytes and lines are changed at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

_METHODS: Final = (
    b"GET",
    b"GET",
    b"POST",
    b"POST",
    b"HEAD",
    b"PUT",
    b"PATCH",
    b"DELETE",
    b"OPTIONS",
    b"QUERY",
)
_ODD_METHODS: Final = (
    b"get", b"FOO", b"CONNECT", b"PRI", b"G@T", b"", b"M-SEARCH", b"DESCRIBE", b"PROPFIND", b"TRACE",
    b"G" * 40,
    b"SOURCE", b"G\xc9T",
)  # fmt: skip
_TARGETS: Final = (
    b"/",
    b"/",
    b"/a",
    b"/a?b=c",
    b"/%41%ff",
    b"/a/../b;c",
    b"//a",
    b"/?",
    b"http://a/b?c",
    b"http://a",
)
_ODD_TARGETS: Final = (
    b"*", b"a", b"", b"/a b", b"/#f", b"/a#", b"http://u@a/", b"ftp://a/", b"HTTPS://a:1/?x",
    b"http://a?x", b"a:1",
    b"/\x80", b"/\xc3\xa9", b"/\t", b"/\x00", b"/\x7f", b"/\x0c", b"http:/a", b"http:///x",
    b"http://a:b/", b"?", b"/\\",
    b"/" + b"x" * 130, b"/[x]|{y}^`\"<>", b"http://[::1]:8/x",
)  # fmt: skip
_VERSIONS: Final = (b"HTTP/1.1",) * 6 + (b"HTTP/1.0",)
_ODD_VERSIONS: Final = (
    b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/3.1", b"http/1.1", b"HTTP/1", b"HTTP/1.10",
    b"HTTP/01.1", b"HTTP/+1.1",
    b"RTSP/1.0", b"ICE/1.0", b"", b"HTTP/1.1 ", b"HTTP/1,1", b"HTTP/\xb9.1",
)  # fmt: skip
_FIELDS: Final = (
    (b"X", b"y"), (b"Accept", b"*/*"), (b"cookie", b"a=b; c=d"), (b"Content-Type", b"a/b"), (b"X-Empty", b""),
    (b"X", b"a, b"), (b"Connection", b"keep-alive"), (b"TE", b"trailers"), (b"!#$%&'*+-.^_`|~", b"1"),
    (b"X", b"\xe9\xff"), (b"X", b"a\tb  c"), (b"User-Agent", b"u/1 (\"x\")"),
)  # fmt: skip
_ODD_FIELDS: Final = (
    (b"Host", b"b"), (b"Host", b"a"), (b"host", b""), (b"Content-Length", b"0"), (b"Content-Length", b"1"),
    (b"Content-Length", b"1, 1"), (b"Content-Length", b"+1"), (b"Content-Length", b"-1"),
    (b"Content-Length", b""),
    (b"Content-Length", b"1_0"), (b"Content-Length", b"0x1"), (b"Content-Length", b"1 1"),
    (b"Content-Length", b"\xb2"),
    (b"Content-Length", b"9" * 16), (b"Content-Length", b"9" * 30), (b"Content-Length",
    b"18446744073709551617"),
    (b"Content-Length", b"00"), (b"Content-Length ", b"1"), (b"Content_Length", b"1"),
    (b"Content-Length\x00", b"1"),
    (b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"CHUNKED"), (b"Transfer-Encoding",
    b"gzip, chunked"),
    (b"Transfer-Encoding", b"chunked, chunked"), (b"Transfer-Encoding", b"chunked;q=1"),
    (b"Transfer-Encoding", b""),
    (b"Transfer-Encoding", b"identity"), (b"Transfer-Encoding", b"chunked, identity"),
    (b"Transfer-Encoding", b"xchunked"),
    (b"Transfer-Encoding", b"\x0bchunked"), (b"Transfer-Encoding", b"chunked\x00"),
    (b"Transfer-Encoding", b",chunked"),
    (b"Transfer-Encoding ", b"chunked"), (b"Transfer-Encoding\t", b"chunked"), (b" Transfer-Encoding",
    b"chunked"),
    (b"Transfer-Encoding", b"chunke\xc4"), (b"Connection", b"close"), (b"Connection", b"x, Close"),
    (b"Connection", b""),
    (b"Connection", b"closed"), (b"Connection", b"upgrade"), (b"Connection", b"close, keep-alive"),
    (b"Connection", b"upgrade, close"), (b"Upgrade", b"h2c"), (b"Upgrade", b"websocket"), (b"Upgrade", b""),
    (b"Expect", b"100-continue"), (b"Expect", b"100-Continue"), (b"Expect", b"200-ok"), (b"Expect", b""),
    (b"Proxy-Connection", b"close"), (b"Proxy-Connection", b"keep-alive"), (b"Keep-Alive", b"timeout=5"),
    (b"", b"x"), (b"a(b", b"x"), (b"a b", b"x"), (b"\xe9", b"x"), (b"X", b"\x00"), (b"X", b"a\x00b"),
    (b"Cookie", b"a=\x00"), (b"Accept", b"\x00*"), (b"X", b"a\x01b"),
    (b"X", b"\x7f"),
    (b"X", b"a\x0bb"), (b"X", b"a\rb"), (b"X", b"a\nY: b"), (b"X", b"a\r\n b"), (b"X", b"a\r\n\tb"),
    (b"X", b"\r\n b"),
    (b"X", b"y" * 700), (b"X:", b"y"), (b"Host", b"a/b"), (b"Host", b"u@a"), (b"Host", b"a:99999"),
    (b"Host", b"a, b"),
    (b"Host", b"a b"), (b"Host", b"[::1]:80"), (b"Host", b"\xff"),
)  # fmt: skip
_COLONS: Final = (b": ", b": ", b":", b":\t")
_ODD_COLONS: Final = (b" : ", b"\t:", b"=", b" ", b": \x0b", b":\r\n ", b"")
_ODD_ENDS: Final = (b"\n", b"\r", b"\r\r\n", b"", b"\n\r", b" \r\n", b"\r\n\r\n")
_BODIES: Final = (
    b"",
    b"x",
    b"hello",
    b"a=b&c=d",
    b"0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\n",
    b"\x00\xff",
)
_ODD_SIZES: Final = (
    b"+%x", b"-%x", b"0x%x", b"0x%x", b"0x0%x", b"%x_0", b"0_%x", b" %x", b"%x ", b"\t%x", b"%x\x00",
    b"", b"g", b"\xb2",
    b"1%08x", b"2%08x", b"f%08x", b"1%016x",
    b"%020x", b"%016x", b"%017x", b"%x\x0b", b"%x.0", b"%xh",
)  # fmt: skip
_EXTENSIONS: Final = (b";a", b";a=b", b';a="b;\\" c"', b";a=b;c")
_ODD_EXTENSIONS: Final = (
    b" ;a", b"; a", b";a =b", b";a= b", b";", b";;", b";a=", b";=", b';a="', b';a="\n"', b";a\n",
    b";\x00", b";\xe9", b" a",
    b";a=b c", b';a="\x01"', b";a\rb",
)  # fmt: skip
_TRAILERS: Final = ((b"X-Sum", b"1"), (b"X", b""))
_ODD_TRAILERS: Final = (
    (b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked"), (b"X ", b"y"), (b"", b"y"), (b"X",
    b"\x00"),
    (b"X", b"a\nb"), (b"X", b"a\r\n b"), (b" X", b"y"), (b"GET / HTTP/1.1", b"y"), (b"X", b"\x01"),
    (b"Host", b"b"),
)  # fmt: skip
_STATUSES: Final = (b"200", b"200", b"200", b"200", b"204", b"304", b"404", b"500")
_ODD_STATUSES: Final = (
    b"100", b"101", b"103", b"199", b"099", b"000", b"600", b"999", b"20", b"2000", b"+20", b"2 0",
    b"", b"2x0", b"\xb200",
)  # fmt: skip
_REASONS: Final = (b" OK", b" ", b" Not so", b"")
_ODD_REASONS: Final = (b"  OK", b" O\x00K", b" O\x01K", b" \xe9", b"\tOK", b" OK\x7f", b" O\rK", b" O\nK")
_BYTES: Final = b'\r\n\r\n \t\x00\x0b\x0c\x7f\x80\xff:;,=+-_0123456789abfx%#?/*"@()GETHP.'


class Grammar:
    """Draws inputs. chance: of everything in them."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._odd = 0.0

    def head(self) -> bytes:
        """One head of a request, and sometimes what follows it."""
        self._be_odd()
        head, _ = self._request()
        return self._changed(self._lead() + head + self._chance.choice((b"", b"", b"GET /", b"x")))

    def stream(self) -> bytes:
        """Requests with bodies, one after another."""
        self._be_odd()
        requests = [b"".join(self._request()) for _ in range(self._chance.choice((1, 2, 2, 3, 4)))]
        return self._changed(self._lead() + b"".join(requests))

    def answer(self) -> bytes:
        """What an upstream sends on one connection: interim answers and a final one, and sometimes more."""
        self._be_odd()
        chance = self._chance
        data = b"".join(self._interim() for _ in range(chance.choice((0, 0, 0, 0, 1, 2))))
        data += self._answer()
        if self._is_odd():
            data += chance.choice((b"x", b"\r\n", b"\x00", self._answer(), self._interim()))
        return self._changed(data)

    def mutated(self, data: bytes, other: bytes) -> bytes:
        """An input that was interesting, changed; sometimes with the end of another one."""
        chance = self._chance
        if chance.random() < 0.2 and data and other:
            data = data[: chance.randrange(len(data))] + other[chance.randrange(len(other)) :]
        for _ in range(chance.choice((1, 1, 2, 3))):
            data = self._change(data)
        return data

    def _be_odd(self) -> None:
        self._odd = self._chance.choice((0.0, 0.01, 0.03, 0.06, 0.2))

    def _is_odd(self) -> bool:
        return self._chance.random() < self._odd

    def _pick(self, valid: Sequence[bytes], odd: Sequence[bytes]) -> bytes:
        return self._chance.choice(odd if self._chance.random() < self._odd else valid)

    def _lead(self) -> bytes:
        return self._chance.choice((b"\r\n", b"\r\n\r\n", b"\n", b" ", b"\r")) if self._is_odd() else b""

    def _end(self) -> bytes:
        return self._chance.choice(_ODD_ENDS) if self._is_odd() else b"\r\n"

    def _fields(self, ruled: list[tuple[bytes, bytes]]) -> bytes:
        chance = self._chance
        fields = ruled + [chance.choice(_FIELDS) for _ in range(chance.choice((0, 0, 1, 1, 2)))]
        if chance.random() < 5 * self._odd:
            fields += [chance.choice(_ODD_FIELDS) for _ in range(chance.choice((1, 1, 1, 2, 12)))]
        if chance.random() < 0.5:
            chance.shuffle(fields)
        lines = [
            name
            + self._pick(_COLONS, _ODD_COLONS)
            + value
            + chance.choice((b"", b"", b"", b" "))
            + self._end()
            for name, value in fields
        ]
        return b"".join(lines)

    def _request_head(self, ruled: list[tuple[bytes, bytes]]) -> bytes:
        if not self._is_odd():
            ruled = [(b"Host", b"a"), *ruled]
        version = self._pick(_VERSIONS, _ODD_VERSIONS)
        parts = (self._pick(_METHODS, _ODD_METHODS), self._pick(_TARGETS, _ODD_TARGETS), version)
        space = self._chance.choice((b"  ", b"\t", b" \t", b"\x0b", b"")) if self._is_odd() else b" "
        return space.join(parts) + self._end() + self._fields(ruled) + self._end()

    def _body(self, is_chunked: bool) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """The fields that frame it, and a body as it goes over the wire."""
        chance = self._chance
        if is_chunked:
            return [(b"Transfer-Encoding", chance.choice((b"chunked", b"Chunked")))], self._chunks()
        body = chance.choice(_BODIES)
        length = len(body) + (chance.choice((-1, 1, 2)) if self._is_odd() else 0)
        fields = [(b"Content-Length", b"%d" % max(0, length))]
        return fields * (2 if self._is_odd() else 1), body

    def _chunks(self) -> bytes:
        chance = self._chance
        data = b""
        sizes = [chance.choice((1, 1, 2, 5, 16)) for _ in range(chance.choice((0, 1, 1, 2, 3)))]
        odd_at = chance.randrange(3) if chance.random() < 20 * self._odd else -1
        for number, size in enumerate(sizes):
            shown = chance.choice(_ODD_SIZES if number == odd_at else (b"%x", b"%x", b"%X", b"0%x"))
            shown = shown % size if b"%" in shown else shown
            extension = self._pick((b"", b"", b"", *_EXTENSIONS), _ODD_EXTENSIONS)
            data += shown + extension + self._end() + chance.randbytes(size) + self._end()
        if self._is_odd():
            return data
        data += self._pick((b"0", b"0", b"00", b"0;a=b"), (b"-0", b"0x0", b"", b"+0", b"0 ")) + self._end()
        if chance.random() < 0.2:
            valid = _ODD_TRAILERS if self._is_odd() else _TRAILERS
            data += b"".join(
                b"%b: %b" % chance.choice(valid) + self._end() for _ in range(chance.choice((1, 2)))
            )
        return data + self._end()

    def _request(self) -> tuple[bytes, bytes]:
        """A head and its body."""
        kind = self._chance.choice((0, 0, 0, 1, 1, 2))
        ruled, body = self._body(is_chunked=kind == 2) if kind else ([], b"")
        if self._is_odd():
            ruled = [*ruled, *self._body(is_chunked=kind != 2)[0]]
        return self._request_head(ruled), body

    def _answer(self) -> bytes:
        chance = self._chance
        kind = chance.choice((0, 1, 1, 1, 2, 2, 2))
        ruled, body = self._body(is_chunked=kind == 2) if kind else ([], chance.choice(_BODIES))
        if self._is_odd():
            ruled = [*ruled, *self._body(is_chunked=kind != 2)[0]]
        if self._is_odd():
            body = chance.choice(_BODIES)
        return (
            self._status_line(self._pick(_STATUSES, _ODD_STATUSES)) + self._fields(ruled) + self._end() + body
        )

    def _interim(self) -> bytes:
        status = self._chance.choice((b"100", b"102", b"103", b"199"))
        return self._status_line(status) + self._fields([]) + self._end()

    def _status_line(self, status: bytes) -> bytes:
        version = self._pick(_VERSIONS, _ODD_VERSIONS)
        space = self._chance.choice((b"  ", b"\t", b"")) if self._is_odd() else b" "
        return version + space + status + self._pick(_REASONS, _ODD_REASONS) + self._end()

    def _changed(self, data: bytes) -> bytes:
        while self._is_odd():
            data = self._change(data)
        return data

    def _change(self, data: bytes) -> bytes:
        chance = self._chance
        at = chance.randrange(len(data) + 1)
        match chance.randrange(7):
            case 0:
                return data[:at] + data[at + 1 :]
            case 1 | 2:
                return data[:at] + bytes((chance.choice(_BYTES),)) + data[at + 1 :]
            case 3:
                return data[:at] + bytes((chance.choice(_BYTES),)) + data[at:]
            case 4:
                return data[:at]
            case 5:  # a part of it twice
                size = chance.randrange(1, 20)
                return data[: at + size] + data[at:]
            case _:  # a line goes, or stands elsewhere
                lines = data.split(b"\r\n")
                line = lines.pop(chance.randrange(len(lines)))
                if chance.random() < 0.7:
                    lines.insert(chance.randrange(len(lines) + 1), line)
                return b"\r\n".join(lines)


def pieces_of(data: bytes, chance: Random) -> list[bytes]:
    """`data`, cut anywhere."""
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice((1, 1, 2, 3, 8))))
    pieces = [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return [piece for piece in pieces if piece] or [data]
