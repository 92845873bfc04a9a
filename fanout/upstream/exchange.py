"""One HTTP/1.1 exchange over a wire, and the phases that a call passes through.

A function in `request.extensions["fanout.phase"]` is called as each phase begins. It reads its own clock. An
exception in it is a bug: it ends the call, and the connection is closed unless it was `KEPT`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

import httpx

from fanout.upstream.answer import Answer
from fanout.upstream.wire import Wire

EXTENSION: Final = "fanout.phase"


class Phase(StrEnum):
    """In order: `CONNECT`, for https `TLS`, or else `REUSED`; then `SEND`, `FIRST_BYTE`, `DONE`, `KEPT`.

    `RETRY` stands between a reused connection that turned out to be dead and `CONNECT`. A call
    that fails or is cancelled has no further phase.
    """

    REUSED = "reused"  # an idle connection was taken
    CONNECT = "connect"  # a new connection is needed: its name, then its address
    TLS = "tls"  # connected; the handshake begins
    SEND = "send"  # the request is written
    FIRST_BYTE = "first_byte"  # the first bytes of the answer have arrived
    DONE = "done"  # the answer is complete
    KEPT = "kept"  # the connection is idle again; without this it was closed
    RETRY = "retry"  # the reused connection was dead: once more, on a new one


PhaseHook = Callable[[Phase], object]
# Python 3.11 takes longer to look up an enum member than to record it.
_SEND, _FIRST_BYTE, _DONE = Phase.SEND, Phase.FIRST_BYTE, Phase.DONE


def ignore_phase(phase: Phase) -> None:
    """The hook of a call that is not traced."""


async def exchange(  # noqa: ASYNC910 - receiving is a checkpoint, unless the answer came early
    wire: Wire, is_new: bool, request: bytes, answer: Answer, on_phase: PhaseHook
) -> None:
    """Send `request` and fill `answer`. After that `answer` says whether the wire can be kept.

    Raises httpx's errors: `WriteError`, `ReadError`, `RemoteProtocolError`, `DecodingError`,
    `BodyTooLarge`. After any exception the wire is in the middle of something and must be closed.
    """
    on_phase(_SEND)
    try:
        # The pool has checked an idle connection when it gave it out. Early bytes of a new one still are the
        # answer, and the only one: the connection is not kept, because another answer may follow.
        early = wire.receive_nowait() if is_new else None
    except OSError as error:
        raise httpx.ReadError(str(error)) from error
    unsent: str | None = None
    try:
        await wire.send_all(request)
    except OSError as error:
        unsent = str(error)  # the upstream may have answered before it closed: read on
    try:
        data = await wire.receive() if early is None else early
        if data:
            on_phase(_FIRST_BYTE)
        answer.feed(data)
        while not answer.is_complete:
            answer.feed(await wire.receive())
    except (OSError, httpx.RemoteProtocolError) as error:
        if unsent is not None:
            raise httpx.WriteError(unsent) from error
        if isinstance(error, OSError):
            raise httpx.ReadError(str(error)) from error
        raise
    if unsent is not None or early is not None:
        answer.keeps_connection = False
    on_phase(_DONE)
