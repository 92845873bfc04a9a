"""Every name of hypercorn's and Trio's that the driver relies on. It fails when one of them moves."""

from __future__ import annotations

import inspect
import ssl
from importlib.metadata import version
from types import FunctionType

import h2.connection
import hypercorn.trio.run
import trio
import trio.testing
from h2.config import H2Configuration
from h2.stream import H2Stream
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config, Sockets
from hypercorn.protocol.h2 import H2Protocol, StreamBuffer
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer

from fanout.web.driver.server import ConnectionServer, _worker_serve_with


def test_the_pins_are_those_the_driver_was_written_for() -> None:
    assert version("hypercorn") == "0.18.0"
    assert version("trio") == "0.35.0"
    assert version("httptools").startswith("0.9.")


def test_the_worker_finds_the_connection_class_under_a_global_name() -> None:
    worker_serve = hypercorn.trio.run.worker_serve
    assert "TCPServer" in worker_serve.__code__.co_names
    assert worker_serve.__code__.co_freevars == ()
    assert vars(hypercorn.trio.run)["TCPServer"] is TCPServer
    assert worker_serve.__defaults__ is None


def test_the_worker_calls_it_with_these_arguments_and_spawns_into_its_own_nursery() -> None:
    source = inspect.getsource(hypercorn.trio.run.worker_serve)
    call = "partial(TCPServer,app,config,context,ConnectionState(lifespan_state.copy()),)"
    assert call in "".join(source.split())
    assert "handler_nursery=server_nursery" in source
    assert "server_nursery.cancel_scope.deadline = trio.current_time() + config.graceful_timeout" in source


def test_our_copy_of_the_worker_leaves_hypercorn_as_it_is() -> None:
    ours = _worker_serve_with(ConnectionServer)
    assert isinstance(ours, FunctionType)
    assert ours.__globals__["TCPServer"] is ConnectionServer
    assert ours.__code__ is hypercorn.trio.run.worker_serve.__code__
    assert ours.__kwdefaults__ == hypercorn.trio.run.worker_serve.__kwdefaults__
    assert vars(hypercorn.trio.run)["TCPServer"] is TCPServer


def test_the_connection_class_has_what_ours_replaces_and_uses() -> None:
    assert list(inspect.signature(TCPServer.__init__).parameters) == [
        "self",
        "app",
        "config",
        "context",
        "state",
        "stream",
    ]
    assert inspect.iscoroutinefunction(TCPServer.run)
    used = set(TCPServer.__init__.__code__.co_names)
    assert {"app", "config", "context", "state", "stream"} <= used


def test_the_http2_protocol_has_what_ours_replaces_and_uses() -> None:
    assert list(inspect.signature(H2Protocol.__init__).parameters) == [
        "self",
        "app",
        "config",
        "context",
        "task_group",
        "connection_state",
        "ssl",
        "client",
        "server",
        "send",
    ]
    replaced = ("handle", "_handle_events", "stream_send", "_send_data")
    assert all(inspect.iscoroutinefunction(getattr(H2Protocol, name)) for name in replaced)
    used = ("initiate", "_close_stream", "_flush")
    assert all(inspect.iscoroutinefunction(getattr(H2Protocol, name)) for name in used)
    assert {"connection", "streams", "stream_buffers"} <= set(H2Protocol.__init__.__code__.co_names)
    assert "send_task" in H2Protocol.initiate.__code__.co_names
    assert {"_send_data", "closed"} <= set(H2Protocol.send_task.__code__.co_names)
    assert {"_handle_events", "_flush"} <= set(H2Protocol.handle.__code__.co_names)
    assert inspect.iscoroutinefunction(StreamBuffer.close)
    assert list(inspect.signature(TaskGroup.spawn_app).parameters) == [
        "self",
        "app",
        "config",
        "scope",
        "send",
    ]


def test_h2_has_what_ours_bounds() -> None:
    connection = h2.connection.H2Connection(H2Configuration(client_side=False))
    assert connection.decoder.max_header_list_size > 0
    assert connection.encoder.header_table_size == 4096
    assert connection.streams == {}
    assert isinstance(H2Stream.closed, property)


def test_configuration_has_the_attributes_that_are_set() -> None:
    config = Config()
    assert {"graceful_timeout", "errorlog", "max_app_queue_size", "keep_alive_max_requests"} <= set(
        dir(config)
    )
    http2 = {"h2_max_concurrent_streams", "h2_max_header_list_size", "h2_max_inbound_frame_size"}
    assert http2 <= set(dir(config))
    assert config.alpn_protocols == ["h2", "http/1.1"]
    assert list(Sockets.__dataclass_fields__) == ["secure_sockets", "insecure_sockets", "quic_sockets"]
    assert list(inspect.signature(ASGIWrapper.__init__).parameters) == ["self", "app"]


async def test_a_tls_stream_gives_its_context() -> None:
    context = ssl.create_default_context()
    stream, _ = trio.testing.memory_stream_pair()
    assert trio.SSLStream(stream, context, server_hostname="a").context is context
