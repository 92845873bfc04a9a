"""The upstream's side without a network: wires that play what is planned for each call, in virtual time."""

from __future__ import annotations

import itertools
import math
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from fanout.upstream.wire import Address, Wire


@dataclass(frozen=True, slots=True)
class Later:
    """What arrives `delay_s` after the request or the piece before: bytes, `b""` for FIN, an error."""

    delay_s: float
    piece: bytes | OSError


Play = Callable[[int], Sequence[Later]]  # how the upstream answers the request with this number


def says(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def payload(number: int, padding: int = 0) -> bytes:
    return b'{"time": %d, "padding": "%b"}' % (number, b"x" * padding)


def succeeds(after_s: float, padding: int = 0) -> Play:
    return lambda number: [Later(after_s, says(payload(number, padding)))]


def drips(after_s: float, every_s: float) -> Play:
    """In five pieces, cut within the head, at its end and within the body."""

    def play(number: int) -> Sequence[Later]:
        data = says(payload(number))
        cuts = [0, 12, data.index(b"\r\n\r\n") + 4, len(data) - 5, len(data) - 1, len(data)]
        pieces = [data[a:b] for a, b in itertools.pairwise(cuts)]
        return [Later(every_s if i else after_s, piece) for i, piece in enumerate(pieces)]

    return play


def fails(after_s: float) -> Play:
    return lambda number: [Later(after_s, says(b"no", b"500 Internal Server Error"))]


def breaks(after_s: float) -> Play:
    return lambda number: [
        Later(after_s, says(payload(number))[:-3]),
        Later(0, ConnectionResetError("reset")),
    ]


def is_gone(number: int) -> Sequence[Later]:
    """Closes instead of answering, as the upstream of an idle connection does."""
    return [Later(0.01, b"")]


def hangs(number: int) -> Sequence[Later]:
    return [Later(math.inf, b"")]


USUAL: Final = succeeds(0.1)


class PlannedWire(Wire):
    """Asserts what a connection must not do: be used when closed, or while an answer is still to come."""

    has_ended = False
    has_part = False

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._pending: list[Later] = []
        self.is_open = True

    def on_news(self, tell: Callable[[], bool]) -> None:
        """There never is any: what was not asked for, nobody sends here."""

    async def send_all(self, data: bytes) -> None:
        assert self.is_open
        self._pending += self._upstream.play(data)

    def send_now(self, data: bytes) -> bool:
        raise NotImplementedError("only TLS over a wire sends so, as it closes")

    async def receive(self) -> bytes:
        assert self.is_open
        piece = self._pending[0] if self._pending else Later(math.inf, b"")
        await trio.sleep(piece.delay_s)
        assert self.is_open
        del self._pending[0]
        if isinstance(piece.piece, OSError):
            raise piece.piece
        return piece.piece

    def receive_nowait(self) -> bytes | None:
        """Nothing yet: a wire that is given back too early looks quiet, as a real one would."""
        assert self.is_open
        return None

    def close(self) -> None:
        self.is_open = False

    def abort(self) -> None:
        self.is_open = False


class Upstream:
    """What `PoolTransport` reaches: `/0` and `/1` of one origin, each playing its plan, then succeeding."""

    def __init__(self) -> None:
        self.plans: dict[bytes, list[Play]] = {b"/0": [], b"/1": []}
        self.next_number = 1
        self.wires: list[PlannedWire] = []
        self.refused: set[str] = set()  # addresses
        self.dial_s = 0.001

    def play(self, request: bytes) -> Sequence[Later]:
        plan = self.plans[request.split(b" ", 2)[1]]
        number = self.next_number
        self.next_number += 1
        return (plan.pop(0) if plan else USUAL)(number)

    async def dial(self, address: Address) -> Wire:
        host = address[1][0]
        await trio.sleep(self.dial_s)
        if host in self.refused:
            raise ConnectionRefusedError(host)
        wire = PlannedWire(self)
        self.wires.append(wire)
        return wire

    async def look_up(self, host: str, port: int) -> Sequence[Address]:
        await trio.lowlevel.checkpoint()
        return [(socket.AF_INET, ("192.0.2.1", port)), (socket.AF_INET, ("192.0.2.2", port))]

    @property
    def open_wires(self) -> int:
        return sum(wire.is_open for wire in self.wires)
