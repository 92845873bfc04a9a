"""The stable words for what can go wrong with a call. Exceptions become words here, and nowhere else.

The words are part of the API: clients and dashboards match on them.
"""

from __future__ import annotations

from typing import Final

import httpx

UNREACHABLE: Final = "unreachable"  # no connection: name, connect or TLS handshake failed
BROKEN: Final = "broken"  # the connection broke, or what came over it was not HTTP
BAD_STATUS: Final = "bad_status"  # a status other than 200; redirects are not followed
TOO_LARGE: Final = "too_large"  # more than 64 KiB of body
BAD_PAYLOAD: Final = "bad_payload"  # a complete body that is not what the upstream guarantees

WORDS: Final = (UNREACHABLE, BROKEN, BAD_STATUS, TOO_LARGE, BAD_PAYLOAD)


class BodyTooLarge(httpx.TransportError):
    """The answer has more bytes than the transport accepts."""


def error_word(error: httpx.TransportError | httpx.DecodingError) -> str:
    """The stable word for what httpx or our transport raised."""
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout():
            return UNREACHABLE
        case BodyTooLarge():
            return TOO_LARGE
        case httpx.DecodingError():
            return BAD_PAYLOAD
        case _:
            return BROKEN
