"""One connection to an upstream, and one HTTP/1.1 exchange over it."""

from __future__ import annotations

from typing import Final

import httpx

from fanout.upstream.answer import Answer
from fanout.upstream.phases import Phase, PhaseHook
from fanout.upstream.wire import Wire

READ_BYTES: Final = 16 * 1024  # one TLS record
# Python 3.11 takes longer to look up an enum member than to record it.
_SEND, _FIRST_BYTE, _DONE = Phase.SEND, Phase.FIRST_BYTE, Phase.DONE


class Connection:
    """A slot of the pool. It has a wire once it is connected. `idle_since` is in Trio's time."""

    __slots__ = ("idle_since", "wire")

    def __init__(self) -> None:
        self.wire: Wire | None = None
        self.idle_since = 0.0

    def is_quiet(self) -> bool:
        """Nothing has arrived since the last answer, not even the end, so it can be used again.

        This asks the kernel. The last report of epoll is one event-loop iteration old, and this call would
        take a second, unrequested answer to the previous call for its own. It never raises, because then the
        pool could lose the connection.
        """
        try:
            return self.wire is not None and self.wire.receive_nowait(READ_BYTES) is None
        except Exception:  # noqa: BLE001 - after any error this connection is not used again
            return False


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
        early = wire.receive_nowait(READ_BYTES) if is_new else None
    except OSError as error:
        raise httpx.ReadError(str(error)) from error
    unsent: str | None = None
    try:
        await wire.send_all(request)
    except OSError as error:
        unsent = str(error)  # the upstream may have answered before it closed: read on
    try:
        data = await wire.receive_some(READ_BYTES) if early is None else early
        if data:
            on_phase(_FIRST_BYTE)
        answer.feed(data)
        while not answer.is_complete:
            answer.feed(await wire.receive_some(READ_BYTES))
    except (OSError, httpx.RemoteProtocolError) as error:
        if unsent is not None:
            raise httpx.WriteError(unsent) from error
        if isinstance(error, OSError):
            raise httpx.ReadError(str(error)) from error
        raise
    if unsent is not None or early is not None:
        answer.keeps_connection = False
    on_phase(_DONE)
