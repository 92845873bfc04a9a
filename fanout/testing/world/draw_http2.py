"""Clients of a plan that speak HTTP/2 instead, drawn from a source of their own."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Final, cast, get_args

from fanout.testing.world.plan import ClientScript, Extra, Http2Script, Leave, Leaving, Plan, RequestScript

_SHARES: Final = (0.05, 0.1, 0.2)  # of the clients
_FEW_BYTES: Final = 7  # at once: with less, most of a run's time is spent on frames
_EXTRAS: Final = cast(tuple[Extra, ...], get_args(Extra))
_TINY_BYTES: Final = (50, 100, 1000)  # less is a flood of WINDOW_UPDATE
_LEAVING: Final[tuple[Leaving, ...]] = ("cancel", "cancel", "cancel", "goaway", "noise")
_AFTER_MS: Final = (0, 0, 1, 10, 50, 100, 300)
_PROTOCOL_ERROR: Final = 0x1

_HEAD: Final = ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/api/first"), (b":authority", b"a"))
# The fields of a request that is none, the status that it deserves, or the error that ends its stream.
_MALFORMED: Final[tuple[tuple[tuple[tuple[bytes, bytes], ...], int, int | None], ...]] = (
    (_HEAD[:2], 0, _PROTOCOL_ERROR),
    ((*_HEAD, (b"connection", b"close")), 0, _PROTOCOL_ERROR),
    ((*_HEAD, (b"X-Upper", b"1")), 0, _PROTOCOL_ERROR),
    ((*_HEAD, (b"te", b"gzip")), 0, _PROTOCOL_ERROR),
    ((*_HEAD, (b":status", b"200")), 0, _PROTOCOL_ERROR),
    (_HEAD[:3], 400, None),
    (((b":method", b"BREW"), *_HEAD[1:]), 501, None),
    ((*_HEAD, (b"expect", b"more")), 417, None),
    ((*_HEAD[:2], (b":path", b"/" + b"x" * 9000), _HEAD[3]), 414, None),
    ((*_HEAD, (b"x", b"y" * 16_500)), 431, None),
)


def with_http2(plan: Plan, dice: random.Random) -> Plan:
    """A share of the clients speaks HTTP/2. They ask for the same, at the same time."""
    share = dice.choice(_SHARES)
    clients = tuple(_client(client, dice) if dice.random() < share else client for client in plan.clients)
    return replace(plan, clients=clients)


def _client(client: ClientScript, dice: random.Random) -> ClientScript:
    requests = tuple(_request(request, dice) for request in client.requests)
    segment_bytes = client.segment_bytes and max(client.segment_bytes, _FEW_BYTES)
    return replace(client, requests=requests, segment_bytes=segment_bytes, http2=_windows(client, dice))


def _windows(client: ClientScript, dice: random.Random) -> Http2Script:
    chance = dice.random()
    if chance < 0.75:
        return Http2Script()
    if chance < 0.85:
        return Http2Script(dice.choice(_TINY_BYTES))
    if chance < 0.95:
        timeout_ms = max(1, client.requests[0].timeout_ms)
        return Http2Script(0, dice.choice((1, 50, timeout_ms, 900, 11_000)))
    return Http2Script(0)


def _request(request: RequestScript, dice: random.Random) -> RequestScript:
    request = replace(request, closes=False, leave=_leave(request, dice))
    if request.ask == "garbage":
        fields, status, reset = dice.choice(_MALFORMED)
        request = replace(request, fields=fields, status=status, reset=reset)
    if dice.random() < 0.6:
        request = replace(request, pipelined=True, gap_ms=dice.choice((0, 0, 0, 1, 20)))
    if dice.random() < 0.15:
        request = replace(request, extras=tuple(dice.sample(_EXTRAS, dice.choice((1, 1, 2)))))
    return request


def _leave(request: RequestScript, dice: random.Random) -> Leave | None:
    chance = dice.random()
    if request.leave is None:
        after_ms = dice.choice((*_AFTER_MS, *(call.delay_ms for call in request.calls)))
        return Leave("cancel", after_ms) if chance < 0.08 else None
    return Leave(dice.choice(_LEAVING), request.leave.after_ms) if chance < 0.8 else request.leave
