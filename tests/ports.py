"""Ports that are in a certain state for as long as a test needs them to be."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def port_without_listener() -> Iterator[int]:
    """It refuses connections. It stays bound, or another test that asks for any port could get it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
