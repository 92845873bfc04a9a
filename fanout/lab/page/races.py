"""The races that the player shows: what the client sends, and how the upstream answers each call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fanout.testing.world.plan import Ask, CallScript, ClientScript, DialScript, Plan, RequestScript


@dataclass(frozen=True, slots=True)
class RecordedRace:
    """One race to record. look_at: what to watch, in a sentence or two."""

    name: str
    target: str
    timeout_ms: int
    calls: tuple[CallScript, CallScript]
    look_at: str
    silent_addresses: int = 0

    def plan(self) -> Plan:
        """One client that sends one request, and disconnects when it has the answer."""
        head = f"GET {self.target} HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n".encode("ascii")
        ask: Ask = "first" if self.target.startswith("/api/first") else "all"
        request = RequestScript(0, head, ask, self.timeout_ms, calls=self.calls)
        return Plan(
            (ClientScript((request,)),),
            addresses=1 + self.silent_addresses,
            silent_addresses=self.silent_addresses,
            upstream_latency_ms=1,
        )


def _call(
    delay_ms: int, *, fault: str | None = None, connect_ms: int = 5, crashes: bool = False
) -> CallScript:
    return CallScript(fault, delay_ms, dials=(DialScript("crash" if crashes else "ok", connect_ms),))


RACES: Final = (
    RecordedRace(
        "A winner ends its loser",
        "/api/first?timeout=1000",
        1000,
        (_call(50), _call(700)),
        "Call 0 settles the race and cancels the nursery. Call 1 ends in the next iteration, and only then "
        "does the server write the answer.",
    ),
    RecordedRace(
        "A failure does not win",
        "/api/first?timeout=1000",
        1000,
        (_call(20, fault="status"), _call(80, connect_ms=6)),
        "Call 0 ends first, with a bad status. Nothing is cancelled, and the race waits for call 1.",
    ),
    RecordedRace(
        "The deadline",
        "/api/all?timeout=200",
        200,
        (_call(60), _call(400, connect_ms=6)),
        "At 190 ms, the timeout minus the time reserve, the deadline's scope cancels what still runs.",
    ),
    RecordedRace(
        "A silent address",
        "/api/first?timeout=1000",
        1000,
        (_call(50), _call(90)),
        "One of the two addresses drops every packet. Each call has tasks of its own that connect; they end "
        "with the call.",
        silent_addresses=1,
    ),
    RecordedRace(
        "A bug in a call",
        "/api/first?timeout=1000",
        1000,
        (_call(0, connect_ms=30, crashes=True), _call(90)),
        "An unexpected exception becomes an outcome: it cancels the other call, and the answer is a 500.",
    ),
)
