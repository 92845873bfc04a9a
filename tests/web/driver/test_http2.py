"""HTTP/2 over ALPN is hypercorn's, under the same guard and with the same bounds."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable

import h2.connection
import h2.events
import h2.settings
import pytest
import trio
import trustme
from h2.config import H2Configuration

from fanout.web.driver.limits import Limits
from tests.web.driver.apps import Echo
from tests.web.driver.serving import SocketWorld, get, on_socket, until
from tests.web.driver.tls import Certificate, ask, over_tls

Header = tuple[bytes, bytes]


class H2Caller:
    """A client of one HTTP/2 connection that sends what it is told, valid or not."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.connection = h2.connection.H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.connection.initiate_connection()

    async def send(self, headers: list[Header], *, stream_id: int = 1, end: bool = True) -> None:
        self.connection.send_headers(stream_id, headers, end_stream=end)
        await self.flush()

    async def flush(self) -> None:
        await self.stream.send_all(self.connection.data_to_send())

    async def status(self) -> bytes:
        while data := await self.stream.receive_some(65536):
            for event in self.connection.receive_data(bytes(data)):
                if isinstance(event, h2.events.ResponseReceived):
                    return dict(event.headers)[b":status"]
        raise AssertionError("closed without an answer")


def request(path: bytes = b"/", method: bytes = b"GET") -> list[Header]:
    return [(b":method", method), (b":authority", b"a"), (b":scheme", b"https"), (b":path", path)]


async def h2_caller(world: SocketWorld, authority: trustme.CA) -> H2Caller:
    return H2Caller(await over_tls(world, authority, "h2"))


async def test_http2_over_alpn_is_served(authority: trustme.CA, certificate: Certificate) -> None:
    app = Echo()
    async with on_socket(app, certificate=certificate) as world:
        caller = await h2_caller(world, authority)
        await caller.send(request())
        assert await caller.status() == b"200"
        assert app.scopes[0]["http_version"] == "2"
        assert app.scopes[0]["fanout.arrived_at"] <= trio.current_time()
        assert app.told_at == []  # hypercorn says so itself after every answer
        await caller.stream.aclose()
        await world.settled()
    assert world.ended == {"http2": 1}
    assert world.crashes == []


async def test_an_idle_http2_connection_does_not_hold_a_drain(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """And a running one is answered first."""
    app = Echo(slow_s=0.2)
    async with on_socket(app, certificate=certificate) as world:
        idle, busy = await h2_caller(world, authority), await h2_caller(world, authority)
        await idle.send(request())
        assert await idle.status() == b"200"
        await busy.send(request(b"/slow"))
        await until(lambda: app.running)
        world.shutdown.set()
        assert await busy.status() == b"200"
        await until(lambda: not world.nursery.child_tasks, 1)
    assert world.ended == {"http2": 2}


async def test_websockets_over_http2_are_refused(authority: trustme.CA, certificate: Certificate) -> None:
    async with on_socket(Echo(), certificate=certificate) as world:
        caller = await h2_caller(world, authority)
        extra = [(b":protocol", b"websocket"), (b"sec-websocket-version", b"13")]
        connect = request(method=b"CONNECT")
        await caller.send([*connect, extra[0], extra[1]], end=False)
        assert await caller.status() == b"403"
    assert world.crashes == []


async def test_an_http2_caller_that_gives_no_window_is_cut(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """Hypercorn waits for a window for ever."""
    app = Echo()
    async with on_socket(app, Limits(write_timeout_s=0.2), certificate=certificate) as world:
        caller = await h2_caller(world, authority)
        await caller.send(request(b"/big"))
        assert await caller.status() == b"200"
        await world.settled()
        assert app.running == 0
    assert world.ended == {"slow_reader": 1}


async def test_an_http2_caller_that_does_not_read_is_cut(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """Hypercorn shields the write, without a bound."""
    async with on_socket(Echo(), Limits(write_timeout_s=0.2), certificate=certificate) as world:
        caller = await h2_caller(world, authority)
        caller.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2**30})
        caller.connection.increment_flow_control_window(2**30)
        await caller.send(request(b"/big"))
        await world.settled()
    assert world.ended == {"slow_reader": 1}


async def test_an_http2_caller_that_leaves_within_an_answer_leaves_nothing(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """Hypercorn starts its idle timer after each answer, also when nobody is there any more."""
    app = Echo(slow_s=0.05)
    async with on_socket(app, certificate=certificate) as world:
        for after_s in (0, 0.02, 0.04, 0.05, 0.06):
            caller = await h2_caller(world, authority)
            await caller.send(request(b"/slow"))
            await trio.sleep(after_s)
            await caller.stream.aclose()
        await world.settled()
    assert world.crashes == []


async def nonascii_path(caller: H2Caller) -> None:
    await caller.send(request(b"/\xff"))


async def nonascii_method(caller: H2Caller) -> None:
    await caller.send(request(method=b"G\xff"))


async def connect_without_path(caller: H2Caller) -> None:
    await caller.send([(b":method", b"CONNECT"), (b":authority", b"a:1")])


async def data_after_the_answer(caller: H2Caller) -> None:
    await caller.send(request(method=b"POST"), end=False)
    await caller.status()
    caller.connection.send_data(1, b"x" * 100)
    await caller.flush()


async def priorities(caller: H2Caller) -> None:
    await caller.flush()
    frames = b"".join(
        b"\x00\x00\x05\x02\x00" + struct.pack(">IIB", stream, depends, 10)
        for stream, depends in ((3, 5 | 1 << 31), (5, 3 | 1 << 31), (7, 9))
    )
    await caller.stream.send_all(frames)


async def resets(caller: H2Caller) -> None:
    for stream_id in range(1, 41, 2):
        caller.connection.send_headers(stream_id, request(), end_stream=True)
        caller.connection.reset_stream(stream_id)
    await caller.flush()


async def goaway(caller: H2Caller) -> None:
    await caller.send(request(b"/slow"))
    caller.connection.close_connection()
    await caller.flush()


H2_PROBES = [
    nonascii_path,
    nonascii_method,
    connect_without_path,
    data_after_the_answer,
    priorities,
    resets,
    goaway,
]


@pytest.mark.parametrize("probe", H2_PROBES, ids=lambda probe: probe.__name__)
async def test_what_stops_hypercorn_ends_one_connection(
    probe: Callable[[H2Caller], Awaitable[None]], authority: trustme.CA, certificate: Certificate
) -> None:
    """G10. The HTTP/2 half of the twenty: a bystander's running request is answered, the server lives."""
    async with on_socket(Echo(slow_s=0.2), certificate=certificate) as world:
        bystander = await over_tls(world, authority, "http/1.1")
        await bystander.send_all(get("/slow"))
        caller = await h2_caller(world, authority)
        await probe(caller)
        assert (await ask(bystander, b""))[0] == 200
        await caller.stream.aclose()
        await bystander.aclose()
        await world.settled()
        assert (await ask(await over_tls(world, authority, "http/1.1"), get()))[0] == 200
