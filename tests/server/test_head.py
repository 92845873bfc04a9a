"""The bounds of a head to the byte, and what each rule takes for equal. `hostile` has what is refused."""

from __future__ import annotations

import pytest

from fanout.server import rejections
from fanout.server.head import (
    CHUNKED,
    Head,
    check_method,
    check_size,
    check_unfinished,
    length_of,
    parse_head,
)
from fanout.server.limits import Limits
from fanout.server.rejections import Rejected, Rejection

LIMITS = Limits(max_target_bytes=50, max_head_bytes=200, max_fields=3)
LINE = b"GET / HTTP/1.1\r\nHost: a\r\n"


def parse(data: bytes) -> Head:
    return parse_head(data + b"\r\n", LIMITS)


def rejection_of(data: bytes) -> Rejection:
    with pytest.raises(Rejected) as caught:
        parse(data)
    return caught.value.rejection


def size_of(data: bytes, head_bytes: int | None = None) -> Rejection | None:
    try:
        check_size(data, len(data) if head_bytes is None else head_bytes, LIMITS)
    except Rejected as rejected:
        return rejected.rejection
    return None


def test_a_plain_head() -> None:
    assert parse(b"GET /a%20b?c=d HTTP/1.1\r\nHost: a\r\nX-Y: \t z \t\r\n") == Head(
        method="GET",
        version="1.1",
        path="/a b",
        raw_path=b"/a%20b",
        query=b"c=d",
        fields=[(b"host", b"a"), (b"x-y", b"z")],
        keep_alive=True,
        body_length=0,
        expects_continue=False,
    )


def test_only_spaces_and_tabs_are_around_a_value() -> None:
    """Other bytes that Python takes for space are a part of it, and so are letters."""
    [_, (_, value)] = parse(LINE + b"a: X\xa0 \r\n").fields
    assert value == b"X\xa0"


def test_a_target_has_its_bound_to_the_byte() -> None:
    assert parse(b"GET /" + b"x" * 49 + b" HTTP/1.1\r\nHost: a\r\n").path == "/" + "x" * 49
    too_long = rejection_of(b"GET /" + b"x" * 50 + b" HTTP/1.1\r\nHost: a\r\n")
    assert (too_long.status, too_long.reason) == (414, "target_too_long")
    assert "50 bytes" in too_long.detail


@pytest.mark.parametrize("target", [b"0", b"a/b", b"?x", b"."])
def test_a_target_begins_with_a_slash_or_a_scheme(target: bytes) -> None:
    assert rejection_of(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n").status == 400


def test_a_line_has_the_bound_of_its_target_and_some_for_its_method() -> None:
    assert size_of(b"GET /" + b"x" * 77) is None
    too_long = size_of(b"GET /" + b"x" * 78)
    assert too_long is not None
    assert (too_long.reason, "50 bytes" in too_long.detail) == ("target_too_long", True)
    assert size_of(b"GET /" + b"x" * 77 + b"\r") is None  # half of the line's end, which does not count


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"]
)
def test_these_methods_are_known_and_only_as_they_are_written(method: str) -> None:
    line = f"{method} / HTTP/1.1\r\nHost: a\r\n"
    assert parse(line.encode()).method == method
    assert rejection_of(line.replace(method, method.lower()).encode()) is rejections.METHOD_NOT_IMPLEMENTED


def test_a_method_of_more_than_thirty_two_bytes_is_none() -> None:
    """However long it is: nobody has to read it to its end."""
    long_method = size_of(b"G" * 33 + b" /" + b"x" * 78)
    assert long_method is rejections.METHOD_NOT_IMPLEMENTED
    target = size_of(b"G" * 32 + b" /" + b"x" * 78)
    assert target is not None
    assert target.reason == "target_too_long"


def test_a_head_has_its_bound_to_the_byte() -> None:
    line = b"GET / HTTP/1.1\r\n"
    assert size_of(line + b"x" * (200 - len(line))) is None
    too_large = size_of(line + b"x" * (201 - len(line)))
    assert too_large is not None
    assert (too_large.status, too_large.reason, "200 bytes" in too_large.detail) == (
        431,
        "head_too_large",
        True,
    )
    assert size_of(line + b"x" * 1000, 200) is None  # what is behind the head does not count


def test_the_number_of_fields_has_its_bound() -> None:
    assert len(parse(LINE + b"a: 1\r\nb: 2\r\n").fields) == 3
    too_many = rejection_of(LINE + b"a: 1\r\nb: 2\r\nc: 3\r\n")
    assert (too_many.reason, "3 fields" in too_many.detail) == ("head_too_large", True)


@pytest.mark.parametrize(
    ("seen", "more", "refused"),
    [
        (b"GET / HTTP/1.1\r", b"\n", False),
        (b"GET / HTTP/1.1\r", b"x", True),
        (b"GET / HTTP/1.1", b"\n", True),
        (b"GET / HTTP/1.1\r\n", b"\n", True),
        (b"GET /", b"\x00", True),
        (b"", b"\x00", True),
        (b"\x00GET /", b" HTTP", False),  # it was looked at before
    ],
)
def test_what_no_further_byte_can_make_a_head(seen: bytes, more: bytes, refused: bool) -> None:
    """Also where what is wrong lies between two pieces. What was seen before is not looked at again."""
    if refused:
        with pytest.raises(Rejected):
            check_unfinished(seen + more, len(seen), LIMITS)
    else:
        check_unfinished(seen + more, len(seen), LIMITS)


@pytest.mark.parametrize(
    ("version", "fields", "keeps"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: Close\r\n", False),
        (b"1.1", b"Connection: a,\t close \r\n", False),
        (b"1.1", b"Connection: a\r\nConnection: close\r\n", False),
        (b"1.1", b"Connection: xclose, closeX\r\n", True),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: Keep-Alive\r\n", True),
        (b"1.0", b"Connection: keep-alive, close\r\n", False),
        (b"1.0", b"Connection: Xkeep-alive\r\n", False),
        (b"1.1", b"Upgrade: h2c\r\n", False),
    ],
)
def test_who_keeps_the_connection(version: bytes, fields: bytes, keeps: bool) -> None:
    assert parse(b"GET / HTTP/" + version + b"\r\nHost: a\r\n" + fields).keep_alive is keeps


@pytest.mark.parametrize(
    ("method", "target", "path", "host"),
    [
        (b"GET", b"http://b:80/c?d", "/c", b"b:80"),
        (b"GET", b"HTTPS://b", "/", b"b"),
        (b"GET", b"http://b?d", "/", b"b"),
        (b"OPTIONS", b"*", "*", b"a"),
    ],
)
def test_other_forms_of_a_target(method: bytes, target: bytes, path: str, host: bytes) -> None:
    head = parse(method + b" " + target + b" HTTP/1.1\r\nX: y\r\nHost: a\r\n")
    assert head.path == path
    assert dict(head.fields) == {b"host": host, b"x": b"y"}


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        (b"", 0),
        (b"Content-Length: 0\r\n", 0),
        (b"Content-Length: 12\r\n", 12),
        (b"Transfer-Encoding: Chunked\r\n", CHUNKED),
        (b"Transfer-Encoding: \tchunked \r\n", CHUNKED),
    ],
)
def test_the_length_of_a_body(fields: bytes, length: int) -> None:
    head = parse(b"POST / HTTP/1.1\r\nHost: a\r\n" + fields)
    assert head.body_length == length
    assert head.keep_alive is (length != CHUNKED)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (b"Transfer-Encoding: gzip,\tchunked\r\n", "transfer_coding_not_implemented"),
        (b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", "transfer_coding_not_implemented"),
        (b"Transfer-Encoding: chunked, chunked\r\n", "malformed_request"),
        (b"Transfer-Encoding: g zip, chunked\r\n", "malformed_request"),
        (b"Transfer-Encoding: Xchunked\r\n", "malformed_request"),
        (b"Transfer-Encoding: \x85chunked\r\n", "malformed_request"),
        (b"Content-Length: 1\r\nUpgrade: h2c\r\n", "malformed_request"),
        (b"Upgrade: h2c, WebSocket\r\n", "malformed_request"),
        (b"Expect: something\r\n", "expectation_failed"),
    ],
)
def test_bodies_that_two_servers_could_read_differently(fields: bytes, reason: str) -> None:
    assert rejection_of(b"POST / HTTP/1.1\r\nHost: a\r\n" + fields).reason == reason


@pytest.mark.parametrize(("version", "expects"), [(b"1.1", True), (b"1.0", False)])
def test_only_a_client_of_http_1_1_waits_to_be_asked(version: bytes, expects: bool) -> None:
    fields = b"Host: a\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n"
    assert parse(b"POST / HTTP/" + version + b"\r\n" + fields).expects_continue is expects


@pytest.mark.parametrize(
    ("head", "status", "says"),
    [
        (b"GET / HTTP/1.2\r\nHost: a\r\n", 505, ""),
        (b"GET / HTTP/1.1\r\nHost a\r\n", 400, "header field"),
        (b"GET / HTTP/1.0\r\nHost a\r\n", 400, "header field"),
        (b"GET /a#b HTTP/1.1\r\nHost: a\r\n", 400, "first line"),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n", 400, "first line"),
        (b"GET / HTTP/1.1\r\nHost: \x01\r\n", 400, "control character"),
        (b"GET / HTTP/1.1\r\n", 400, "needs a Host"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n", 400, "field host is there more than once"),
    ],
)
def test_a_client_is_told_what_is_wrong(head: bytes, status: int, says: str) -> None:
    rejection = rejection_of(head)
    assert rejection.status == status
    assert says in rejection.detail


def test_a_method_of_http_2_is_one_of_those_that_are_known() -> None:
    check_method(b"QUERY")
    for method, status in ((b"FOO", 501), (b"G(T", 400)):
        with pytest.raises(Rejected) as caught:
            check_method(method)
        assert caught.value.rejection.status == status


@pytest.mark.parametrize(
    ("digits", "length"), [(b"9" * 15, 10**15 - 1), (b"9" * 16, None), (b"1_0", None), (b"", None)]
)
def test_a_length_is_a_decimal_number_of_at_most_fifteen_digits(digits: bytes, length: int | None) -> None:
    if length is None:
        with pytest.raises(Rejected):
            length_of(digits)
    else:
        assert length_of(digits) == length
