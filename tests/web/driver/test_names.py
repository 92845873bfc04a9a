"""Every name of hypercorn's and Trio's that the driver relies on. It fails when one of them moves."""

from __future__ import annotations

import inspect
import ssl
from importlib.metadata import version
from types import FunctionType

import hypercorn.trio.run
import trio
import trio.testing
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config, Sockets
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import TrioSingleTask

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
    assert inspect.iscoroutinefunction(TCPServer.protocol_send)
    assert "_read_data" in TCPServer.run.__code__.co_names
    assert inspect.iscoroutinefunction(TrioSingleTask.stop)
    assert "idle_task" in TCPServer.__init__.__code__.co_names
    used = set(TCPServer.__init__.__code__.co_names)
    assert {"app", "config", "context", "state", "stream", "send_lock"} <= used
    assert "protocol" in TCPServer.run.__code__.co_names
    assert "shield = True" in inspect.getsource(
        TCPServer.protocol_send
    )  # when this goes, so may our override


def test_http2_is_chosen_by_alpn_alone() -> None:
    source = inspect.getsource(ProtocolWrapper.__init__)
    assert 'if alpn_protocol == "h2":' in source
    assert inspect.iscoroutinefunction(H2Protocol.handle)


def test_configuration_has_the_attributes_that_are_set() -> None:
    config = Config()
    assert {"keep_alive_timeout", "graceful_timeout", "errorlog"} <= set(dir(config))
    assert config.alpn_protocols == ["h2", "http/1.1"]
    assert list(Sockets.__dataclass_fields__) == ["secure_sockets", "insecure_sockets", "quic_sockets"]
    assert list(inspect.signature(ASGIWrapper.__init__).parameters) == ["self", "app"]


async def test_a_tls_stream_gives_its_context() -> None:
    context = ssl.create_default_context()
    stream, _ = trio.testing.memory_stream_pair()
    assert trio.SSLStream(stream, context, server_hostname="a").context is context
