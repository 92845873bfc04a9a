"""A complete response is httpx's in everything that can be asked of it."""

from __future__ import annotations

from inspect import getattr_static

import httpx
import pytest

from fanout.upstream.response import CompleteResponse

REQUEST = httpx.Request("GET", "http://upstream.test/api/work")
HEADERS = [(b"Content-Type", b"application/json; charset=utf-8"), (b"Set-Cookie", b"a=b"), (b"x", b"1")]
PROPERTIES = [
    name for name in dir(httpx.Response) if isinstance(getattr_static(httpx.Response, name), property)
]


def both() -> tuple[httpx.Response, httpx.Response]:
    """httpx's own, read, and ours."""
    theirs = httpx.Response(404, headers=HEADERS, stream=httpx.ByteStream(b'"\xc3\xa4"'), request=REQUEST)
    theirs.read()
    return theirs, CompleteResponse(404, lambda: HEADERS, b'"\xc3\xa4"', REQUEST)


@pytest.mark.parametrize(
    "name", [*PROPERTIES, "headers", "extensions", "history", "is_closed", "next_request"]
)
def test_every_attribute_is_httpxs(name: str) -> None:
    theirs, ours = both()
    if name == "elapsed":  # known to a client only
        with pytest.raises(RuntimeError):
            ours.elapsed  # noqa: B018 - the access is the test
        return
    found, expected = getattr(ours, name), getattr(theirs, name)
    assert repr(found) == repr(expected) if name == "cookies" else found == expected


def test_it_can_be_read_raised_for_and_iterated_as_httpxs() -> None:
    _, ours = both()
    assert (ours.read(), ours.json(), list(ours.iter_lines())) == (b'"\xc3\xa4"', "ä", ['"ä"'])
    with pytest.raises(httpx.HTTPStatusError, match="404 Not Found"):
        ours.raise_for_status()


def test_what_no_response_has_is_an_attribute_error() -> None:
    _, ours = both()
    with pytest.raises(AttributeError, match="nonsense"):
        ours.nonsense  # type: ignore[attr-defined]  # noqa: B018 - as above
