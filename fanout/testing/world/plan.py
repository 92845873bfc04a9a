"""A plan: everything that a world will do to the server, as values. The same plan, the same world.

Times in a plan are milliseconds of virtual time. A plan says what clients and upstreams do; what must come
of it is the oracle's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Dialling = Literal["ok", "refuse", "hang", "crash", "accept_hang", "accept_rst", "accept_fin"]
Leaving = Literal["fin", "rst", "half", "cancel", "goaway", "noise"]
Extra = Literal["ping", "priority", "unknown", "table", "grow", "shrink", "window", "continuation"]
Ask = Literal["first", "all", "own", "fixed", "garbage", "crash"]


@dataclass(frozen=True, slots=True)
class DialScript:
    """What one attempt to connect meets: `how` it ends, `after_ms`.

    `accept_*`: connected, then spoilt. `crash`: a bug of ours, which must become one loud 500 (G11).
    """

    how: Dialling = "ok"
    after_ms: int = 0


@dataclass(frozen=True, slots=True)
class CallScript:
    """What one upstream call meets.

    fault: a name of the simulator's table, `None` for a right answer; it strikes each attempt of the call.
    delay_ms: before the answer. drip_ms: how long the `drip` takes.
    follows_reserve: the delay is shorter by the time reserve for the requests in flight. So an answer that
        was drawn to come on the deadline does come then.
    dials: for the call's attempts to connect, in order; those beyond connect at once.
    cleanup_ms: how long the loop stands still while the call is stopped, if it is.
    """

    fault: str | None = None
    delay_ms: int = 0
    drip_ms: int = 0
    dials: tuple[DialScript, ...] = ()
    cleanup_ms: int = 0
    follows_reserve: bool = False


@dataclass(frozen=True, slots=True)
class Leave:
    """The client leaves without waiting for its answer: closes, resets, or half-closes and reads on.

    Over HTTP/2 it may also `cancel` the request alone (RST_STREAM), say GOAWAY, or send bytes that are no
    HTTP/2; the last two end the connection, and every request on it.

    after_ms: after the last byte of the request, or of what is sent of it.
    of_head: the share of the head's bytes that is sent at all, 0 to 1.
    """

    how: Leaving
    after_ms: int
    of_head: float = 1.0


@dataclass(frozen=True, slots=True)
class RequestScript:
    """One request, and what its calls meet. `head` are its bytes, without the field that carries its id.

    ask: a race (`own`: with a strategy that is not fanout's, see `run_plan`), a request with a fixed answer
        (`status`, `reason`), bytes that are not a request, or a request that makes the application raise: a
        bug of ours (G11).
    timeout_ms: of a race. calls: one script an upstream call.
    gap_ms: how long after the answer before it is sent. pipelined: it is sent behind the request before it
        at once, without waiting. split_at, pause_ms: sent in two parts, with a pause between them.
    stall_ms: how long the client does not read, from when it has sent the request.
    closes: it wants the connection closed. is_head: HEAD.

    Over HTTP/2, what is `pipelined` is sent on a stream of its own, each after its own gap. fields: instead
    of `head`. reset: the error with which the stream of a malformed request ends, instead of a `status`.
    extras: other frames that are sent before it; `continuation`: its head is sent in several frames.
    """

    id: int
    head: bytes
    ask: Ask
    timeout_ms: int = 0
    status: int = 0
    reason: str = ""
    calls: tuple[CallScript, ...] = ()
    gap_ms: int = 0
    pipelined: bool = False
    split_at: float = 0.0
    pause_ms: int = 0
    stall_ms: int = 0
    leave: Leave | None = None
    closes: bool = False
    is_head: bool = False
    fields: tuple[tuple[bytes, bytes], ...] = ()
    reset: int | None = None
    extras: tuple[Extra, ...] = ()

    @property
    def data(self) -> bytes:
        """The bytes to send: the head with an id that every answer must repeat."""
        if self.ask == "garbage":
            return self.head
        return self.head + b"x-request-id: w%d\r\n\r\n" % self.id


@dataclass(frozen=True, slots=True)
class Http2Script:
    """How a client speaks HTTP/2.

    window_bytes: how much of each answer's body it takes at first; then as much as it has read.
    opens_after_ms: if that is nothing, it takes the whole answer so long after it has sent the request;
        `None`: never.
    """

    window_bytes: int = 65535
    opens_after_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ClientScript:
    """One client: its requests one after the other, over as many connections as that takes.

    at_ms: when it connects. window_bytes: what it and the network take before a write to it waits.
    segment_bytes: the most that the server gets from one read; 0 for all that is there.
    http2: how it speaks HTTP/2; `None`: it speaks HTTP/1.1. tls: over TLS.
    """

    requests: tuple[RequestScript, ...]
    at_ms: int = 0
    window_bytes: int = 65536
    segment_bytes: int = 0
    http2: Http2Script | None = None
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Stall:
    """The loop stands still: something computes for `for_ms` and nothing else runs."""

    at_ms: int
    for_ms: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One world.

    calls: of each race. max_in_flight, max_connections, reserve_ms: the server's limits. addresses: of the
    upstream's name.
    silent_addresses: so many of them, from the first, swallow every attempt to connect.
    client_latency_ms, upstream_latency_ms: one way. upstream_window_bytes, upstream_segment_bytes: see
    `ClientScript`, for what the upstream sends. late_iterations: see `Network`.
    drain_at_ms: the time of SIGTERM; `None`: when all clients are done. lame_duck_ms: from then to the drain.
    min_call_ms: what a call needs, see `fanout.race.timings.Deadlines`.
    """

    clients: tuple[ClientScript, ...]
    calls: int = 2
    max_in_flight: int = 100
    max_connections: int = 10_000
    reserve_ms: int = 10
    addresses: int = 1
    silent_addresses: int = 0
    client_latency_ms: int = 0
    upstream_latency_ms: int = 0
    upstream_window_bytes: int = 65536
    upstream_segment_bytes: int = 0
    late_iterations: int = 0
    drain_at_ms: int | None = None
    lame_duck_ms: int = 0
    min_call_ms: int = 1
    stalls: tuple[Stall, ...] = ()

    @property
    def requests(self) -> tuple[RequestScript, ...]:
        return tuple(request for client in self.clients for request in client.requests)

    @property
    def has_stalls(self) -> bool:
        """Whether the loop ever stands still."""
        return bool(self.stalls) or any(call.cleanup_ms for r in self.requests for call in r.calls)
