"""Everything that depends on what kind of stream a connection is: ending it, and how its client ended it.

Rule 1: `reset` and `drop` are synchronous: a connection is gone when they return, also in a cancelled task.

A stream is a `trio.SocketStream`, a `trio.SSLStream` over one, or anything that can itself
`close()` (as by FIN) and `reset()` (as by RST) synchronously: an in-memory stream of a test.
"""

from __future__ import annotations

import errno
import ssl
from contextlib import suppress
from typing import Final, Protocol, TypeGuard

import trio

from fanout.loop.stream import reset_on_close
from fanout.tools.simulator.witness import Departure

Stream = trio.abc.Stream

CLOSE_NOTIFY_S: Final = 1.0  # for a client that does not read; anyone else takes it at once


class MemoryStream(Protocol):
    def close(self) -> None: ...
    def reset(self) -> None: ...


def encrypted(stream: Stream, ssl_context: ssl.SSLContext) -> trio.SSLStream[Stream]:
    """The server's side of TLS over the stream. Its handshake is still to do.

    Not `https_compatible`: that would also leave out our own close_notify.
    """
    return trio.SSLStream(stream, ssl_context, server_side=True, https_compatible=False)


async def close(stream: Stream) -> None:
    """End the connection as one should: close_notify under TLS, within a second, then FIN."""
    if isinstance(stream, trio.SSLStream):
        with trio.move_on_after(CLOSE_NOTIFY_S):
            await stream.aclose()
    else:
        await trio.lowlevel.checkpoint()
    drop(stream)


def drop(stream: Stream) -> None:
    """End the connection by FIN alone. The kernel makes it RST if the client sent what was never read."""
    transport = _transport(stream)
    if isinstance(transport, trio.SocketStream):
        transport.socket.close()
    else:
        transport.close()


def reset(stream: Stream) -> None:
    """End the connection by RST. What was handed to the kernel but not yet sent is lost."""
    transport = _transport(stream)
    if isinstance(transport, trio.SocketStream):
        reset_on_close(transport.socket)
        transport.socket.close()
    else:
        transport.reset()


def departure(error: trio.BrokenResourceError) -> Departure:
    """How the client ended the connection, told from the error that this made of a read or a write."""
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return "fin" if _is_eof(cause) else "tls_error"
        if isinstance(cause, OSError):
            return "fin" if cause.errno == errno.EPIPE else "rst"  # EPIPE: RST after a FIN
        cause = cause.__cause__
    return "rst"


async def first_flight(stream: Stream, ssl_context: ssl.SSLContext) -> bytes:
    """Read a ClientHello and return what an honest server would answer. Empty if the client left instead."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = ssl_context.wrap_bio(incoming, outgoing, server_side=True)
    while data := await stream.receive_some():
        incoming.write(data)
        # An error: it wants more, or this is no ClientHello and there is an alert to send.
        with suppress(ssl.SSLError):
            server.do_handshake()
        if outgoing.pending:
            break
    return outgoing.read()


def _transport(stream: Stream) -> trio.SocketStream | MemoryStream:
    """The stream that carries the bytes."""
    transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    assert isinstance(transport, trio.SocketStream) or _is_memory_stream(transport)
    return transport


def _is_memory_stream(stream: object) -> TypeGuard[MemoryStream]:
    return hasattr(stream, "close") and hasattr(stream, "reset")


def _is_eof(error: ssl.SSLError) -> bool:
    """FIN without close_notify, as the versions of OpenSSL and Python put it."""
    return isinstance(error, ssl.SSLEOFError) or "UNEXPECTED_EOF_WHILE_READING" in (error.strerror or "")
