"""Upstream answers as RFC 9110 and RFC 9112 have them. Each test names the rule that it holds."""

from __future__ import annotations

import gzip

import httpx
import pytest

from fanout.upstream.answer import MAX_HEAD_BYTES, Answer
from fanout.upstream.chunks import MAX_LINE_BYTES
from fanout.upstream.errors import BodyTooLarge

REQUEST = httpx.Request("GET", "http://upstream/")
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
PIECES = [None, 1, 2, 3, 7]  # how the bytes of an answer come; None: all at once


def fed(data: bytes, piece_bytes: int | None = None, max_body_bytes: int = 1000) -> Answer:
    answer = Answer("GET", max_body_bytes)
    step = piece_bytes or len(data)
    for start in range(0, len(data), step):
        if not answer.is_complete:
            answer.feed(data[start : start + step])
    assert answer.is_complete
    return answer


EXTENSIONS = {
    "none": b"",
    "a name": b";a",
    "a name and a value": b";a=b",
    "a quoted value": b';a="b c"',
    "a quoted pair": b';a="\\"\\\\"',
    "a semicolon in quotes": b';a="; b=c"',
    "two": b";a;b=c",
    "space before the semicolon": b" ;a=b",
    "space behind the semicolon": b"; a=b",
    "space before the equals sign": b";a =b",
    "space behind the equals sign": b";a= b",
    "space between two": b";a ; b",
    "tabs everywhere": b"\t;\ta\t=\tb",
    "spaces everywhere": b'  ;  a  =  "b"',
}


@pytest.mark.parametrize("piece_bytes", PIECES)
@pytest.mark.parametrize("name", EXTENSIONS)
def test_whitespace_in_a_chunk_extension_is_parsed(name: str, piece_bytes: int | None) -> None:
    """RFC 9112 7.1.1, and RFC 9110 5.6.3: a recipient MUST parse for such bad whitespace and remove it."""
    extension = EXTENSIONS[name]
    answer = fed(CHUNKED + b"2%b\r\n{}\r\n00%b\r\n\r\n" % (extension, extension), piece_bytes)
    assert answer.response(REQUEST).content == b"{}"
    assert answer.keeps_connection


CHUNKS = {
    "space behind the size": b"2 \r\n{}\r\n0\r\n\r\n",
    "space behind an extension": b"2;a \r\n{}\r\n0\r\n\r\n",
    "space before the size": b" 2\r\n{}\r\n0\r\n\r\n",
    "a semicolon and no name": b"2;\r\n{}\r\n0\r\n\r\n",
    "a value and no name": b"2;=b\r\n{}\r\n0\r\n\r\n",
    "two names": b"2;a b\r\n{}\r\n0\r\n\r\n",
    "a name that is no token": b"2;a(\r\n{}\r\n0\r\n\r\n",
    "an equals sign and no value": b"2;a=\r\n{}\r\n0\r\n\r\n",
    "quotes that do not end": b'2;a="b\r\n{}\r\n0\r\n\r\n',
    "a bare line feed in an extension": b"2;a\n{}\r\n0\r\n\r\n",
    "a bare line feed in quotes": b'2;a="\n"\r\n{}\r\n0\r\n\r\n',
    "a bare carriage return in an extension": b"2;a\rb\r\n{}\r\n0\r\n\r\n",
    "a NUL in quotes": b'2;a="\0"\r\n{}\r\n0\r\n\r\n',
    "no size": b";a\r\n{}\r\n0\r\n\r\n",
    "an empty line": b"\r\n2\r\n{}\r\n0\r\n\r\n",
    "a size with 0x": b"0x2\r\n{}\r\n0\r\n\r\n",
    "a signed size": b"+2\r\n{}\r\n0\r\n\r\n",
    "a size with an underscore": b"0_2\r\n{}\r\n0\r\n\r\n",
    "a size that is not ASCII": b"\xb2\r\n{}\r\n0\r\n\r\n",
    "an endless size": b"0" * 100 + b"2\r\n{}\r\n0\r\n\r\n",
    "data longer than its size": b"1\r\n{}\r\n0\r\n\r\n",
    "data shorter than its size": b"3\r\n{}\r\n0\r\n\r\n",
    "a line feed behind the data": b"2\r\n{}\n0\r\n\r\n",
    "a carriage return behind the data": b"2\r\n{}\rx0\r\n\r\n",
    "a trailer without a colon": b"2\r\n{}\r\n0\r\nx\r\n\r\n",
    "a trailer with a space before its colon": b"2\r\n{}\r\n0\r\nX : y\r\n\r\n",
    "a folded trailer": b"2\r\n{}\r\n0\r\nX: y\r\n z\r\n\r\n",
    "a control character in a trailer": b"2\r\n{}\r\n0\r\nX: \x01\r\n\r\n",
    "a bare line feed in the trailers": b"2\r\n{}\r\n0\r\nX: y\n\r\n",
    "an extension without end": b"2;" + b"a" * (MAX_LINE_BYTES + 1),
    "a trailer without end": b"2\r\n{}\r\n0\r\nX:" + b"a" * (MAX_LINE_BYTES + 1),
}


@pytest.mark.parametrize("piece_bytes", PIECES)
@pytest.mark.parametrize("name", CHUNKS)
def test_any_other_chunk_is_malformed(name: str, piece_bytes: int | None) -> None:
    """RFC 9112 7.1: what two programs could read in two ways is refused."""
    with pytest.raises(httpx.RemoteProtocolError):
        fed(CHUNKED + CHUNKS[name], piece_bytes, max_body_bytes=1 << 20)


@pytest.mark.parametrize(
    "sent", [b"Z", b"-", b"2\r{", b"2;a\rb", b"2\r\n{}x", b"2\r\n{}\rx", b"0\r\nX\r:"], ids=repr
)
def test_what_cannot_become_a_chunk_is_malformed_at_once(sent: bytes) -> None:
    """A call does not wait for its deadline when the upstream sends nothing more."""
    answer = Answer("GET", 1000)
    with pytest.raises(httpx.RemoteProtocolError):
        answer.feed(CHUNKED + sent)


@pytest.mark.parametrize("piece_bytes", PIECES)
@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"000;a=b\r\nX: y\r\nZ:\r\n\r\n"])
@pytest.mark.parametrize("behind", [b"", b"x", b"\r\n", CHUNKED])
def test_bytes_behind_the_last_chunk_keep_the_connection_from_reuse(
    end: bytes, behind: bytes, piece_bytes: int | None
) -> None:
    """RFC 9112 6.3, and G7: the message ends with its last chunk, whatever comes behind it."""
    answer = Answer("GET", 1000)
    data = CHUNKED + b"1\r\n{\r\nA\r\n          \r\n1;a\r\n}\r\n" + end + behind
    step = piece_bytes or len(data)
    came = 0
    while not answer.is_complete:
        answer.feed(data[came : came + step])
        came += step
    assert answer.response(REQUEST).content == b"{          }"
    assert answer.keeps_connection == (
        min(came, len(data)) == len(data) - len(behind)
    )  # else the pool sees them on the wire


@pytest.mark.parametrize("piece_bytes", PIECES)
@pytest.mark.parametrize("interim", [b"", b"HTTP/1.1 100\r\n\r\n"], ids=["first", "behind an interim one"])
@pytest.mark.parametrize(
    "before", [b"\r\n", b"\r", b"\n", b" ", b"RTSP/1.0 200\r\n\r\n", b"ICE/1.0 200\r\n\r\n", b"HTP"]
)
def test_a_head_begins_with_http(before: bytes, interim: bytes, piece_bytes: int | None) -> None:
    """RFC 9112 2.1: a message begins with its start line; only a server is to ignore an empty one."""
    with pytest.raises(httpx.RemoteProtocolError, match="begin with HTTP/"):
        fed(interim + before + b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}", piece_bytes)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize(
    ("fields", "keeps"),
    [
        ("Connection: keep-alive", True),
        ("Connection: keep-alive, closed", True),
        ("Connection: close, keep-alive", False),
        ("Connection: Keep-Alive ,\tClose ", False),
        ("Connection: close\r\nConnection: keep-alive", False),
        ("Connection: keep-alive\r\nConnection: close", False),
    ],
)
def test_close_wins_over_keep_alive(version: str, fields: str, keeps: bool) -> None:
    """RFC 9112 9.3: "If the "close" connection option is present [...] the connection will not persist"."""
    answer = fed(f"HTTP/{version} 200\r\nContent-Length: 5\r\n{fields}\r\n\r\nhello".encode(), None)
    assert answer.keeps_connection is keeps


def test_a_chunk_cannot_be_larger_than_the_cap() -> None:
    with pytest.raises(BodyTooLarge):
        fed(CHUNKED + b"ffffffffffffff\r\n" + b"x" * 2000)


@pytest.mark.parametrize(
    "codings",
    [
        [b"chunked", b"chunked"],
        [b"chunked, chunked"],
        [b"chunked,"],
        [b",chunked"],
        [b"", b"chunked"],
        [b"gzip", b"chunked"],
        [b"identity", b"chunked"],
        [b"chunked;a=b"],
        [b"\x0bchunked"],
    ],
)
@pytest.mark.parametrize("piece_bytes", [None, 1])
def test_chunked_is_applied_once_and_alone(codings: list[bytes], piece_bytes: int | None) -> None:
    """RFC 9112 6.1: a sender MUST NOT apply the chunked transfer coding more than once. Two lines are one
    list (RFC 9110 5.3)."""
    fields = b"".join(b"Transfer-Encoding: %b\r\n" % coding for coding in codings)
    with pytest.raises(httpx.RemoteProtocolError):
        fed(OK + fields + b"\r\n2\r\n{}\r\n0\r\n\r\n", piece_bytes)


@pytest.mark.parametrize("field", [b"x-gzip", b"X-GZip", b"gzip"])
def test_x_gzip_is_gzip(field: bytes) -> None:
    """RFC 9110 8.4.1.3: a recipient SHOULD consider x-gzip to be equivalent to gzip."""
    body = gzip.compress(b"{}")
    answer = fed(OK + b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (field, len(body)) + body)
    assert answer.response(REQUEST).content == b"{}"


def with_head_of(size_bytes: int, length: bytes) -> bytes:
    """An answer whose head has that size."""
    without = OK + length + b"X: \r\n\r\n"
    return without[:-4] + b"x" * (size_bytes - len(without)) + b"\r\n\r\n"


@pytest.mark.parametrize("length", [b"Content-Length: 2\r\n", b"Transfer-Encoding: chunked\r\n"])
@pytest.mark.parametrize("piece_bytes", [None, 4096, 65_537])
@pytest.mark.parametrize("interim", [b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"])
def test_the_cap_of_a_head_is_exact_however_it_comes(
    length: bytes, piece_bytes: int | None, interim: bytes
) -> None:
    """RFC 9110 5.4 leaves the bound to the recipient. A head of 65.6 KB is above 64 KiB."""
    body = b"{}" if b"Length" in length else b"2\r\n{}\r\n0\r\n\r\n"
    for more in (0, 1, 1664):
        data = interim + with_head_of(MAX_HEAD_BYTES - len(interim) + more, length) + body
        assert len(data) == MAX_HEAD_BYTES + more + len(body)
        if more:
            with pytest.raises(httpx.RemoteProtocolError, match="head of more than"):
                fed(data, piece_bytes, max_body_bytes=1 << 20)
        else:
            assert fed(data, piece_bytes, max_body_bytes=1 << 20).response(REQUEST).content == b"{}"


@pytest.mark.parametrize("piece_bytes", [None, 1])
@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
def test_the_version_of_an_answer_is_in_its_extensions(version: bytes, piece_bytes: int | None) -> None:
    """As httpx documents it: `http_version`, in bytes."""
    answer = fed(version + b" 200 OK\r\nContent-Length: 2\r\n\r\n{}", piece_bytes)
    response = answer.response(REQUEST)
    assert response.extensions["http_version"] == version
    assert response.http_version == version.decode()
