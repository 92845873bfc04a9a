"""The bytes of an answer, one by one."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest

from fanout.server import answer
from fanout.server.answer import MAX_CHECKED_NAMES, DateField, chunk, head_bytes, read_start, utc_now
from tests.server.serving import NOON


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (200, b"HTTP/1.1 200 OK"),
        (404, b"HTTP/1.1 404 Not Found"),
        # RFC 9110 has new names for these.
        (413, b"HTTP/1.1 413 Content Too Large"),
        (414, b"HTTP/1.1 414 URI Too Long"),
        (416, b"HTTP/1.1 416 Range Not Satisfiable"),
        (422, b"HTTP/1.1 422 Unprocessable Content"),
        (417, b"HTTP/1.1 417 Expectation Failed"),
        (299, b"HTTP/1.1 299 "),  # the space is required, the phrase is not: RFC 9112 4
    ],
)
def test_a_head_is_a_status_line_and_its_fields(status: int, line: bytes) -> None:
    head = head_bytes(status, [(b"a", b"1"), (b"b", b"")])
    assert head == line + b"\r\na: 1\r\nb: \r\n\r\n"


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_a_field_cannot_end_its_line(end: bytes) -> None:
    """An application that puts what it was sent into a field must not give its client a second answer."""
    for name, value in ((b"a" + end, b"1"), (b"a", b"1" + end + b"b: 2")):
        with pytest.raises(ValueError, match="CR, LF or NUL"):
            head_bytes(200, [(name, value)])


@pytest.mark.parametrize("status", [199, 200, 599, 600])
def test_a_final_answer_has_one_of_these_statuses(status: int) -> None:
    with nullcontext() if 200 <= status <= 599 else pytest.raises(ValueError, match="is not the status"):
        assert read_start({"status": status}) == ([], None, False, False)


@pytest.mark.parametrize(
    ("status", "left_out", "length", "closes"),
    [
        (204, (b"content-length", b"0"), 0, False),
        (200, (b"connection", b"close"), None, True),
        (200, (b"transfer-encoding", b"chunked"), None, False),
    ],
)
def test_the_fields_behind_one_that_the_server_says_itself_are_sent(
    status: int, left_out: tuple[bytes, bytes], length: int | None, closes: bool
) -> None:
    fields = [(b"x-before", b"1"), left_out, (b"x-behind", b"2")]
    sent, *rest = read_start({"status": status, "headers": fields})
    assert (sent, rest) == ([fields[0], fields[2]], [length, False, closes])


def test_names_are_checked_once_and_few_of_those_an_app_invents_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """G12: what is kept has a bound."""
    kept = set[bytes]()
    monkeypatch.setattr(answer, "CHECKED_NAMES", kept)
    names = [b"x" * 64, b"x" * 65, *(b"x-%d" % number for number in range(MAX_CHECKED_NAMES))]
    for name in names:
        read_start({"status": 200, "headers": [(name, b"1")]})
    assert kept == {names[0], *names[2 : MAX_CHECKED_NAMES + 1]}


def test_a_chunk_says_its_length_in_hexadecimal() -> None:
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


@pytest.mark.parametrize("first", [0.0, 0.5, 1.5, 1000.0])
def test_the_date_is_formatted_once_per_second(first: float) -> None:
    asked: list[datetime] = []

    def wall_clock() -> datetime:
        asked.append(NOON + timedelta(seconds=len(asked)))
        return asked[-1]

    date = DateField(wall_clock)
    assert date.value(first) == date.value(int(first) + 0.9) == b"Mon, 23 Nov 2026 12:00:00 GMT"
    assert date.value(int(first) + 1) == b"Mon, 23 Nov 2026 12:00:01 GMT"
    assert len(asked) == 2


def test_the_date_is_of_now() -> None:
    assert abs(utc_now() - datetime.now(UTC)) < timedelta(minutes=1)
    assert DateField().value(1.0).endswith(b" GMT")
