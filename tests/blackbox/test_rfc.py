"""The real program over TLS: one list of requests, and the same answers over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from fanout.testing import Program
from tests.blackbox.conftest import request
from tests.blackbox.front_door.certified import certified
from tests.forked import running


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Program, ssl.SSLContext]]:
    """The server, with an upstream that no request here may reach."""
    trust, options = certified(tmp_path_factory.mktemp("tls"))
    arguments = ("--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0", "--upstream", "http://127.0.0.1:1/")
    with running("serve", *arguments, *options) as program:
        yield program, trust


def unsized() -> Iterator[bytes]:
    yield b"x"


CASES: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "a body of unknown length": ("GET", {"content": unsized}, 413, "unexpected_body"),
    "a body with a length": ("GET", {"content": b"x"}, 413, "unexpected_body"),
    "another method": ("DESCRIBE", {}, 501, "method_not_implemented"),
    "a path of 9 KiB": ("GET", {"extensions": {"target": b"/" + b"x" * 9216}}, 414, "target_too_long"),
    "a star": ("GET", {"extensions": {"target": b"*"}}, 400, "malformed_request"),
    "a fragment": ("GET", {"extensions": {"target": b"/#x"}}, 400, "malformed_request"),
    "101 fields": ("GET", {"headers": [("x", "y")] * 101}, 431, "head_too_large"),
    "an expectation": ("GET", {"headers": {"expect": "x"}}, 417, "expectation_failed"),
    "a port above all ports": ("GET", {"headers": {"host": "a:65536"}}, 400, "malformed_request"),
    "a host with a user": ("GET", {"headers": {"host": "u@a"}}, 400, "malformed_request"),
}


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_what_is_refused_is_refused_alike(
    name: str, http2: bool, served: tuple[Program, ssl.SSLContext]
) -> None:
    method, options, status, reason = CASES[name]
    options = {key: value() if callable(value) else value for key, value in options.items()}
    program, trust = served
    with httpx.Client(http2=http2, http1=not http2, verify=trust) as client:
        answer = client.request(method, f"{program.urls['api']}/api/first", **options)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)


@pytest.mark.parametrize("http2", [False, True])
def test_what_is_about_no_resource_or_has_no_content(
    http2: bool, served: tuple[Program, ssl.SSLContext]
) -> None:
    program, trust = served
    with httpx.Client(http2=http2, http1=not http2, verify=trust) as client:
        options = client.options(program.urls["api"], extensions={"target": b"*"})
        assert (options.status_code, options.headers["allow"]) == (200, "GET, HEAD, OPTIONS")
        head = client.head(f"{program.urls['api']}/nothing")
        assert (head.status_code, head.content) == (404, b"")
        assert int(head.headers["content-length"]) > 0


def test_the_admin_listener_has_options_too(served: tuple[Program, ssl.SSLContext]) -> None:
    program, _ = served
    reply = request(program.urls["admin"], "*", method="OPTIONS")
    assert (reply.status, reply.headers["allow"], reply.body) == (200, "GET, HEAD", b"")


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("APPLICATION/OPENMETRICS-TEXT", "application/openmetrics-text"),
        ("application/openmetrics-text;q=0, */*", "text/plain"),
    ],
)
def test_metrics_heed_quality_and_case(
    accept: str, content_type: str, served: tuple[Program, ssl.SSLContext]
) -> None:
    program, _ = served
    reply = request(program.urls["admin"], "/metrics", headers={"Accept": accept})
    assert reply.headers["content-type"].partition(";")[0] == content_type
    assert reply.headers["vary"] == "Accept"
