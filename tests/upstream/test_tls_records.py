"""G10: an upstream cannot stop the event loop with TLS records that bring no data."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trustme

from fanout.loop.tls import MAX_USELESS
from fanout.upstream.messages import Origin
from fanout.upstream.tls import TlsSessions, TlsWire, client_context
from tests.openssl import Peer

_CHUNKS = 50


class Below:
    """A wire to an upstream that always has more to say: `chunk` bytes, `_CHUNKS` times."""

    has_ended = False
    has_part = False

    def __init__(self, upstream: Peer) -> None:
        self.upstream = upstream
        self.chunk: Callable[[], object] = bytes
        self.left = 0

    def on_news(self, tell: Callable[[], bool]) -> None:
        pass

    async def send_all(self, data: bytes) -> None:
        self.upstream.hears(data)
        self.upstream.shake_hands()
        await trio.lowlevel.checkpoint()

    def send_now(self, data: bytes) -> bool:
        raise NotImplementedError("only TLS over a wire sends so, as it closes")

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.receive_nowait() or self.upstream.says()

    def receive_nowait(self) -> bytes | None:
        if not self.left:
            return None
        self.left -= 1
        self.chunk()
        return self.upstream.says()

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


@asynccontextmanager
async def connected(directory: Path) -> AsyncIterator[tuple[TlsWire, Below]]:
    authority = trustme.CA()
    certificate = authority.issue_cert("a.test")
    chain, key = str(directory / "chain.pem"), str(directory / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(chain)
    certificate.private_key_pem.write_to_path(key)
    context = client_context(None)
    authority.configure_trust(context)
    below = Below(Peer((chain, key)))
    try:
        wire = TlsWire(below, TlsSessions(context), Origin("https", "a.test", 443))
        await wire.handshake()
        yield wire, below
    finally:
        below.upstream.close()


def changes_keys(upstream: Peer) -> None:
    for _ in range(20):
        upstream.change_keys(both=True)


async def test_an_upstream_that_only_changes_keys_is_left_when_it_is_looked_at(tmp_path: Path) -> None:
    """It is looked at within one event-loop iteration, for as long as it has more to say."""
    async with connected(tmp_path) as (wire, below):
        below.left, below.chunk = _CHUNKS, lambda: changes_keys(below.upstream)
        with pytest.raises(OSError, match="bring no data"):
            wire.receive_nowait()
        assert below.left >= _CHUNKS - 2


async def test_an_upstream_that_only_changes_keys_is_left_when_it_is_waited_for(tmp_path: Path) -> None:
    async with connected(tmp_path) as (wire, below):
        below.left, below.chunk = _CHUNKS, lambda: changes_keys(below.upstream)
        with trio.fail_after(5), pytest.raises(OSError, match="bring no data"):
            await wire.receive()
        assert below.left >= _CHUNKS - 2


async def test_data_in_front_of_too_many_changes_of_keys_is_read_first(tmp_path: Path) -> None:
    """Else a call whose answer had begun would be made again."""
    async with connected(tmp_path) as (wire, below):

        def speak() -> None:
            below.upstream.write(b"a")
            for _ in range(MAX_USELESS + 1):
                below.upstream.change_keys(both=False)

        below.left, below.chunk = 1, speak
        assert await wire.receive() == b"a"
        with pytest.raises(OSError, match="bring no data"):
            wire.receive_nowait()


async def test_records_with_data_between_changes_of_keys_are_read(tmp_path: Path) -> None:
    async with connected(tmp_path) as (wire, below):

        def speak() -> None:
            below.upstream.change_keys(both=False)
            below.upstream.write(b"a")

        below.left, below.chunk = _CHUNKS, speak
        for _ in range(_CHUNKS):
            assert await wire.receive() == b"a"
        assert wire.receive_nowait() is None
