"""Plans drawn from a seed. Close calls are drawn on purpose: two answers at once, one on the deadline."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, TypeVar

from fanout.testing.world.draw_http2 import with_http2
from fanout.testing.world.plan import (
    CallScript,
    ClientScript,
    Dialling,
    DialScript,
    Leave,
    Leaving,
    Plan,
    RequestScript,
    Stall,
)
from fanout.tools.simulator.faults import FAULTS

T = TypeVar("T")
CALLS: Final = 2
_HEAVY: Final = frozenset({"gzip_bomb", "huge_head", "endless_head", "endless_informational", "huge_body"})
_CRASHES: Final = 0.004  # the share of requests
_LATE_CONNECTIONS: Final = 0.03  # the share of calls
_IN_A_STALL: Final = 0.8  # the share of clients
_BEFORE_THE_DRAIN: Final = 0.3
_ROOM: Final = 65536
_TLS_SHARES: Final = (0.0, 0.05, 0.2)  # of the clients
_GAPS_MS: Final = range(10, 60)
_LIGHT_FAULTS: Final = tuple(name for name in FAULTS if name not in _HEAVY)
_HEAVY_FAULTS: Final = tuple(sorted(_HEAVY))
_DIALLING: Final[tuple[Dialling, ...]] = (
    *("ok", "ok", "ok", "refuse", "refuse", "hang", "hang"),
    *("accept_hang", "accept_rst", "accept_fin", "crash"),
)
_LEAVING: Final[tuple[Leaving, ...]] = ("fin", "rst", "half")
_FIXED: Final[tuple[tuple[bytes, int, str], ...]] = (
    (b"GET /", 303, ""),
    (b"GET /openapi.json", 200, ""),
    (b"GET /api/none", 404, "not_found"),
    (b"GET /api//first", 404, "not_found"),
    (b"POST /api/first", 405, "method_not_allowed"),
    (b"GET /api/first?timeout=", 400, "invalid_timeout"),
    (b"GET /api/first?timeout=0", 400, "invalid_timeout"),
    (b"GET /api/all?timeout=-1", 400, "invalid_timeout"),
    (b"GET /api/all?timeout=1.5", 400, "invalid_timeout"),
    (b"GET /api/first?timeout=+7", 400, "invalid_timeout"),
    (b"GET /api/first?timeout=1&timeout=1", 400, "invalid_timeout"),
    (b"GET /api/all?timeout=30001", 400, "invalid_timeout"),
)
_GARBAGE: Final[tuple[tuple[bytes, int], ...]] = (
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    (b"GET /api/first HTTP/1.1\r\n\r\n", 400),
    (b"GET  /api/first HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    (b"GET /api/first HTTP/1.1\r\nhost : a\r\n\r\n", 400),
    (b"GET /api/first HTTP/1.1\nhost: a\n\n", 400),
    (b"GET /api/first HTTP/3.0\r\nhost: a\r\n\r\n", 505),
    (b"BREW /api/first HTTP/1.1\r\nhost: a\r\n\r\n", 501),
    (b"GET /api/first HTTP/1.1\r\nhost: a\r\nexpect: more\r\n\r\n", 417),
    (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nhost: a\r\n\r\n", 414),
    (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 17_000 + b"\r\n\r\n", 431),
)


def draw_plan(seed: int, requests: int) -> Plan:
    """The plan of this seed, with about so many requests (a drain in the middle leaves some unasked)."""
    plan = _Drawing(random.Random(f"world {seed}"), requests).plan()
    # Random sources of their own, so the other simulation runs stay the same.
    if plan.drain_at_ms is not None:
        lame_duck_ms = random.Random(f"lame duck {seed}").choice((0, 100, 2000))
        plan = replace(plan, lame_duck_ms=lame_duck_ms)
    plan = _with_late_connections(plan, random.Random(f"late connections {seed}"))
    plan = _with_crashes(plan, random.Random(f"crashes {seed}"))
    plan = _with_rushes(plan, random.Random(f"rushes {seed}"))
    plan = with_http2(plan, random.Random(f"http2 {seed}"))
    plan = _with_tls(plan, random.Random(f"tls {seed}"))
    if plan.addresses > 1 and random.Random(f"silent address {seed}").random() < 0.4:
        return with_a_silent_address(plan)
    return plan


def _with_crashes(plan: Plan, dice: random.Random) -> Plan:
    """A few requests make the application raise."""

    def of(request: RequestScript) -> RequestScript:
        if request.ask == "garbage" or request.is_head or dice.random() >= _CRASHES:
            return request
        return replace(request, ask="crash", status=500, reason="internal", calls=(), timeout_ms=0)

    clients = tuple(
        replace(client, requests=tuple(of(request) for request in client.requests)) for client in plan.clients
    )
    return replace(plan, clients=clients)


def _with_late_connections(plan: Plan, dice: random.Random) -> Plan:
    """Some calls have a connection when about as much time is left as a call needs."""
    needs_ms = dice.choice((1, 1, 5, 30))

    def of(request: RequestScript) -> RequestScript:
        return replace(request, calls=tuple(of_call(call, request.timeout_ms) for call in request.calls))

    def of_call(call: CallScript, timeout_ms: int) -> CallScript:
        after_ms = timeout_ms - plan.reserve_ms - needs_ms - dice.choice((-1, 0, 1, 2))
        if dice.random() >= _LATE_CONNECTIONS or after_ms < 0:
            return call
        return replace(call, dials=(DialScript("ok", after_ms),))

    clients = tuple(
        replace(client, requests=tuple(of(request) for request in client.requests)) for client in plan.clients
    )
    return replace(plan, clients=clients, min_call_ms=needs_ms)


def _with_rushes(plan: Plan, dice: random.Random) -> Plan:
    """Many clients send a request at the moment of a stall, or just before the graceful shutdown.

    They are connected by then. Some of those before the shutdown disconnect during it.
    """
    moments = [stall.at_ms for stall in plan.stalls[:2]]
    share, share_that_leaves = _IN_A_STALL, 0.0
    if plan.drain_at_ms is not None:
        drained_at_ms = plan.drain_at_ms + plan.lame_duck_ms
        moments = [max(0, drained_at_ms - before_ms) for before_ms in (0, 1, 3, 10, 30)]
        share, share_that_leaves = _BEFORE_THE_DRAIN, 0.3
    if not moments:
        return plan

    def of(client: ClientScript) -> ClientScript:
        if dice.random() >= share:
            return client
        at_ms, gap_ms = _before(dice.choice(moments), plan.client_latency_ms)
        first = replace(client.requests[0], gap_ms=gap_ms)
        if dice.random() < share_that_leaves:
            leave = Leave(dice.choice(_LEAVING), dice.choice((10, 30, 50, 100)))
            first = replace(first, leave=leave)
        return replace(client, at_ms=at_ms, requests=(first, *client.requests[1:]))

    return replace(plan, clients=tuple(map(of, plan.clients)))


def _before(moment_ms: int, latency_ms: int) -> tuple[int, int]:
    """When to connect, and how long to wait then, so that a request arrives at exactly this moment.

    Exact to the last bit, so that both happen in one event-loop iteration.
    """
    for gap_ms in _GAPS_MS:
        at_ms = moment_ms - latency_ms - gap_ms
        if at_ms >= 0 and at_ms / 1000 + gap_ms / 1000 + latency_ms / 1000 == moment_ms / 1000:
            return at_ms, gap_ms
    return moment_ms, 0


def _with_tls(plan: Plan, dice: random.Random) -> Plan:
    """Some clients speak over TLS: of those that read, because it is not seen what waits below TLS."""
    share = dice.choice(_TLS_SHARES)
    clients = tuple(
        replace(
            client, tls=dice.random() < share and client.segment_bytes != 1 and client.window_bytes >= _ROOM
        )
        for client in plan.clients
    )
    return replace(plan, clients=clients)


def with_a_silent_address(plan: Plan) -> Plan:
    """The first address never answers a connect attempt; the others always work."""

    def of(request: RequestScript) -> RequestScript:
        return replace(request, calls=tuple(replace(call, dials=()) for call in request.calls))

    clients = tuple(
        replace(client, requests=tuple(of(request) for request in client.requests)) for client in plan.clients
    )
    return replace(plan, clients=clients, silent_addresses=1)


class _Drawing:
    def __init__(self, dice: random.Random, requests: int) -> None:
        self._dice = dice
        self._left = requests
        self._number = 0
        self._reserve_ms = dice.choice((0, 1, 10, 25))
        self._latency_ms = dice.choice((0, 0, 0, 1, 7))
        self._stalls = dice.random() < 0.1
        self._bad = dice.choice((0.1, 0.3, 0.7))  # the share of calls that are not plainly answered
        self._lasts_ms = requests * dice.choice((5, 15, 30))

    def plan(self) -> Plan:
        dice = self._dice
        clients = []
        while self._left > 0:
            clients.append(self._client())
        stalls: tuple[Stall, ...] = ()
        if self._stalls:
            stalls = tuple(Stall(self._moment(), dice.choice((3, 60, 200))) for _ in range(5))
        return Plan(
            tuple(clients),
            max_in_flight=dice.choice((3, 10, 30, 100, 1000, 1000)),
            max_connections=dice.choice((20, 10_000, 10_000, 10_000, 10_000, 10_000)),
            reserve_ms=self._reserve_ms,
            addresses=dice.choice((1, 1, 1, 2)),
            client_latency_ms=dice.choice((0, 0, 3)),
            upstream_latency_ms=self._latency_ms,
            upstream_window_bytes=dice.choice((65536, 65536, 65536, 4096)),
            upstream_segment_bytes=dice.choice((0, 0, 0, 0, 0, 0, 0, 0, 0, 61)),
            drain_at_ms=(self._lasts_ms + self._moment()) // 2 if self._chance(0.25) else None,
            stalls=stalls,
            late_iterations=dice.choice((0, 0, 0, 2, 12)),
        )

    def _chance(self, share: float) -> bool:
        return self._dice.random() < share

    def _pick(self, values: Sequence[T]) -> T:
        return values[int(self._dice.random() * len(values))]

    def _moment(self) -> int:
        return int(self._dice.random() * self._lasts_ms)

    def _client(self) -> ClientScript:
        count = min(self._left, self._pick((1, 2, 3, 5, 9, 20)))
        self._left -= count
        window = 65536 if self._chance(0.9) else self._pick((100, 400, 1000))
        return ClientScript(
            tuple(self._request(window) for _ in range(count)),
            at_ms=self._moment(),
            window_bytes=window,
            segment_bytes=0 if self._chance(0.9) else self._pick((1, 7, 50)),
        )

    def _request(self, window: int) -> RequestScript:
        self._number += 1
        share = self._dice.random()
        if share < 0.04:
            data, status = self._pick(_GARBAGE)
            request = RequestScript(self._number, data, "garbage", status=status)
        else:
            request = self._asked(fixed=share < 0.10)
        changes = self._manners(window)
        return RequestScript(**{name: getattr(request, name) for name in RequestScript.__slots__} | changes)

    def _asked(self, *, fixed: bool) -> RequestScript:
        is_head = self._chance(0.01)
        old = self._chance(0.02)
        closes = self._chance(0.03) or old
        tail = b" HTTP/1.0\r\nhost: a\r\n" if old else b" HTTP/1.1\r\nhost: a\r\n"
        if closes and not old:
            tail += b"connection: close\r\n"
        if fixed:
            line, status, reason = self._pick(_FIXED)
            return RequestScript(
                self._number, line + tail, "fixed", status=status, reason=reason, closes=closes
            )
        strategy = self._pick(("first", "all"))
        timeout_ms = self._timeout_ms()
        query = b"" if timeout_ms == 1000 else b"?timeout=%d" % timeout_ms
        method = b"HEAD" if is_head else b"GET"
        return RequestScript(
            self._number,
            method + b" /api/" + strategy.encode() + query + tail,
            "first" if strategy == "first" else "all",
            timeout_ms=timeout_ms,
            calls=self._calls(timeout_ms),
            closes=closes,
            is_head=is_head,
        )

    def _timeout_ms(self) -> int:
        if self._chance(0.1):
            return max(1, self._reserve_ms + self._pick((-1, 0, 1, 2)))
        return self._pick((20, 50, 100, 300, 300, 1000, 1000, 2500))

    def _calls(self, timeout_ms: int) -> tuple[CallScript, ...]:
        delays = [self._delay_ms(timeout_ms) for _ in range(CALLS)]
        if self._chance(0.1):
            delays[1] = delays[0]  # both at once
        return tuple(self._call(*delay) for delay in delays)

    def _delay_ms(self, timeout_ms: int) -> tuple[int, bool]:
        """The delay of an answer, and whether the answer is meant to come around the deadline."""
        share = self._dice.random()
        if share < 0.1:
            last = timeout_ms - self._reserve_ms - 2 * self._latency_ms
            return max(0, last + self._pick((-1, 0, 0, 1))), True
        if share < 0.2:
            return self._pick((0, 0, 1, 5)), False
        return int(self._dice.random() * self._pick((50, 200, 600))), False

    def _call(self, delay_ms: int, follows_reserve: bool) -> CallScript:
        fault = None
        if self._chance(self._bad):
            fault = self._pick(_LIGHT_FAULTS) if self._chance(0.98) else self._pick(_HEAVY_FAULTS)
        dials: tuple[DialScript, ...] = ()
        if self._chance(0.1):
            dials = tuple(self._dial() for _ in range(self._pick((1, 1, 2, 3))))
        cleanup_ms = self._pick((50, 300, 1000)) if self._stalls and self._chance(0.05) else 0
        drip_ms = self._pick((0, 10, 200))
        return CallScript(fault, delay_ms, drip_ms, dials, cleanup_ms, follows_reserve)

    def _dial(self) -> DialScript:
        how: Dialling = self._pick(_DIALLING)
        return DialScript(how, after_ms=self._pick((0, 0, 1, 20, 300)))

    def _manners(self, window: int) -> dict[str, object]:
        """What is unusual in how the request is sent and its answer taken."""
        share = self._dice.random()
        manners: dict[str, object] = {"gap_ms": self._pick((0, 0, 0, 1, 20, 200))}
        if share < 0.15:
            manners["pipelined"] = True
        elif share < 0.25:
            manners["leave"] = self._leave()
        elif share < 0.30:
            manners |= {"split_at": self._dice.random(), "pause_ms": self._pick((0, 1, 50, 900, 11_000))}
        elif share < 0.35 or window < 1000:
            manners["stall_ms"] = self._pick((1, 100, 2000, 2000, 15_000))
        return manners

    def _leave(self) -> Leave:
        of_head = 1.0 if self._chance(0.8) else self._dice.random()
        return Leave(self._pick(_LEAVING), self._pick((0, 0, 1, 10, 50, 100, 300)), of_head)
