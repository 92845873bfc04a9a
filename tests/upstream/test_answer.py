"""One answer from bytes: what is accepted, what is malformed, when the connection may be used again."""

from __future__ import annotations

import gc
import gzip
import tracemalloc
import weakref
import zlib
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.upstream.answer import MAX_HEAD_BYTES, Answer, read_fields
from fanout.upstream.decode import MAX_MEMBERS
from fanout.upstream.errors import BodyTooLarge

REQUEST = httpx.Request("GET", "http://upstream/")
gzipped = partial(gzip.compress, mtime=0)  # the same bytes each time, for the names of the tests


def read(data: bytes, *, method: str = "GET", piece_bytes: int | None = None, ends: bool = False) -> Answer:
    """An answer fed with `data`, in pieces, until it is complete; `ends`: then the wire ends."""
    answer = Answer(method, max_body_bytes=1000)
    step = piece_bytes or len(data) or 1
    for start in range(0, len(data), step):
        if not answer.is_complete:
            answer.feed(data[start : start + step])
    if ends and not answer.is_complete:
        answer.feed(b"")
    return answer


def head(*lines: bytes) -> bytes:
    return b"\r\n".join([*lines, b"", b""])


PLAIN = head(b"HTTP/1.1 200 OK", b"Content-Length: 2") + b"{}"
CHUNKED = head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked")
UNFRAMED = head(b"HTTP/1.1 200 OK")

LONG_TRAILER = b"X: " + b"x" * 1000 + b"\r\n"  # a body has few lines around its data
REUSABLE = {
    "content-length": PLAIN,
    "chunked": CHUNKED + b"1\r\n{\r\n1;ext=1\r\n}\r\n0\r\n\r\n",
    "chunked with trailers": CHUNKED + b"2\r\n{}\r\n0\r\nX-Trailer: 1\r\n\r\n",
    "chunked in capitals": head(b"HTTP/1.1 200 OK", b"TRANSFER-ENCODING: CHUNKED") + b"2\r\n{}\r\n0\r\n\r\n",
    "an encoding": head(b"HTTP/1.1 200 OK", b"Content-Encoding: identity", b"Content-Length: 2") + b"{}",
    "no reason phrase": head(b"HTTP/1.1 200", b"Content-Length: 2") + b"{}",
    "after 100 and 103": head(b"HTTP/1.1 100 Continue") + head(b"HTTP/1.1 103 Hints", b"Link: x") + PLAIN,
    "after 199": head(b"HTTP/1.1 199 Odd", b"X-Trailer: 1") + PLAIN,
    "after 103 with a length": head(b"HTTP/1.1 103 Hints", b"Content-Length: 9") + PLAIN,
    "after 103 in chunks": head(b"HTTP/1.1 103 Hints", b"Transfer-Encoding: chunked") + PLAIN,
    "after 103 that closes": head(b"HTTP/1.1 103 Hints", b"Connection: close") + PLAIN,
    "after 100 of HTTP/1.0": head(b"HTTP/1.0 100 Continue") + PLAIN,
    "1.0 with keep-alive": head(b"HTTP/1.0 200 OK", b"Connection: keep-alive", b"Content-Length: 2") + b"{}",
    "offers an upgrade": head(
        b"HTTP/1.1 200 OK", b"Upgrade: h2c", b"Connection: upgrade", b"Content-Length: 2"
    )
    + b"{}",
}
NOT_REUSABLE = {
    "connection: close": head(b"HTTP/1.1 200 OK", b"Connection: close", b"Content-Length: 2") + b"{}",
    "close in a list": head(b"HTTP/1.1 200 OK", b"Connection: x, close", b"Content-Length: 2") + b"{}",
    "1.0": head(b"HTTP/1.0 200 OK", b"Content-Length: 2") + b"{}",
    "ends with the connection": head(b"HTTP/1.1 200 OK") + b"{}",
    "garbage after it": PLAIN + b"x",
    "one byte of another answer": PLAIN + b"H",
    "an empty line behind it": PLAIN + b"\r\n",
    "a line feed behind it": PLAIN + b"\n",
    "another answer": PLAIN + PLAIN.replace(b"{}", b"[]"),
    "another answer, and a bad one": PLAIN
    + head(b"HTTP/1.1 500 Oops", b"X-Trailer: 1", b"Content-Encoding: gzip", b"Content-Length: 2")
    + b"[]",
    "an informational answer behind it": PLAIN + head(b"HTTP/1.1 101 Switching"),
    "garbage after close": head(b"HTTP/1.1 200 OK", b"Connection: close", b"Content-Length: 2") + b"{}x",
}
MALFORMED = {
    "not HTTP": b"SSH-2.0-OpenSSH_9.9\r\n",
    "a request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "nothing": b"",
    "half a status line": b"HTTP/1.1 20",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
    "half a body": head(b"HTTP/1.1 200 OK", b"Content-Length: 3") + b"{}",
    "half a chunk": CHUNKED + b"3\r\n{}",
    "no last chunk": CHUNKED + b"2\r\n{}\r\n",
    "only informational": head(b"HTTP/1.1 100 Continue"),
    "HTTP/2.0": head(b"HTTP/2.0 200 OK", b"Content-Length: 2") + b"{}",
    "HTTP/0.9": head(b"HTTP/0.9 200 OK", b"Content-Length: 2") + b"{}",
    "HTTP/1.2": head(b"HTTP/1.2 200 OK", b"Content-Length: 2") + b"{}",
    "HTTP/2.0 before the final answer": head(b"HTTP/2.0 103 Hints") + PLAIN,
    "status 099": head(b"HTTP/1.1 099 OK", b"Content-Length: 2") + b"{}",
    "101": head(b"HTTP/1.1 101 Switching", b"Upgrade: x", b"Connection: upgrade"),
    "101 without upgrade": head(b"HTTP/1.1 101 Switching") + PLAIN,
    "both framings": head(b"HTTP/1.1 200 OK", b"Content-Length: 2", b"Transfer-Encoding: chunked") + b"{}",
    "both framings, turned": head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", b"Content-Length: 2")
    + b"{}",
    "two lengths": head(b"HTTP/1.1 200 OK", b"Content-Length: 2", b"Content-Length: 3") + b"{}",
    "two equal lengths": head(b"HTTP/1.1 200 OK", b"Content-Length: 2", b"Content-Length: 2") + b"{}",
    "a list of lengths": head(b"HTTP/1.1 200 OK", b"Content-Length: 2, 2") + b"{}",
    "a negative length": head(b"HTTP/1.1 200 OK", b"Content-Length: -2") + b"{}",
    "a signed length": head(b"HTTP/1.1 200 OK", b"Content-Length: +2") + b"{}",
    "an empty length": head(b"HTTP/1.1 200 OK", b"Content-Length: ") + b"{}",
    "a length over 64 bits": head(b"HTTP/1.1 200 OK", b"Content-Length: " + b"9" * 30) + b"{}",
    "coding gzip": head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: gzip, chunked") + b"2\r\n{}\r\n0\r\n\r\n",
    "coding identity": head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: identity") + b"{}",
    "two codings": head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", b"Transfer-Encoding: x") + b"{}",
    "a folded header": head(b"HTTP/1.1 200 OK", b"X: a", b" b", b"Content-Length: 2") + b"{}",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    "a bare line feed": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\n{}",
    "a bare carriage return": head(b"HTTP/1.1 200 OK", b"X: a\rb", b"Content-Length: 2") + b"{}",
    "NUL in a header": head(b"HTTP/1.1 200 OK", b"X: a\0b", b"Content-Length: 2") + b"{}",
    "space before the colon": head(b"HTTP/1.1 200 OK", b"Content-Length : 2") + b"{}",
    "a chunk size of -2": CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "chunks with line feeds": CHUNKED + b"2\n{}\n0\n\n",
    "no line break after a chunk": CHUNKED + b"2\r\n{}0\r\n\r\n",
    "a chunk size over 64 bits": CHUNKED + b"1" + b"0" * 16 + b"\r\n{}",
}


@pytest.mark.parametrize("piece_bytes", [None, 1, 7])
@pytest.mark.parametrize("name", REUSABLE)
def test_a_framed_answer_leaves_the_connection_reusable(name: str, piece_bytes: int | None) -> None:
    answer = read(REUSABLE[name], piece_bytes=piece_bytes)
    response = answer.response(REQUEST)
    assert answer.is_complete
    assert answer.keeps_connection
    assert response.status_code == 200
    assert "link" not in response.headers
    assert "x-trailer" not in response.headers


@pytest.mark.parametrize("name", NOT_REUSABLE)
def test_a_complete_answer_counts_though_its_connection_may_not_be_reused(name: str) -> None:
    """G7: no connection with bytes of another answer on it is ever reused."""
    answer = read(NOT_REUSABLE[name], ends=True)
    response = answer.response(REQUEST)
    assert (answer.is_complete, response.status_code, response.content) == (True, 200, b"{}")
    assert "x-trailer" not in response.headers
    assert not answer.keeps_connection


@pytest.mark.parametrize("name", NOT_REUSABLE)
def test_where_the_pieces_are_cut_makes_no_connection_reusable(name: str) -> None:
    """G7. Bytes after the end of an answer are noticed, however the answer is split."""
    data = NOT_REUSABLE[name]
    for at in range(1, len(data)):
        answer = Answer("GET", max_body_bytes=1000)
        answer.feed(data[:at])
        if answer.is_complete:
            break  # the rest comes later, when nobody reads any more
        answer.feed(data[at:])
        assert not answer.keeps_connection, data[at:]


@pytest.mark.parametrize("piece_bytes", [None, 1])
@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_malformed_or_cut_short_is_a_protocol_error(name: str, piece_bytes: int | None) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        read(MALFORMED[name], piece_bytes=piece_bytes, ends=True)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (MALFORMED["not HTTP"], "malformed answer: a head that does not begin with HTTP/"),
        (MALFORMED["101"], "malformed answer: it switches protocols, which was not asked for"),
        (MALFORMED["HTTP/1.2"], "malformed answer: Invalid HTTP version"),
        (MALFORMED["status 099"], "malformed answer: an unknown HTTP version or status"),
        (
            MALFORMED["coding identity"],
            "malformed answer: transfer-encoding b'identity', chunked alone and once is supported",
        ),
        (CHUNKED + b"x", "malformed answer: a chunk of the body is malformed"),
        (
            head(b"HTTP/1.1 200 OK", *[b"A: b"] * 11_000, b"A: \0"),
            "malformed answer: a head of more than 65536 bytes",
        ),
    ],
    ids=range(7),
)
@pytest.mark.parametrize("piece_bytes", [None, 1])
def test_what_is_wrong_with_an_answer_is_said(data: bytes, says: str, piece_bytes: int | None) -> None:
    with pytest.raises(httpx.RemoteProtocolError) as raised:
        read(data, piece_bytes=piece_bytes, ends=True)
    assert str(raised.value) == says


@pytest.mark.parametrize(
    ("method", "data"),
    [
        ("GET", head(b"HTTP/1.1 204 No Content")),
        ("GET", head(b"HTTP/1.1 204 No Content", b"Content-Length: 2") + b"{}"),
        ("GET", head(b"HTTP/1.1 304 Not Modified", b"Content-Length: 2")),
        ("HEAD", head(b"HTTP/1.1 200 OK", b"Content-Length: 2")),
        ("HEAD", head(b"HTTP/1.1 200 OK", b"Content-Length: 2") + b"{}"),
        ("HEAD", head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked")),
        ("HEAD", head(b"HTTP/1.1 200 OK", b"Content-Encoding: gzip", b"Content-Length: 20")),
        ("HEAD", head(b"HTTP/1.1 200 OK")),
    ],
)
def test_an_answer_without_a_body_is_complete_after_its_head(method: str, data: bytes) -> None:
    answer = read(data, method=method)
    assert answer.is_complete
    assert not answer.keeps_connection
    assert answer.response(REQUEST).content == b""


def test_all_headers_are_passed_on_in_order() -> None:
    data = head(b"HTTP/1.1 418 Teapot", b"A: 1", b"b:2", b"A: \xff ", b"Content-Length: 0")
    response = read(data).response(REQUEST)
    assert response.request is REQUEST
    assert response.status_code == 418
    assert response.headers.raw == [(b"A", b"1"), (b"b", b"2"), (b"A", b"\xff"), (b"Content-Length", b"0")]


def feed_for_ever(answer: Answer, piece: bytes) -> None:
    for _ in range(2 * MAX_HEAD_BYTES // len(piece)):
        answer.feed(piece)


def test_a_head_that_does_not_end_is_cut_off() -> None:
    answer = Answer("GET", max_body_bytes=1000)
    answer.feed(b"HTTP/1.1 200 OK\r\n")
    with pytest.raises(httpx.RemoteProtocolError, match="head of more than"):
        feed_for_ever(answer, b"A: b\r\n" * 100)


def test_informational_answers_without_end_are_cut_off() -> None:
    answer = Answer("GET", max_body_bytes=1000)
    with pytest.raises(httpx.RemoteProtocolError, match="head of more than"):
        feed_for_ever(answer, head(b"HTTP/1.1 102 Processing") * 100)


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (head(b"HTTP/1.1 200 OK"), b"x" * 100),
        (head(b"HTTP/1.1 200 OK", b"Content-Length: 100000"), b"x" * 100),
        (CHUNKED, b"64\r\n" + b"x" * 100 + b"\r\n"),
        (CHUNKED, b"1;" + b"x" * 1000 + b"\r\nx\r\n"),
        (CHUNKED + b"1\r\nx\r\n0\r\n", b"X: x\r\n" * 100),
    ],
    ids=["until the end", "content-length", "chunked", "chunk extensions", "trailers"],
)
def test_a_body_that_does_not_end_is_cut_off_at_its_cap(start: bytes, piece: bytes) -> None:
    """The cap counts the body; framing and trailers have a bound as well."""
    answer = Answer("GET", max_body_bytes=1000)
    answer.feed(start)
    with pytest.raises(BodyTooLarge):
        feed_for_ever(answer, piece)


@pytest.mark.parametrize(
    ("start", "piece", "cap"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", 64 * 1024),
        (CHUNKED, b"1;" + b"x" * 1000 + b"\r\nx\r\n", MAX_HEAD_BYTES + 2 * 1000),
        (CHUNKED + b"1\r\nx\r\n0\r\n" + LONG_TRAILER * 60, b"X: x\r\n", MAX_HEAD_BYTES + 2 * 1000),
        (UNFRAMED, b"x" * 7, len(UNFRAMED) + 1000),
        (CHUNKED + b"f000\r\n", b"x" * 7, len(CHUNKED) + 6 + 1000),
    ],
    ids=["head", "chunk extensions", "trailers", "until the end", "one chunk"],
)
def test_each_cap_is_exact(start: bytes, piece: bytes, cap: int) -> None:
    """Of all bytes that came, framing included: the memory of one answer follows from it."""
    answer, fed = Answer("GET", max_body_bytes=1000), len(start)
    answer.feed(start)
    with suppress(httpx.RemoteProtocolError, BodyTooLarge):
        while fed <= 3 * cap:
            fed += len(piece)
            answer.feed(piece)
    assert cap < fed <= cap + len(piece)


@pytest.mark.parametrize("more", [0, 1])
def test_an_answer_of_exactly_its_cap_is_accepted(more: int) -> None:
    """64 KiB for the head and twice the body's cap, framing included."""
    start = CHUNKED + b"1\r\nx\r\n0\r\n"
    left = 64 * 1024 + 2 * 1000 + more - len(start)
    lines = LONG_TRAILER * (left // len(LONG_TRAILER) - 1)
    answer = Answer("GET", max_body_bytes=1000)
    answer.feed(start + lines)
    last = b"X: " + b"x" * (left - len(lines) - 7) + b"\r\n\r\n"
    with pytest.raises(BodyTooLarge) if more else nullcontext():
        answer.feed(last)
        assert answer.is_complete


def test_an_answer_has_begun_with_its_first_byte() -> None:
    """From then on its request is not made again."""
    answer = Answer("GET", max_body_bytes=1000)
    assert (answer.has_begun, answer.is_complete, answer.keeps_connection) == (False, False, False)
    assert (answer.is_on_reused, answer.status) == (False, 0)
    answer.feed(b"H")
    assert (answer.has_begun, answer.is_complete) == (True, False)


def test_what_is_stopped_is_freed_at_once() -> None:
    """Its parser refers to it, so it would wait for the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        answer = read(PLAIN, piece_bytes=1)
        freed = weakref.ref(answer)
        answer.stop()
        assert answer.response(REQUEST).content == b"{}"
        del answer
        assert freed() is None
    finally:
        gc.enable()


def test_a_body_of_exactly_the_cap_is_accepted() -> None:
    answer = Answer("GET", max_body_bytes=1000)
    answer.feed(head(b"HTTP/1.1 200 OK", b"Content-Length: 1000") + b"x" * 1000)
    assert answer.is_complete
    assert answer.content() == b"x" * 1000


def encoded(encoding: bytes, body: bytes) -> httpx.Response:
    answer = Answer("GET", max_body_bytes=64 * 1024)
    answer.feed(
        head(b"HTTP/1.1 200 OK", b"Content-Encoding: " + encoding, b"Content-Length: %d" % len(body)) + body
    )
    return answer.response(REQUEST)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (b"gzip", gzipped(b"{}" * 9000)),
        (b"GZIP", gzipped(b"{}" * 9000)),
        (b"x-gzip", gzipped(b"{}" * 9000)),
        (b"gzip", gzipped(b"{}" * 4000) + gzipped(b"{}" * 5000)),
        (b"gzip", gzipped(b"") + gzipped(b"{}" * 9000) + gzipped(b"")),
        (b"deflate", zlib.compress(b"{}" * 9000)),
        (b"deflate", zlib.compress(b"{}" * 9000, wbits=-15)),
        (b"identity", b"{}" * 9000),
    ],
)
def test_compressed_bodies_are_decoded(encoding: bytes, body: bytes) -> None:
    response = encoded(encoding, body)
    assert response.content == b"{}" * 9000
    assert "content-encoding" not in response.headers
    assert "content-length" not in response.headers


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (b"gzip", b"not gzip"),
        (b"gzip", gzipped(b"{}" * 9000)[:-9]),
        (b"deflate", b"not deflate"),
        (b"gzip", zlib.compress(b"{}")),
        (b"x-gzip", zlib.compress(b"{}")),
        (b"x-gzip", gzipped(b"{}") + zlib.compress(b"{}")),
        (b"deflate", gzipped(b"{}")),
        (b"gzip", gzipped(b"{}") + b"x"),
        (b"gzip", gzipped(b"{}") + bytes(8)),
        (b"gzip", gzipped(b"{}") + gzipped(b"{}")[:-1]),
        (b"deflate", zlib.compress(b"{}") + b"x"),
        (b"deflate", zlib.compress(b"{}", wbits=-15) + b"x"),
        (b"deflate", zlib.compress(b"{}") + zlib.compress(b"{}")),
        (b"gzip, gzip", gzipped(gzipped(b"{}"))),
        (b"br", b"x"),
        (b"zstd", b"x"),
        (b"x-unknown", b"x"),
    ],
)
def test_a_damaged_or_unknown_encoding_is_a_decoding_error(encoding: bytes, body: bytes) -> None:
    """Only encodings whose expansion can be bounded are accepted, and only one at a time."""
    with pytest.raises(httpx.DecodingError):
        encoded(encoding, body)


@pytest.mark.parametrize("compress", [gzipped, zlib.compress, partial(zlib.compress, wbits=-15)])
def test_the_cap_of_a_decoded_body_is_exact(compress: Callable[[bytes], bytes]) -> None:
    encoding = b"gzip" if compress is gzipped else b"deflate"
    assert encoded(encoding, compress(bytes(64 * 1024))).content == bytes(64 * 1024)
    with pytest.raises(BodyTooLarge):
        encoded(encoding, compress(bytes(64 * 1024 + 1)))


def test_the_cap_of_all_members_is_exact() -> None:
    members = gzipped(bytes(40 * 1024)) + gzipped(b"")
    assert len(encoded(b"gzip", members + gzipped(bytes(24 * 1024))).content) == 64 * 1024
    with pytest.raises(BodyTooLarge):
        encoded(b"gzip", members + gzipped(bytes(24 * 1024 + 1)))


def test_two_lines_of_encodings_are_two_encodings() -> None:
    """RFC 9110 5.3: they are one list."""
    body = gzipped(b"{}")
    fields = [b"Content-Encoding: GZip", b"content-encoding: gzip", b"Content-Length: %d" % len(body)]
    with pytest.raises(httpx.DecodingError, match="content-encoding b'gzip,gzip' is not supported"):
        read(head(b"HTTP/1.1 200 OK", *fields) + body).response(REQUEST)


def test_a_second_member_of_gzip_is_part_of_the_answer() -> None:
    """A reader of the first member only would take this for a success."""
    assert encoded(b"gzip", gzipped(b'{"time": 1}') + gzipped(b"no JSON")).content == (b'{"time": 1}no JSON')


def test_many_members_of_gzip_are_not_many_times_the_work() -> None:
    """G10: 64 KiB hold 3,000 empty members, and each would cost a decompressor and a copy of the rest."""
    with pytest.raises(httpx.DecodingError, match="too many members"):
        encoded(b"gzip", gzipped(b"") * (MAX_MEMBERS + 1))
    assert encoded(b"gzip", gzipped(b"") * MAX_MEMBERS).content == b""


def test_a_bomb_in_members_does_not_go_off() -> None:
    """The cap is for all of them together."""
    half = gzipped(bytes(40 * 1024))
    assert len(encoded(b"gzip", half).content) == 40 * 1024
    with pytest.raises(BodyTooLarge):
        encoded(b"gzip", half + half)


def test_a_bomb_does_not_go_off() -> None:
    """60 MiB in less than 64 KiB: decoding stops one byte after the cap."""
    bomb = gzipped(bytes(60 * 1024 * 1024))
    assert len(bomb) < 64 * 1024
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            encoded(b"gzip", bomb)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1024 * 1024


def test_a_bug_in_a_callback_is_not_taken_for_a_malformed_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """G11: and neither is Ctrl-C, which may arrive there."""

    def interrupt(answer: Answer, data: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Answer, "on_body", interrupt)
    with pytest.raises(KeyboardInterrupt):
        read(PLAIN, piece_bytes=1)


corpus = st.sampled_from([*REUSABLE.values(), *NOT_REUSABLE.values(), *MALFORMED.values()])


@given(
    start=corpus,
    edits=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), st.binary(max_size=6)), max_size=4),
    cuts=st.lists(st.integers(1, 40), max_size=8),
    method=st.sampled_from(["GET", "HEAD"]),
)
@settings(max_examples=300, deadline=None)
def test_whatever_arrives_only_httpx_errors_come_out(
    start: bytes, edits: list[tuple[int, int, bytes]], cuts: list[int], method: str
) -> None:
    """What is read is compared with other parsers by `make fuzz`."""
    data = start
    for at, removed, inserted in edits:
        data = data[:at] + inserted + data[at + removed :]
    answer = Answer(method, max_body_bytes=100)
    try:
        while data and not answer.is_complete:
            size = cuts.pop() if cuts else len(data)
            piece, data = data[:size], data[size:]
            answer.feed(piece)
        if not answer.is_complete:
            answer.feed(b"")
        response = answer.response(REQUEST)
    except (httpx.TransportError, httpx.DecodingError):
        return
    assert 100 <= response.status_code <= 999


@given(name=st.sampled_from(sorted(REUSABLE)), cuts=st.lists(st.integers(1, 60), max_size=12))
def test_how_the_bytes_are_cut_does_not_matter(name: str, cuts: list[int]) -> None:
    data = REUSABLE[name]
    whole = read(data).response(REQUEST)
    answer = Answer("GET", max_body_bytes=1000)
    while data:
        size = cuts.pop() if cuts else len(data)
        answer.feed(data[:size])
        data = data[size:]
    cut = answer.response(REQUEST)
    assert answer.keeps_connection
    assert cut.headers == whole.headers


@pytest.mark.parametrize(
    ("sent", "said"), [(PLAIN[:1], "in the middle of its answer"), (b"", "without an answer")]
)
def test_what_is_missing_is_told(sent: bytes, said: str) -> None:
    with pytest.raises(httpx.RemoteProtocolError, match=f"^the upstream closed the connection {said}$"):
        read(sent, ends=True)


@pytest.mark.parametrize("framing", [b"Content-Length: 0", b"Transfer-Encoding: chunked"])
def test_only_spaces_and_tabs_behind_a_value_are_no_part_of_it(framing: bytes) -> None:
    """Read by the one expression, and by llhttp."""
    data = head(b"HTTP/1.1 200 OK", b"A: \tX\xa0X \t", framing) + b"0\r\n\r\n" * framing.endswith(b"chunked")
    assert read(data).response(REQUEST).headers.raw[0] == (b"A", b"X\xa0X")
    assert read_fields(b"a: X\x0b \r\n") == [(b"a", b"X\x0b")]


def test_a_head_has_its_bound_to_the_byte() -> None:
    """Also one of which nothing says that it is a head."""
    start = b"HTTP/1.1 200 OK\r\nA: "
    fits = start + b"x" * (MAX_HEAD_BYTES - len(start))
    assert not read(fits).is_complete
    with pytest.raises(httpx.RemoteProtocolError, match=f"a head of more than {MAX_HEAD_BYTES} bytes"):
        read(fits + b"x")
