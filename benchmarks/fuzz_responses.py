"""Fuzz what an upstream may send, with coverage as the guide (atheris).

    python benchmarks/fuzz_responses.py -max_total_time=3600 corpus/

It starts from the answers that the tests know, because the parser itself, in C, gives no coverage.
The first bytes of an input say how the rest is cut into pieces and which method was used; then one
call is made over a wire that delivers them, and another on the same connection if it was kept. It
crashes when an exception comes out that is not httpx's, when a call does not end, or when the pool's
counts do not add up. The short form is in `tests/upstream/test_answer.py`.
"""

from __future__ import annotations

import ssl
import sys
import tempfile
from pathlib import Path

import atheris
import httpx
import trio

with atheris.instrument_imports(include=["fanout.upstream"]):
    from fanout.upstream.transport import PoolTransport
    from fanout.upstream.wire import Address, Wire

from tests.upstream.test_answer import MALFORMED, NOT_REUSABLE, REUSABLE

URL = "http://192.0.2.1/"
CONTEXT = ssl.create_default_context()


class FuzzedWire:
    """Delivers its pieces one after the other, then the end."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces
        self.is_closed = False

    async def send_all(self, data: bytes) -> None:
        assert not self.is_closed

    def send_now(self, data: bytes) -> bool:
        raise NotImplementedError("only TLS over a wire sends so, as it closes")

    async def receive(self) -> bytes:
        assert not self.is_closed
        return self._pieces.pop(0) if self._pieces else b""

    def receive_nowait(self) -> bytes | None:
        return None

    def close(self) -> None:
        self.is_closed = True

    abort = close


def pieces_of(data: bytes, cuts: bytes) -> list[bytes]:
    pieces = []
    for size in cuts:
        if size and data:
            pieces.append(data[:size])
            data = data[size:]
    return [*pieces, data] if data else pieces


async def two_calls(method: str, wire: FuzzedWire) -> None:
    wires = [wire]

    async def dial(address: Address) -> Wire:
        if not wires:
            raise ConnectionRefusedError
        return wires.pop()

    transport = PoolTransport(max_connections=1, max_body_bytes=1000, ssl_context=CONTEXT, dial=dial)
    for _ in range(2):
        try:
            response = await transport.handle_async_request(httpx.Request(method, URL))
            assert 100 <= response.status_code <= 999
            assert len(response.content) <= 1000
        except (httpx.TransportError, httpx.DecodingError):
            pass
        [origin] = transport.statistics().origins
        assert origin.in_use == origin.connecting == 0
        assert origin.opened == origin.open + sum(origin.closed.values())
        if not origin.idle:
            assert wire.is_closed
            break


def one_input(data: bytes) -> None:
    """Called by atheris inside `trio.run`, so the call can be driven by hand: nothing here ever waits."""
    if len(data) < 10:
        return
    method = "HEAD" if data[0] & 1 else "GET"
    coroutine = two_calls(method, FuzzedWire(pieces_of(data[10:], data[1:10])))
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("a call waits although its upstream has closed")


def write_seeds(folder: Path) -> None:
    for number, answer in enumerate([*REUSABLE.values(), *NOT_REUSABLE.values(), *MALFORMED.values()]):
        (folder / str(number)).write_bytes(bytes([0, 40, *bytes(8)]) + answer)


async def main() -> None:
    await trio.lowlevel.checkpoint()
    with tempfile.TemporaryDirectory() as seeds:
        write_seeds(Path(seeds))
        atheris.Setup([*sys.argv, seeds], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    trio.run(main)
