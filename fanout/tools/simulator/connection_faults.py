"""Faults of a whole connection, drawn when it is accepted, before a byte of a request is read.

Rule 1: those of the TLS handshake never strike a plain connection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fanout.tools.simulator.fault import Kind
from fanout.tools.simulator.script import Cut, Hang, Reset, Send, Step, head

Handshake = Callable[[bytes], tuple[Step, ...]]


@dataclass(frozen=True, slots=True)
class ConnectionFault:
    """One way to spoil a connection.

    kind: of a handshake fault over TLS, of the others over a plain connection; see `kind_over`.
    in_handshake: needs TLS; the ClientHello is read first.
    steps: what to do, given the bytes with which an honest server would begin its handshake
        (none unless `in_handshake`).
    """

    name: str
    summary: str
    kind: Kind
    in_handshake: bool
    steps: Handshake

    @property
    def verdict(self) -> str:
        return f"failure: {self.kind}"

    def kind_over(self, *, tls: bool) -> Kind | None:
        """What a strict client makes of it over TLS, or over a plain connection; `None`: a success.

        Under TLS a connection that ends before its handshake is done was never there.
        """
        if not tls:
            return None if self.in_handshake else self.kind
        return "hang" if self.kind == "hang" else "unreachable"


CONNECTION_FAULTS: Final[dict[str, ConnectionFault]] = {
    fault.name: fault
    for fault in (
        ConnectionFault("accept_hang", "Accepted, then silence.", "hang", False, lambda _: (Hang(),)),
        ConnectionFault("accept_rst", "Accepted, then RST.", "broken", False, lambda _: (Reset(),)),
        ConnectionFault("accept_fin", "Accepted, then FIN.", "broken", False, lambda _: (Cut(),)),
        ConnectionFault(
            "handshake_hang",
            "Half of the server's TLS handshake, then silence.",
            "hang",
            True,
            lambda flight: (Send(flight[: len(flight) // 2]), Hang()),
        ),
        ConnectionFault(
            "handshake_rst",
            "Half of the server's TLS handshake, then RST.",
            "unreachable",
            True,
            lambda flight: (Send(flight[: len(flight) // 2]), Reset()),
        ),
        ConnectionFault(
            "handshake_fin",
            "Half of the server's TLS handshake, then FIN.",
            "unreachable",
            True,
            lambda flight: (Send(flight[: len(flight) // 2]), Cut()),
        ),
        ConnectionFault(
            "handshake_garbage",
            "Plain HTTP instead of a ServerHello, then FIN.",
            "unreachable",
            True,
            lambda _: (Send(head(400, "Content-Length: 0", "Connection: close")), Cut()),
        ),
    )
}
