"""A server from its first listener to the end of its last connection."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trustme

from fanout.server.asgi import App, Receive, Scope, Send
from fanout.server.certificates import Certificate
from fanout.server.driver import Driver
from fanout.server.limits import Limits
from fanout.server.serve import Connections, serve
from fanout.server.statistics import End
from tests.server.apps import Echo, answer
from tests.server.http2 import H2Client, request
from tests.server.recorded import Recorded
from tests.server.serving import Client, get, listener, on_socket, until
from tests.server.tls_clients import over_tls


class Application:
    """Notes what it is asked; a request after `slow_s`. Each of its steps takes a while."""

    def __init__(self, slow_s: float = 0.0) -> None:
        self.noted: list[str] = []
        self.states: list[dict[str, object]] = []
        self._slow_s = slow_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["shared"] = "opened at startup"
            for step in ("startup", "shutdown"):
                assert (await receive())["type"] == f"lifespan.{step}"
                await trio.sleep(0.05)
                self.noted.append(step)
                await send({"type": f"lifespan.{step}.complete"})
            return
        self.states.append(dict(scope["state"]))
        scope["state"]["shared"] = "changed by a request"
        self.noted.append("begun")
        await trio.sleep(self._slow_s)
        await answer(send, b"done")
        self.noted.append("answered")


class Accepting(socket.socket):
    """A listener that keeps what was accepted."""

    def __init__(self) -> None:
        super().__init__()
        self.accepted: list[socket.socket] = []
        self.setblocking(False)
        self.bind(("127.0.0.1", 0))
        self.listen()

    def accept(self) -> tuple[socket.socket, object]:
        sock, address = super().accept()
        self.accepted.append(sock)
        return sock, address


class Server:
    def __init__(self) -> None:
        self.shutdown = trio.Event()
        self.has_ended = trio.Event()
        self._streams: list[trio.SocketStream] = []

    async def connect(self, listening: socket.socket) -> Client:
        """A new connection, closed with the server at the latest."""
        self._streams.append(await trio.open_tcp_stream(*listening.getsockname()))
        return Client(self._streams[-1])

    def close_clients(self) -> None:
        for stream in self._streams:
            stream.socket.close()


@asynccontextmanager
async def serving(app: App, *listeners: socket.socket, grace_s: float = 5) -> AsyncIterator[Server]:
    server, crashes = Server(), list[BaseException]()
    driver = Driver(Limits(), on_crash=crashes.append)

    async def run(task_status: trio.TaskStatus[None]) -> None:
        await serve(
            app, driver, listeners, shutdown=server.shutdown.wait, grace_s=grace_s, task_status=task_status
        )
        server.has_ended.set()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(run)
            try:
                yield server
            finally:
                server.close_clients()
                server.shutdown.set()
    assert server.has_ended.is_set()
    assert crashes == []


async def test_the_lifespan_begins_before_the_first_request_and_ends_after_the_last() -> None:
    app = Application(slow_s=0.2)
    async with serving(app, sock := listener()) as server:
        assert app.noted == ["startup"]
        client = await server.connect(sock)
        await client.send(get())
        await until(lambda: "begun" in app.noted)
        server.shutdown.set()
        assert (await client.answer())[0] == 200
        await server.has_ended.wait()
    assert app.noted == ["startup", "begun", "answered", "shutdown"]


async def test_each_listener_is_served_and_closed_with_the_shutdown() -> None:
    """While the last requests run, nobody else is accepted."""
    app = Application(slow_s=0.2)
    async with serving(app, *(socks := [listener(), listener()])) as server:
        ports = [sock.getsockname()[1] for sock in socks]
        clients = [await server.connect(sock) for sock in socks]
        for client in clients:
            await client.send(get())
        await until(lambda: app.noted.count("begun") == 2)
        server.shutdown.set()
        await until(lambda: all(sock.fileno() < 0 for sock in socks))
        for port in ports:
            with pytest.raises(OSError, match="failed"):
                await trio.open_tcp_stream("127.0.0.1", port)
        assert "answered" not in app.noted
        assert [(await client.answer())[0] for client in clients] == [200, 200]


async def test_requests_share_a_state_and_none_sees_what_another_makes_of_it(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """Over HTTP/1.1 and HTTP/2."""
    app = Application()
    async with on_socket(app, certificate=certificate) as world:
        for _ in range(2):
            await Client(await over_tls(world, authority, "http/1.1")).ask(get())  # type: ignore[arg-type]  # it is a stream
            client = H2Client(await over_tls(world, authority, "h2"))
            await client.send(request())
            await client.status()
    assert app.states == [{"shared": "opened at startup"}] * 4


async def test_an_app_without_a_lifespan_is_one_line_of_the_log(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """By the log, and not by a line on standard error that is no JSON."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await answer(send, b"served")

    async with serving(app, sock := listener()) as server:
        assert (await (await server.connect(sock)).ask(get("/", "Connection: close")))[2] == b"served"
    [record] = caplog.records
    assert (record.name, record.levelno) == ("hypercorn.error", logging.WARNING)
    assert capfd.readouterr() == ("", "")


async def test_what_is_accepted_waits_for_no_ack_and_keeps_little_of_an_answer_in_the_kernel() -> None:
    """G10. A client that does not read takes 16 KiB there, whatever the system's buffers are."""
    async with serving(Echo(), sock := Accepting()) as server:
        client = await server.connect(sock)
        await client.ask(get())
        [ours] = sock.accepted
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 16 * 1024
        await client.stream.aclose()


async def test_a_connections_task_has_its_name() -> None:
    """The task tree of the admin listener shows it."""
    async with serving(Echo(), sock := listener()) as server:
        client = await server.connect(sock)
        await client.ask(get())
        tasks = [trio.lowlevel.current_root_task()]
        for task in tasks:
            tasks += (
                [child for nursery in task.child_nurseries for child in nursery.child_tasks] if task else []
            )
        assert [task.name for task in tasks if task].count("connection") == 1
        await client.stream.aclose()


async def test_nothing_is_read_behind_a_handshake_that_broke() -> None:
    """G1: what came with it is no request."""

    class Broken(Recorded):
        async def handshake(self) -> str | None:
            await trio.lowlevel.checkpoint()
            raise trio.BrokenResourceError

    app, crashes = Echo(), list[BaseException]()
    driver = Driver(Limits(), on_crash=crashes.append)
    transport = Broken(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    transport.scheme = "https"
    await Connections(app, driver, {}).hold(transport)
    assert (app.scopes, transport.arriving != [], crashes) == ([], True, [])
    assert driver.statistics().ended[End.BROKEN_HANDSHAKE] == 1


async def test_connections_end_when_the_grace_is_over() -> None:
    app = Application(slow_s=60)
    async with serving(app, sock := listener(), grace_s=0.3) as server:
        client = await server.connect(sock)
        await client.send(get())
        await until(lambda: "begun" in app.noted)
        began = trio.current_time()
        server.shutdown.set()
        assert await client.closed()
        assert trio.current_time() - began >= 0.3
    assert app.noted == ["startup", "begun", "shutdown"]
