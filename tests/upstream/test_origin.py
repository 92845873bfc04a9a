"""Whom a request is for: every spelling of an origin gets the same pool, and every origin its own."""

from __future__ import annotations

import httpx
import pytest

from fanout.upstream.origin import Origin, origin_of


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
