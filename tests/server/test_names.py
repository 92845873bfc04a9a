"""Every name of hypercorn's and Trio's that the driver relies on. It fails when one of them moves."""

from __future__ import annotations

import inspect
from importlib.metadata import version

import h2.connection
from h2.config import H2Configuration
from h2.stream import H2Stream
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.protocol.h2 import H2Protocol, StreamBuffer
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.task_group import TaskGroup


def test_the_pins_are_those_the_driver_was_written_for() -> None:
    assert version("hypercorn") == "0.18.0"
    assert version("trio") == "0.35.0"
    assert version("httptools").startswith("0.9.")


def test_the_lifespan_has_what_is_called() -> None:
    assert list(inspect.signature(Lifespan.__init__).parameters) == ["self", "app", "config", "state"]
    called = ("handle_lifespan", "wait_for_startup", "wait_for_shutdown")
    assert all(inspect.iscoroutinefunction(getattr(Lifespan, name)) for name in called)


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
    assert list(inspect.signature(ASGIWrapper.__init__).parameters) == ["self", "app"]
