"""Whom a request is for, and its bytes."""

from __future__ import annotations

import httpx
import pytest

from fanout.upstream.messages import Origin, PreparedGet, origin_of, request_bytes

URL = "http://upstream/api/work"

OWN = {"Accept": "application/json"}


@pytest.mark.parametrize("more", [[], [(b"a", b"1")], [(b"a", b"1"), (b"b", b"2")]], ids=len)
async def test_a_prepared_request_is_sent_as_httpxs_own_would_be(more: list[tuple[bytes, bytes]]) -> None:
    """However often it is made, and whatever was added the time before."""
    prepared = PreparedGet(URL, OWN)
    in_full = httpx.Request("GET", URL, headers={**OWN, **{name.decode(): v.decode() for name, v in more}})
    for _ in range(2):
        assert prepared.bytes_with(more) == await request_bytes(in_full)
        assert prepared.bytes_with([]) == await request_bytes(httpx.Request("GET", URL, headers=OWN))
    assert prepared.origin == origin_of(in_full.url)


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
