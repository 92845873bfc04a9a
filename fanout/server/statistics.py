"""The driver's counts, and how its connections ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class End(StrEnum):
    """How a connection ended."""

    ANSWERED = "answered"  # closed after an answer, as the client, the app or HTTP/1.0 wanted
    CLIENT_DISCONNECTED = "client_disconnected"
    REFUSED = "refused"  # a malformed request, or one refused before parsing that could not be kept
    IDLE = "idle"
    SLOW_HANDSHAKE = "slow_handshake"
    BROKEN_HANDSHAKE = "broken_handshake"
    SLOW_HEAD = "slow_head"
    SLOW_BODY = "slow_body"
    SLOW_READER = "slow_reader"
    SLOW_APP = "slow_app"  # its answer was sent, but it did not return
    DRAINED = "drained"
    EVICTED = "evicted"  # closed while it waited, to make room for a newer one
    OVER_LIMIT = "over_limit"  # refused when it came: `max_connections` open, none of them waiting
    FLOODING = "flooding"  # HTTP/2: too many requests taken back or frames that ask for nothing, or too large
    CRASHED = "crashed"
    STOPPED = "stopped"  # cancelled with the server


@dataclass(frozen=True, slots=True)
class DriverStatistics:
    """A snapshot. `open` = `waiting` + `busy`; `ended` counts ended connections by `End`."""

    open: int
    waiting: int  # for a handshake, for a request, or for the rest of its head
    busy: int
    accepted: int
    requests: int  # heads read and handed to the app
    refused: int  # answered by the `shed` hook, before parsing
    malformed: int  # answered with a 4xx or 5xx by the driver itself; over HTTP/2 with RST_STREAM or GOAWAY
    crashes: int
    draining: bool
    ended: dict[str, int]
