"""A chunked body from bytes, alone: how much of a line it waits for, and what it keeps meanwhile."""

from __future__ import annotations

import pytest

from fanout.upstream.chunks import MAX_LINE_BYTES, Chunks
from fanout.upstream.errors import BodyTooLarge


def fed(*pieces: bytes) -> tuple[Chunks, list[bytes]]:
    chunks = Chunks()
    return chunks, [chunks.feed(piece) for piece in pieces]


@pytest.mark.parametrize(
    ("pieces", "bodies", "is_complete", "has_more"),
    [
        ([], [], False, False),
        ([b""], [b""], False, False),
        ([b"2"], [b""], False, False),
        ([b"2\r\n{"], [b"{"], False, False),
        (
            [b"2\r", b"\n{", b"}", b"\r", b"\n0\r\n", b"\r", b"\n"],
            [b"", b"{", b"}", b"", b"", b"", b""],
            True,
            False,
        ),
        ([b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"], [b"{}"], True, False),
        ([b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\nx"], [b"{}"], True, True),
        ([b"0\r\n\r\n"], [b""], True, False),
        ([b"0\r\nX:\r\nY: z\r\n"], [b""], False, False),
        ([b"0\r\nX:\r\nY: z\r\n\r\n"], [b""], True, False),
        ([b"000aF\r\n" + b"x" * 0xAF + b"\r\n"], [b"x" * 0xAF], False, False),
        ([b"fedcba9876543210\r\nx"], [b"x"], False, False),
        ([b"FEDCBA9876543210\r\nx"], [b"x"], False, False),
    ],
    ids=str,
)
def test_the_body_comes_as_its_bytes_do(
    pieces: list[bytes], bodies: list[bytes], is_complete: bool, has_more: bool
) -> None:
    chunks, came = fed(*pieces)
    assert (came, chunks.is_complete, chunks.has_more) == (bodies, is_complete, has_more)


@pytest.mark.parametrize("before", [b"2;", b"2\r\n{}\r\n1;", b"0\r\nX:"], ids=["first", "second", "trailer"])
def test_so_much_of_a_line_is_waited_for(before: bytes) -> None:
    """4 KiB: it is thrown away, and so long it is kept."""
    line = before.rpartition(b"\n")[2]
    rest = b"a" * (4096 - len(line))
    chunks, _ = fed(before + rest)
    with pytest.raises(ValueError, match=r"^a chunk of the body is malformed$"):
        chunks.feed(b"a")
    chunks, _ = fed(before + rest[:-1])
    chunks.feed(b"\r")
    assert chunks.feed(b"\n") == b""
    assert MAX_LINE_BYTES == 4096


@pytest.mark.parametrize("before", [b"", b"1\r\nx\r\n", b"0\r\n"], ids=["first", "second", "trailer"])
def test_a_byte_that_cannot_begin_a_line_is_not_waited_behind(before: bytes) -> None:
    """Of a size, hexadecimal digits; of a trailer it shows with the end of its line."""
    waited_for = set()
    for first in range(256):
        chunks, _ = fed(before)
        try:
            assert chunks.feed(bytes([first])) == b""
        except ValueError:
            continue
        assert not chunks.is_complete
        waited_for.add(first)
    is_trailer = before.startswith(b"0")
    assert waited_for == ({*range(256)} - {*b"\n"} if is_trailer else {*b"0123456789abcdefABCDEF"})


def test_a_byte_behind_data_is_not_waited_behind() -> None:
    for byte in {*range(256)} - {*b"\r"}:
        chunks, _ = fed(b"1\r\nx")
        with pytest.raises(ValueError, match="malformed"):
            chunks.feed(bytes([byte]))


@pytest.mark.parametrize("data", [b"1\r\nxy", b"1\r\nx\n", b"1\r\nx\rx", b"1\r\nx\r\r"])
@pytest.mark.parametrize("is_whole", [True, False])
def test_data_ends_with_a_line_break(data: bytes, is_whole: bool) -> None:
    with pytest.raises(ValueError, match="malformed"):
        fed(*([data] if is_whole else [data[n : n + 1] for n in range(len(data))]))


@pytest.mark.parametrize("at_once", [True, False], ids=["in one piece", "byte by byte"])
def test_a_body_has_a_bounded_number_of_lines(at_once: bool) -> None:
    """G10: 2,048. An upstream that sends each byte in a chunk of its own must not stop the event loop."""
    body = b"1\r\nx\r\n" * 1024
    pieces = [body] if at_once else [body[at : at + 1] for at in range(len(body))]
    chunks, found = fed(*pieces)
    assert b"".join(found) == b"x" * 1024
    with pytest.raises(BodyTooLarge, match="more than 2048 lines"):
        chunks.feed(b"0\r\n")
