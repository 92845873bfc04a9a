"""`fanout load` against servers that are not the API of fanout: one line each, no load, exit code 1."""

from __future__ import annotations

import http.server
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio
import trustme

from fanout.testing import Program
from fanout.tools.load import first_look
from fanout.tools.load.first_look import CouldNotRun, WrongServer, check_server
from fanout.tools.load.plan import parsed_target
from tests.forked import running
from tests.tools.load.scripted import GOOD, Script, Stream, always, answer, problem, serving
from tests.tools.load.test_classification import reset
from tests.tools.load.test_command import run_command

HTML = b"<!doctype html><title>Hello</title>"


@pytest.fixture(scope="module")
def demo() -> Iterator[Program]:
    with running("demo", "--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0") as program:
        yield program


@pytest.fixture(scope="module")
def files() -> Iterator[str]:
    """The file server of Python's library."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def assert_one_line(told: bytes, *parts: str) -> None:
    line = told.decode()
    assert line.startswith("fanout load: http")
    assert line.count("\n") == 1
    for part in parts:
        assert part in line


async def test_a_file_server_is_no_fanout(files: str) -> None:
    done = await run_command("--url", files)
    assert (done.returncode, done.stdout) == (1, b"")
    assert_one_line(done.stderr, "answers GET /api/first?timeout=0 with 404 (text/html")
    assert_one_line(done.stderr, "SimpleHTTP", "start `fanout demo`, or give the --url of a fanout")


@pytest.mark.parametrize(
    ("line", "path", "says"),
    [
        ("admin", "", "is fanout's admin listener: give the --url of its API"),
        ("upstream", "", "is fanout's simulated upstream: give the --url of the fanout that calls it"),
        ("api", "/api/first", "is a path that this fanout does not have: give --url http://127.0.0.1:"),
    ],
)
async def test_another_address_of_fanout_is_named(demo: Program, line: str, path: str, says: str) -> None:
    """The likeliest mistakes: the wrong port, or the address of an endpoint."""
    done = await run_command("--url", demo.urls[line] + path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert_one_line(done.stderr, says)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (answer(200, b"{}", b"Content-Type: application/json"), "with 200 (application/json)"),
        (
            answer(404, HTML, b"Content-Type: text/html", b"Server: nginx/1.25"),
            "with 404 (text/html, nginx/1.25)",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
    ],
)
async def test_a_server_of_something_else_gets_no_load(data: bytes, says: str) -> None:
    """At most three requests, those of the first look."""
    async with serving(always(data)) as (url, visits):
        done = await run_command("--url", url)
    assert (done.returncode, done.stdout) == (1, b"")
    assert_one_line(done.stderr, says)
    assert len(visits.targets) <= 3


def as_listener(path: str, body: bytes) -> Script:
    """A listener that has only this path."""

    async def script(target: str, stream: Stream) -> None:
        is_it = target == path
        await stream.send_all(answer(200 if is_it else 404, body if is_it else b""))

    return script


async def send_for_ever(target: str, stream: Stream) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    while True:
        await stream.send_all(b"data: 1\n\n" * 1000)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (always(answer(200, GOOD)), r"answers GET /api/first\?timeout=0 with 200:"),
        (always(answer(200, b"x" * 1_000_000)), "with 200"),
        (always(b"HTTP/1.1 200 OK\r\n\r\nhello", then_close=True), "with 200"),
        (always(answer(302, b"", b"Location: /login", b"Server: a\x9b2Jb")), r"with 302 \(a\?2Jb\)"),
        (always(answer(500, b'{"type": 7, "reason": "deadline"}')), "with 500"),
        (always(answer(400, b'{"type": "urn:other:invalid_timeout"}')), "with 400"),
        (always(b"", then_close=True), "closes the connection: .* if it speaks TLS, give an https URL"),
        (always(b"HTTP/1.1 200 O", then_close=True), "closes the connection"),
        (send_for_ever, r"with 200 \(text/event-stream\)"),
        (
            always(answer(404, HTML, b"Content-Type: text/html", b"Server: nginx/1.25")),
            r"with 404 \(text/html, nginx/1\.25\): start `fanout demo`, or give the --url of a fanout$",
        ),
        (
            always(b"SSH-2.0-OpenSSH_9.2\r\n"),
            "it does not speak HTTP: .*; if it speaks TLS, give an https URL$",
        ),
        (reset, r"it breaks the connection \(Connection reset by peer\): "),
        (
            as_listener("/statistics", b'{"admission": 1}'),
            "is fanout's admin listener: give the --url of its API$",
        ),
        (
            as_listener("/settings", b'{"min_delay_ms": 1}'),
            "is fanout's simulated upstream: give the --url of the fanout that calls it$",
        ),
        (
            always(problem(404, "not_found")),
            r"is a path that this fanout does not have: give --url http://127",
        ),
        (as_listener("/statistics", b'["admission"]'), "is not fanout's API, it answers GET"),
    ],
)
async def test_what_the_server_did_is_said(script: Script, says: str) -> None:
    """Also an answer that a load would count as useful, and one without an end."""
    async with serving(script) as (url, _):
        with pytest.raises(WrongServer, match=says):
            await check_server(parsed_target(url))


async def test_a_server_that_says_nothing_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async def say_nothing(target: str, stream: Stream) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(first_look, "LOOK_S", 0.3)
    async with serving(say_nothing) as (url, _):
        with pytest.raises(WrongServer, match=r"does not answer within 0\.3 s"):
            await check_server(parsed_target(url))


@pytest.mark.parametrize("reason", ["invalid_timeout", "overloaded", "draining"])
async def test_a_fanout_is_recognized_also_when_it_is_busy(reason: str) -> None:
    async with serving(always(problem(400 if reason == "invalid_timeout" else 503, reason))) as (url, visits):
        await check_server(parsed_target(url))
    assert visits.targets == ["/api/first?timeout=0"]


@asynccontextmanager
async def tls_server() -> AsyncIterator[str]:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    async with serving(always(problem(400, "invalid_timeout")), tls) as (url, _):
        yield url


async def test_a_server_that_speaks_tls_is_not_asked_in_plain_text() -> None:
    async with tls_server() as url:
        await check_server(parsed_target(url, insecure=True))
        with pytest.raises(WrongServer, match="if it speaks TLS, give an https URL"):
            await check_server(parsed_target(url.replace("https", "http")))


async def test_a_server_that_does_not_speak_tls_is_not_asked_over_it(nursery: trio.Nursery) -> None:
    async def speak_http(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.receive_some()

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, speak_http, [listener])
    url = f"https://127.0.0.1:{listener.socket.getsockname()[1]}"
    said = rf"^no TLS with {url} \([A-Z_]+\): give --ca, --insecure or an http URL$"
    with pytest.raises(CouldNotRun, match=said):
        await check_server(parsed_target(url))
    nursery.cancel_scope.cancel()


async def test_a_name_and_a_port_at_which_nobody_is_are_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(CouldNotRun, match=rf"^nothing answers at {url} \(Connection refused\): start"):
        await check_server(parsed_target(url))
    with pytest.raises(
        CouldNotRun, match=r"^the name 'no-such-name\.invalid' cannot be resolved: check --url$"
    ):
        await check_server(parsed_target("http://no-such-name.invalid"))
