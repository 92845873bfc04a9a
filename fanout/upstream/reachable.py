"""Tries to connect to the upstreams when the service starts, so that a wrong address gives one clear line.

It only connects and sends no request. It runs only at the start, never for `/readyz`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from urllib.parse import urlsplit

import trio

CONNECT_WITHIN_S = 5


async def why_unreachable(url: str) -> str | None:
    """Why no connection to `url`'s host can be made, in a few words; `None` if one was made.

    It never raises: any error is the answer.
    """
    await trio.lowlevel.checkpoint()
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with trio.fail_after(CONNECT_WITHIN_S):
            stream = await trio.open_tcp_stream(parts.hostname or "", port)
    except trio.TooSlowError:
        return f"no connection within {CONNECT_WITHIN_S} s"
    except Exception as error:  # noqa: BLE001 - no such name, no IDNA name, no thread, no memory
        return _in_words(error)
    with suppress(OSError):
        stream.socket.close()
    return None


def _in_words(error: BaseException) -> str:
    cause = error
    while cause.__cause__ is not None or isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause.__cause__ or cause
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
        return os.strerror(cause.errno).lower()
    return str(getattr(cause, "strerror", None) or cause).lower() or type(cause).__name__
