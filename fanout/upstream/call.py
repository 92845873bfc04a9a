"""One upstream call over HTTP. It takes no timeout: the handler's scope is the only deadline.

Rule 1: expected failures are data. One family of exceptions is caught, `httpx`'s; anything else is a bug.
Rule 2: the transport gives complete answers, so when a call has ended nothing of it is left to close.

The transport is used directly. `httpx.AsyncClient` would add policy that would have to be switched off
again piece by piece (redirects, cookies kept from one caller's answer to another's call, proxies from
the environment, timeouts), and async generators that outlive an early exit.
"""

from __future__ import annotations

from base64 import b64encode

import httpx

import fanout
from fanout.race.marks import Marks
from fanout.race.outcome import Failure, Success
from fanout.upstream.errors import BAD_PAYLOAD, BAD_STATUS, error_word
from fanout.upstream.payload import is_valid_payload
from fanout.upstream.phases import EXTENSION
from fanout.upstream.request import PreparedRequest

_OK = 200


class UpstreamCall:
    """`GET url`, and what its answer means. Stateless: one object serves all requests at once."""

    def __init__(self, transport: httpx.AsyncBaseTransport, url: str) -> None:
        """transport: gives complete answers of a bounded size, as `PoolTransport` does.

        A user and password in `url` become basic authentication.
        """
        self._transport = transport
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # a few dozen bytes; what comes compressed is decoded
            "User-Agent": f"fanout/{fanout.__version__}",
        }
        parts = httpx.URL(url)
        if parts.userinfo:
            credentials = f"{parts.username}:{parts.password}".encode()
            headers["Authorization"] = f"Basic {b64encode(credentials).decode('ascii')}"
        self._request = PreparedRequest(url, headers)

    async def __call__(self, marks: Marks) -> Success | Failure:  # noqa: ASYNC910 - the transport is the checkpoint
        """Make the call once. Its phases are marked, and the headers of `marks` are sent along.

        Returns `Success` for status 200 and a valid payload of at most 64 KiB, `Failure` with a
        stable word for everything else the upstream or the network can do.
        """
        status = None
        try:
            request = self._request.again({EXTENSION: marks.mark}, marks.headers)
            response = await self._transport.handle_async_request(request)
            status = response.status_code
            if status != _OK:
                return Failure(BAD_STATUS, status)
            body = response.read()
        except (httpx.TransportError, httpx.DecodingError) as error:
            return Failure(error_word(error), status)  # noqa: ASYNC910 - as above
        return Success(body) if is_valid_payload(body) else Failure(BAD_PAYLOAD, status)
