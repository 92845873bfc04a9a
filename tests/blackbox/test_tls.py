"""TLS on both sides of the real program: a private authority, verification always on, HTTP/2."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import httpx
import pytest

from tests.blackbox.conftest import Files, request
from tests.forked import running

FREE = ["--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0"]


@pytest.fixture(scope="module")
def upstream(files: Files) -> Iterator[str]:
    """The port of a simulated upstream that speaks TLS."""
    arguments = [
        "--bind",
        "127.0.0.1:0",
        "--tls-cert",
        files.cert,
        "--tls-key",
        files.key,
        "--min-delay-ms",
        "5",
    ]
    with running("upstream", *arguments, "--max-delay-ms", "5", "--reliable") as simulator:
        yield simulator.urls["upstream"].rpartition(":")[2]


def test_an_upstream_with_a_private_authority(files: Files, upstream: str) -> None:
    url = f"https://localhost:{upstream}/api/work"
    with running("serve", *FREE, "--upstream", url, "--upstream-ca", files.ca) as program:
        for _ in range(3):
            reply = request(program.urls["api"], "/api/all?timeout=2000")
            assert (reply.status, reply.json) == (200, [{"time": 5}, {"time": 5}])
        origin = request(program.urls["admin"], "/statistics").json["upstream"]["origins"][0]
        assert (origin["opened"], origin["reused"]) == (2, 4)


@pytest.mark.parametrize(
    ("host", "trusts"), [("localhost", False), ("127.0.0.1", True)], ids=["authority", "host"]
)
def test_an_upstream_that_is_not_who_it_should_be_is_unreachable(
    files: Files, upstream: str, host: str, trusts: bool
) -> None:
    """An authority that nobody trusts; a certificate for another host. There is no switch to look away."""
    trust = ["--upstream-ca", files.ca] if trusts else []
    with running("serve", *FREE, "--upstream", f"https://{host}:{upstream}/api/work", *trust) as program:
        reply = request(program.urls["api"], "/api/first?timeout=2000")
        assert (reply.status, reply.reason) == (500, "no_success")
        assert [call["error"] for call in reply.json["calls"]] == ["unreachable"] * 2


@pytest.mark.parametrize("http2", [False, True])
def test_clients_over_tls(files: Files, upstream: str, http2: bool) -> None:
    context = ssl.create_default_context(cafile=files.ca)
    url = f"https://localhost:{upstream}/api/work"
    trust = ["--upstream-ca", files.ca, "--tls-cert", files.cert, "--tls-key", files.key]
    with running("serve", *FREE, "--upstream", url, *trust) as program:
        assert program.urls["api"].startswith("https://")
        assert program.urls["admin"].startswith("http://")  # probes and scrapers speak plain HTTP
        base = program.urls["api"].replace("127.0.0.1", "localhost")
        with httpx.Client(http2=http2, verify=context) as client:
            for _ in range(3):
                reply = client.get(f"{base}/api/first?timeout=2000")
                assert reply.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
                assert (reply.status_code, reply.json()) == (200, {"time": 5})
                assert reply.headers["cache-control"] == "no-store"
            assert client.get(f"{base}/api/first?timeout=x").status_code == 400
            assert client.post(f"{base}/api/first", content=b"x").status_code == 413
        statistics = request(program.urls["admin"], "/statistics").json
        assert statistics["requests"]["clients_disconnected"] == 0
        assert statistics["admission"]["in_flight"] == 0


def test_a_certificate_that_cannot_be_used_is_one_line(files: Files) -> None:
    with pytest.raises(RuntimeError, match=r"FANOUT_TLS_CERT=.*cannot be used") as raised:
        with running("serve", *FREE, "--tls-cert", files.cert, "--tls-key", files.ca):
            pass
    assert "Traceback" not in str(raised.value)
