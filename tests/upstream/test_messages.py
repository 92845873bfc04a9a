"""Whom a request is for; and a complete response is httpx's in everything that can be asked of it."""

from __future__ import annotations

from inspect import getattr_static

import httpx
import pytest

from fanout.upstream.messages import CompleteResponse, Origin, origin_of

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


@pytest.mark.parametrize(
    ("url", "origin", "text"),
    [
        ("http://A.test/x?y", Origin("http", "a.test", 80), "http://a.test:80"),
        ("http://a.test:80", Origin("http", "a.test", 80), "http://a.test:80"),
        ("https://a.test", Origin("https", "a.test", 443), "https://a.test:443"),
        ("https://a.test:80", Origin("https", "a.test", 80), "https://a.test:80"),
        ("https://bücher.test", Origin("https", "xn--bcher-kva.test", 443), "https://xn--bcher-kva.test:443"),
        ("http://192.0.2.1:8080", Origin("http", "192.0.2.1", 8080), "http://192.0.2.1:8080"),
        ("http://[2001:db8::1]", Origin("http", "2001:db8::1", 80), "http://[2001:db8::1]:80"),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, origin: Origin, text: str) -> None:
    assert origin_of(httpx.URL(url)) == origin
    assert str(origin) == text


@pytest.mark.parametrize("url", ["ftp://a.test/", "/work", "//a.test/", "http:/work", "a.test"])
def test_what_is_no_absolute_http_url_is_refused_by_name(url: str) -> None:
    with pytest.raises(httpx.UnsupportedProtocol) as refused:
        origin_of(httpx.URL(url))
    assert str(refused.value) == f"'{url}' is not an absolute http or https URL"
