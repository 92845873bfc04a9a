"""Every name of hypercorn's and Trio's that the driver relies on. It fails when one of them moves."""

from __future__ import annotations

import inspect
from importlib.metadata import version

import h2.connection
from h2.config import H2Configuration
from h2.stream import H2Stream
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan


def test_the_pins_are_those_the_driver_was_written_for() -> None:
    assert version("hypercorn") == "0.18.0"
    assert version("trio") == "0.35.0"
    assert version("httptools").startswith("0.9.")


def test_the_lifespan_has_what_is_called() -> None:
    assert list(inspect.signature(Lifespan.__init__).parameters) == ["self", "app", "config", "state"]
    called = ("handle_lifespan", "wait_for_startup", "wait_for_shutdown")
    assert all(inspect.iscoroutinefunction(getattr(Lifespan, name)) for name in called)


def test_h2_has_what_ours_bounds() -> None:
    connection = h2.connection.H2Connection(H2Configuration(client_side=False))
    assert connection.decoder.max_header_list_size > 0
    assert connection.encoder.header_table_size == 4096
    assert connection.streams == {}
    assert isinstance(H2Stream.closed, property)


def test_configuration_has_the_attributes_that_are_set() -> None:
    config = Config()
    assert {"errorlog", "certfile", "keyfile"} <= set(dir(config))
    assert config.accesslog is None
    assert config.alpn_protocols == ["h2", "http/1.1"]
    assert list(inspect.signature(ASGIWrapper.__init__).parameters) == ["self", "app"]
