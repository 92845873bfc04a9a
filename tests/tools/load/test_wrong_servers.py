"""`fanout load` against servers that are not the API of fanout: one line each, no load, exit code 1."""

from __future__ import annotations

import http.server
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import pytest
import trio
import trio.testing
import trustme

from fanout.testing import Program
from fanout.tools.load import first_look
from fanout.tools.load.first_look import CouldNotRun, WrongServer, check_server
from fanout.tools.load.plan import parsed_target
from fanout.tools.load.wire import Wire
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
            r"is a path that this fanout does not have: give --url http://127\.0\.0\.1:\d+$",
        ),
        (as_listener("/statistics", b'["admission"]'), "is not fanout's API, it answers GET"),
    ],
)
async def test_what_the_server_did_is_said(script: Script, says: str) -> None:
    """Also an answer that a load would count as useful, and one without an end."""
    async with serving(script) as (url, _):
        with pytest.raises(WrongServer, match=says):
            await check_server(parsed_target(f"{url}/below" if "does not have" in says else url))


async def test_an_answer_that_comes_in_pieces_is_read_to_its_end() -> None:
    async def script(target: str, stream: Stream) -> None:
        is_it = target == "/statistics"
        data = answer(200 if is_it else 404, b'{"admission": 1}' if is_it else b"")
        for at in range(0, len(data), 20):
            await stream.send_all(data[at : at + 20])
            await trio.sleep(0.001)

    async with serving(script) as (url, _):
        with pytest.raises(WrongServer, match="is fanout's admin listener"):
            await check_server(parsed_target(url))


async def test_a_server_that_does_not_answer_in_http_is_asked_once() -> None:
    """It cannot be another listener of fanout. Its first connection only shows that it listens."""
    async with serving(always(b"", then_close=True)) as (url, visits):
        with pytest.raises(WrongServer):
            await check_server(parsed_target(url))
    assert (visits.targets, visits.connections) == (["/api/first?timeout=0"], 2)


async def test_the_value_of_a_header_field_is_shown_up_to_60_characters() -> None:
    async with serving(always(answer(404, HTML, b"Server: " + b"s" * 61))) as (url, _):
        with pytest.raises(WrongServer, match=rf" with 404 \({'s' * 60}\): "):
            await check_server(parsed_target(url))


def tls_failure() -> ssl.SSLError:
    """One of which OpenSSL does not say why."""
    failure = ssl.SSLError()
    failure.reason = ""
    return failure


class ScriptedWire(Wire):
    """Connects to nobody. What it receives are these parts, one at a time."""

    failure: OSError | None = None
    parts: ClassVar[list[bytes]] = []

    async def open(self) -> None:
        if self.failure is not None:
            raise self.failure
        ours, self.peers = socket.socketpair()
        self.socket.close()
        self.socket = ours
        self.peers.send(b"something that can be read")
        await trio.lowlevel.checkpoint()

    def receive(self) -> tuple[bytes, float]:
        return self.parts.pop(0), 0.0

    def close(self, *, reset: bool = False) -> None:
        super().close(reset=reset)
        if hasattr(self, "peers"):
            self.peers.close()


async def test_of_an_endless_answer_only_so_much_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    rest = first_look._ENOUGH_BYTES - len(head)
    monkeypatch.setattr(ScriptedWire, "parts", [head, b"x" * (rest - 1), b"x", b"one more"])
    seen = await first_look._look(ScriptedWire(socket.AF_INET, ()), parsed_target("http://a.example"), "/")
    assert (seen.status, ScriptedWire.parts) == (200, [b"one more"])


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (OSError("broken"), r"^nothing answers at http://127\.0\.0\.1:80 \(broken\): start"),
        (OSError(1, "not permitted"), r"^nothing answers at http://127\.0\.0\.1:80 \(not permitted\): start"),
        (tls_failure(), r"^no TLS with http://127\.0\.0\.1:80 \(TLS failed\): give --ca"),
    ],
)
async def test_a_connection_that_fails_without_a_reason_is_said_all_the_same(
    failure: OSError, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_look, "Wire", ScriptedWire)
    monkeypatch.setattr(ScriptedWire, "failure", failure)
    with pytest.raises(CouldNotRun, match=says):
        await check_server(parsed_target("http://127.0.0.1"))


async def test_an_answer_that_fails_without_a_reason_is_said_all_the_same() -> None:
    wire = ScriptedWire(socket.AF_INET, ())
    wire.failure = OSError()
    seen = await first_look._look(wire, parsed_target("http://a.example"), "/")
    assert seen.told() == "breaks the connection (OSError)"


async def hang(_: ScriptedWire) -> None:
    await trio.sleep_forever()


async def test_a_connection_that_is_not_made_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    monkeypatch.setattr(first_look, "Wire", ScriptedWire)
    monkeypatch.setattr(ScriptedWire, "open", hang)
    began_at = trio.current_time()
    said = r"^nothing answers at http://127\.0\.0\.1:80 \(no connection within 5 s\): start"
    with pytest.raises(CouldNotRun, match=said):
        await check_server(parsed_target("http://127.0.0.1"))
    assert trio.current_time() - began_at == pytest.approx(first_look.LOOK_S)


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


async def test_a_certificate_is_checked_for_the_name_in_the_url(tmp_path: Path) -> None:
    tls, ca = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), trustme.CA()
    ca.issue_cert("127.0.0.1").configure_cert(tls)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with serving(always(problem(400, "invalid_timeout")), tls) as (url, _):
        await check_server(parsed_target(url, ca_file=str(tmp_path / "ca.pem")))
        other = url.replace("127.0.0.1", "localhost")
        with pytest.raises(CouldNotRun, match=r"\(CERTIFICATE_VERIFY_FAILED\): give --ca"):
            await check_server(parsed_target(other, ca_file=str(tmp_path / "ca.pem")))


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
