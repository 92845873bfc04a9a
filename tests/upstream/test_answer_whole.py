"""What is read the short way is read as llhttp reads it, and is what nearly every answer is."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import httpx
import pytest

from fanout.upstream.answer import Answer, read_fields, read_whole

REQUEST = httpx.Request("GET", "http://upstream/")
BODY = b'{"time": 160}'
LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked"
CHUNK = b"d\r\n" + BODY + b"\r\n0\r\n\r\n"
# Bodies in chunks that are read the long way, or are malformed.
OTHER_CHUNKS = (
    b"0\r\n\r\n",
    b"0d" + CHUNK[1:],
    b"d;a=b" + CHUNK[1:],
    b"d " + CHUNK[1:],
    b"e" + CHUNK[1:],
    b"c" + CHUNK[1:],
    b"000000000d" + CHUNK[1:],
    b"+d" + CHUNK[1:],
    b"0xd" + CHUNK[1:],
    b"1\r\n{\r\n" + CHUNK,
    CHUNK[:-2] + b"X: y\r\n\r\n",
    CHUNK.replace(b"\r\n0", b"\n0"),
    CHUNK.replace(b"d\r", b"d"),
    CHUNK.replace(b"0\r\n", b"00\r\n"),
    CHUNK[:-1],
    CHUNK + b"\r\n",
    BODY,
    b"",
)
# Lines of plain answers; and such as matter to where an answer ends, to its connection, or to a parser.
HARMLESS = (
    b"Server: nginx/1.22.1",
    b"Date: Thu, 26 Nov 2026 09:05:12 GMT",
    b"Content-Type: application/json",
    b"X:",
    b"X:\t\x80\xff \t",
    b"x-content-length: 7",
    b"Keep-Alive: timeout=5",
    b"Trailer: X",
    b"Set-Cookie: a=b; c",
    b"Connection: keep-alive",
    b"CONNECTION:\tKeep-Alive \t",
)
OTHER = (
    b"Connection:",
    b"Connection: x",
    b"Via: close",
    b"Connection: close",
    b"Connection: keep-alive, close",
    b"Proxy-Connection: close",
    b"Connection : close",
    b"Content-Length: 13",
    b"content-length:0013 ",
    b"Content-Length: 12",
    b"Content-Length: +13",
    b"Content-Length: 13, 13",
    b"Content-Length:",
    b"Content-Length: 1_3",
    b" folded",
    b"\tfolded",
    b"no colon",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: identity",
    b"Content-Encoding: gzip",
    b"Upgrade: h2c",
    b": empty",
    b"a b: c",
    b"X: \x00",
    b"X: \x0b",
    b"X: \x7f",
    b"X: a\rb",
    b"X: a\nb",
    b"\xc3\xa4: b",
    b"X: a\r",
)
GOOD_STATUS = (
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 200 ",
    b"HTTP/1.1 503 Service\tUnavailable",
    b"HTTP/1.1 418 I'm a teapot",
)
OTHER_STATUS = (
    b"HTTP/1.1 204 No Content",
    b"HTTP/1.1 304 Not Modified",
    b"HTTP/1.1 100 Continue",
    b"HTTP/1.1 101 X",
    b"HTTP/1.0 200 OK",
    b"HTTP/1.2 200 OK",
    b"HTTP/2.0 200 OK",
    b"http/1.1 200 OK",
    b"HTTP/1.1  200 OK",
    b"HTTP/1.1 200",
    b"HTTP/1.1 099 OK",
    b"HTTP/1.1 999 OK",
    b"HTTP/1.1 2000 OK",
    b"HTTP/1.1 200 \xc3\xa4",
)
ODD = tuple(b"\x00\t\n\r :\x7f\x80,0")


def answer_of(*lines: bytes, body: bytes = BODY) -> bytes:
    return b"\r\n".join([*lines, b"", body])


@pytest.mark.parametrize(
    "data",
    [
        answer_of(b"HTTP/1.1 200 OK", b"Server: nginx", b"Connection: keep-alive", LENGTH, b"X: y"),
        answer_of(b"HTTP/1.1 500 Internal Server Error", LENGTH.lower() + b"\t "),
        answer_of(b"HTTP/1.1 200 ", b"Content-Length: 0", body=b""),
        answer_of(b"HTTP/1.1 200 OK", b"Server: nginx", CHUNKED, b"X: y", body=CHUNK),
        answer_of(b"HTTP/1.1 200 OK", b"transfer-encoding:\tCHUNKED", body=b"D" + CHUNK[1:]),
        answer_of(b"HTTP/1.1 503 Busy", CHUNKED, body=b"1f\r\n" + b"x" * 31 + b"\r\n0\r\n\r\n"),
    ],
)
def test_a_plain_answer_is_read_the_short_way(data: bytes) -> None:
    answer = Answer("GET", max_body_bytes=1000)
    answer.feed(data)
    assert answer._parser is None
    assert answer.is_complete
    assert answer.keeps_connection
    assert answer.has_begun
    body = data.partition(b"\r\n\r\n")[2]
    if body.endswith(b"\r\n0\r\n\r\n"):
        body = body.partition(b"\r\n")[2].removesuffix(b"\r\n0\r\n\r\n")
    assert answer.response(REQUEST).content == body


def test_its_fields_are_as_they_were_sent() -> None:
    whole = read_whole(answer_of(b"HTTP/1.1 200 OK", b"A: 1", LENGTH, b"b:2", b"A: \xff \t"))
    assert whole is not None
    assert read_fields(whole[1]) == [
        (b"A", b"1"),
        (b"Content-Length", b"13"),
        (b"b", b"2"),
        (b"A", b"\xff"),
    ]


@pytest.mark.parametrize(
    "line", [b"Connection: close", b"Transfer-Encoding: chunked", b"Content-Encoding: gzip", LENGTH]
)
@pytest.mark.parametrize("is_first", [True, False])
def test_what_says_more_than_its_length_is_not(line: bytes, is_first: bool) -> None:
    lines = (line, LENGTH) if is_first else (LENGTH, line)
    assert read_whole(answer_of(b"HTTP/1.1 200 OK", *lines)) is None


@pytest.mark.parametrize("body", [BODY[:-1], BODY + b"x", BODY + b"\r\n", b""])
def test_what_is_not_whole_or_has_something_behind_it_is_not(body: bytes) -> None:
    assert read_whole(answer_of(b"HTTP/1.1 200 OK", LENGTH, body=body)) is None


@pytest.mark.parametrize("body", OTHER_CHUNKS)
def test_what_is_more_or_less_than_one_plain_chunk_is_not(body: bytes) -> None:
    assert read_whole(answer_of(b"HTTP/1.1 200 OK", CHUNKED, body=body)) is None


@pytest.mark.parametrize("space", [b" ", b"\t", b"\t "])
def test_a_space_behind_chunked_is_left_to_the_long_way(space: bytes) -> None:
    """llhttp closes the connection for a tab there, and not for a space."""
    assert read_whole(answer_of(b"HTTP/1.1 200 OK", CHUNKED + space, body=CHUNK)) is None


@pytest.mark.parametrize("size", [b"100000000", b"FFFFFFFFF"])
def test_a_size_of_many_digits_is_left_to_the_long_way(size: bytes) -> None:
    assert read_whole(answer_of(b"HTTP/1.1 200 OK", CHUNKED, body=size + CHUNK[1:])) is None


@pytest.mark.parametrize(("method", "max_body_bytes"), [("HEAD", 1000), ("GET", 12)])
def test_what_has_no_body_or_too_much_of_it_is_not(method: str, max_body_bytes: int) -> None:
    answer = Answer(method, max_body_bytes)
    with suppress(httpx.TransportError):
        answer.feed(answer_of(b"HTTP/1.1 200 OK", LENGTH))
    assert answer._parser is not None


def test_whatever_is_read_the_short_way_llhttp_reads_alike() -> None:
    random = Random(1)
    read = 0
    for _ in range(20_000):
        lines = [random.choice(random.choice((GOOD_STATUS, GOOD_STATUS + OTHER_STATUS)))]
        lines += random.choices(random.choice((HARMLESS, HARMLESS + OTHER)), k=random.randrange(4))
        framing, body = random.choice(
            ((LENGTH, BODY), (LENGTH, BODY), (random.choice(OTHER), BODY), (CHUNKED, CHUNK))
        )
        if random.random() < 0.1:
            body = random.choice(OTHER_CHUNKS)
        lines.insert(random.randint(1, len(lines)), framing)
        data = bytearray(answer_of(*lines, body=body))
        for _ in range(random.choice((0, 0, 1, 2))):
            data[random.randrange(len(data))] = random.choice(ODD)
        read += is_read_alike(bytes(data))
    assert read > 3000


def is_read_alike(data: bytes) -> bool:
    """Whether the short way was taken. Then the other one comes to the same."""
    whole = read_whole(data)
    if whole is None:
        return False
    answer = Answer("GET", max_body_bytes=1000)
    for piece in (data[:1], data[1:]):  # a byte alone is not whole
        answer.feed(piece)
    response = answer.response(REQUEST)
    assert answer.is_complete, data
    assert answer.keeps_connection, data
    status, fields, body = whole
    read = (status, read_fields(fields), body)
    assert read == (response.status_code, response.headers.raw, response.content), data
    return True
