"""What is swept: each script over plain sockets and over TLS, with what is to come of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from fanout.server.statistics import End
from tests.faults import scripts
from tests.faults.stage import OnListener, Script


@dataclass(frozen=True, slots=True)
class Situation:
    """statuses: what the victim, or the client of the upstream that is one, gets when nothing is done; end:
    how its connection ends then.

    listener: which a fresh client is served by afterwards. before: done first, and not struck. drains: the
    server is shut down in it, so each run has its own.
    """

    name: str
    script: Script
    statuses: tuple[int, ...]
    end: End | None
    side: Literal["client", "upstream"] = "client"
    listener: str = "plain"
    before: Script = scripts.nothing
    drains: bool = False
    tls_upstream: bool = False

    def __str__(self) -> str:
        return self.name


_CLIENTS: Final[tuple[tuple[str, OnListener, tuple[int, ...], End], ...]] = (
    ("two requests", scripts.two_requests, (200, 200), End.CLIENT_DISCONNECTED),
    ("a head in pieces", scripts.head_in_pieces, (200,), End.CLIENT_DISCONNECTED),
    ("pipelined requests", scripts.pipelined, (200, 200, 404), End.CLIENT_DISCONNECTED),
    ("a body in pieces", scripts.body, (200,), End.CLIENT_DISCONNECTED),
    ("connection: close", scripts.says_close, (404,), End.ANSWERED),
    ("malformed, then lingering", scripts.malformed, (400,), End.REFUSED),
    ("a slow head", scripts.slow_head, (408,), End.SLOW_HEAD),
    ("a slow body", scripts.slow_body, (), End.SLOW_BODY),
    ("a slow reader", scripts.slow_reader, (), End.SLOW_READER),
    ("an answer read in pieces", scripts.reads_in_pieces, (200,), End.CLIENT_DISCONNECTED),
    ("idle for too long", scripts.idle, (404,), End.IDLE),
    ("idle from the start", scripts.never_asks, (), End.IDLE),
    ("an app that does not return", scripts.slow_app, (200,), End.SLOW_APP),
    ("a deadline", scripts.deadline, (500,), End.CLIENT_DISCONNECTED),
    ("shed", scripts.shed, (503, 503, 503), End.REFUSED),
    ("shed and not read", scripts.shed_and_not_read, (), End.SLOW_READER),
)
_NARROW: Final[tuple[tuple[str, OnListener, OnListener | None, tuple[int, ...], End], ...]] = (
    ("over the limit", scripts.over_the_limit, scripts.is_full, (503,), End.OVER_LIMIT),
    ("evicted", scripts.evicted, None, (404,), End.EVICTED),
    ("in the place of another", scripts.evicts, scripts.is_idle, (404,), End.EVICTED),
)
_DRAINED: Final[tuple[tuple[str, OnListener, tuple[int, ...], End], ...]] = (
    ("drained while idle", scripts.drained_idle, (404,), End.DRAINED),
    ("drained within a head", scripts.drained_within_head, (408,), End.SLOW_HEAD),
    ("drained while busy", scripts.drained_busy, (200,), End.ANSWERED),
    ("drained while it does not read", scripts.drained_slow_reader, (), End.SLOW_READER),
)
_UPSTREAMS: Final[tuple[tuple[str, Script, Script, tuple[int, ...]], ...]] = (
    ("new connections, then reused ones", scripts.calls, scripts.nothing, (200, 200)),
    ("a reused connection", scripts.one_call, scripts.is_warm, (200,)),
    ("an answer in pieces", scripts.calls_in_pieces, scripts.nothing, (200,)),
    ("a large answer", scripts.calls_large, scripts.nothing, (200,)),
    ("an answer until the end", scripts.calls_until_close, scripts.nothing, (200,)),
    ("calls that hang", scripts.calls_that_hang, scripts.nothing, (500,)),
)
_ONLY_TLS: Final[tuple[tuple[str, Script, End], ...]] = (
    ("no handshake", scripts.no_http, End.BROKEN_HANDSHAKE),
    ("a slow handshake", scripts.slow_handshake, End.SLOW_HANDSHAKE),
    ("HTTP/2", scripts.over_http2, End.SLOW_READER),
)


def _all() -> list[Situation]:
    found = []
    for tls in (False, True):
        on, narrow, over = ("tls", "narrow tls", ", TLS") if tls else ("plain", "narrow", "")
        found += [
            Situation(name + over, partial(script, on=on), statuses, end, listener=on)
            for name, script, statuses, end in _CLIENTS
        ]
        found += [
            Situation(
                name + over,
                partial(script, on=narrow),
                statuses,
                end,
                listener=narrow,
                before=scripts.nothing if before is None else partial(before, on=narrow),
            )
            for name, script, before, statuses, end in _NARROW
        ]
        found += [
            Situation(name + over, partial(script, on=on), statuses, end, listener=on, drains=True)
            for name, script, statuses, end in _DRAINED
        ]
        found += [
            Situation(
                f"upstream{over}: {name}", script, statuses, None, "upstream", before=before, tls_upstream=tls
            )
            for name, script, before, statuses in _UPSTREAMS
        ]
    found += [Situation(name, script, (), end, listener="tls") for name, script, end in _ONLY_TLS]
    return found


SITUATIONS: Final = tuple(_all())


def named(name: str) -> Situation:
    return next(situation for situation in SITUATIONS if situation.name == name)
