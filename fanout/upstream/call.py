"""One upstream call over HTTP. It takes no timeout: the handler's scope is the only deadline.

Rule 1: expected failures are data. One family of exceptions is caught, `httpx`'s; anything else is a bug.
Rule 2: the transport gives complete answers, so when a call has ended nothing of it is left to close.
Rule 3: a payload is checked, then passed on unchanged: to parse and print it again could change a number.

The transport is used directly, and `PoolTransport` without httpx's objects in between. `httpx.AsyncClient`
would add policy that would have to be switched off again piece by piece (redirects, cookies kept from one
client's answer to another's call, proxies from the environment, timeouts), and async generators that outlive
an early exit.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NoReturn

import httpx
import msgspec

import fanout
from fanout import bounded_json
from fanout.race.outcome import TOO_LATE, Cancelled, Failure, Success
from fanout.race.timings import CallTimings
from fanout.upstream.errors import BAD_PAYLOAD, BAD_STATUS, error_word
from fanout.upstream.messages import HeadersToSend, PreparedGet
from fanout.upstream.phases import EXTENSION, PhaseHook
from fanout.upstream.transport import PoolTransport

MAX_PAYLOAD_BYTES: Final = 64 * 1024
MAX_PAYLOAD_DEPTH: Final = bounded_json.MAX_DEPTH - 1  # `/api/all` puts it into an array
_USUAL_BYTES: Final = 4096  # a longer payload is parsed once, by Python's parser
_END_OF_NAME: Final = re.compile(rb'"[\t\n\r ]*+:')
_OK: Final = 200


class UpstreamCall:
    """`GET url`, and what its answer means. Stateless: one object serves all requests at once."""

    def __init__(self, transport: httpx.AsyncBaseTransport, url: str) -> None:
        """transport: gives complete answers of a bounded size, as `PoolTransport` does.

        A user and password in `url` become basic authentication.
        """
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # a few dozen bytes; what comes compressed is decoded
            "User-Agent": f"fanout/{fanout.__version__}",
        }
        parts = httpx.URL(url)
        if parts.userinfo:
            credentials = f"{parts.username}:{parts.password}".encode()
            headers["Authorization"] = f"Basic {b64encode(credentials).decode('ascii')}"
        self._request = PreparedGet(url, headers)
        self._get = transport.get if isinstance(transport, PoolTransport) else partial(_get, transport)

    async def __call__(  # noqa: ASYNC910 - the transport is the checkpoint
        self, timings: CallTimings
    ) -> Success | Failure | Cancelled:
        """Make the call once. Its phases are marked, and the headers of `timings` are sent along.

        Returns `Success` for status 200 and a valid payload of at most 64 KiB, `TOO_LATE` if there was too
        little time left to send the request, and `Failure` with a stable word for everything else the
        upstream or the network can do.
        """
        status = None
        try:
            answer = await self._get(self._request, timings.headers_to_send, timings.mark)
            if answer is None:
                return TOO_LATE
            status = answer.status
            if status != _OK:
                return Failure(BAD_STATUS, status)
            body = answer.content()
        except (httpx.TransportError, httpx.DecodingError) as error:
            return Failure(error_word(error), status)  # noqa: ASYNC910 - as above
        return Success(body) if is_valid_payload(body) else Failure(BAD_PAYLOAD, status)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    content: Callable[[], bytes]


async def _get(
    transport: httpx.AsyncBaseTransport,
    request: PreparedGet,
    headers_to_send: HeadersToSend,
    on_phase: PhaseHook,
) -> _Answer | None:
    """The same over any transport of httpx's that reads its responses to the end.

    The headers are those of the moment at which the transport gets the request.
    """
    more_headers = headers_to_send()
    if more_headers is None:
        return None  # noqa: ASYNC910 - no request is sent, so there is no answer to wait for
    headers = [*request.request.headers.raw, *more_headers]
    made = httpx.Request("GET", request.request.url, headers=headers, extensions={EXTENSION: on_phase})
    response = await transport.handle_async_request(made)
    return _Answer(response.status_code, response.read)


def is_valid_payload(body: bytes) -> bool:
    """True for a UTF-8 JSON object (RFC 8259) with a non-negative integer `time` (true is not one).

    Names must be unique: with two, different readers would see different values. `NaN` and
    `Infinity`, which Python's parser accepts, are not JSON. Arrays and objects may nest at most 63 deep.
    """
    return _is_plainly_valid(body) or _is_valid(body)


def _is_plainly_valid(body: bytes) -> bool:
    """Whether msgspec shows that it is valid, in half of the time. If not, Python's parser decides.

    msgspec is at least as strict as Python's parser, except that it accepts a repeated name. So the names in
    the text are counted, and there must be as many in the object.
    """
    if len(body) > _USUAL_BYTES or body.count(b"[") + body.count(b"{") > MAX_PAYLOAD_DEPTH:
        return False
    try:
        payload = _decode(body)
    except (msgspec.DecodeError, ValueError):
        return False
    return _has_time(payload) and len(payload) == len(_END_OF_NAME.findall(body))


def _is_valid(body: bytes) -> bool:
    try:
        payload = bounded_json.loads(body, MAX_PAYLOAD_DEPTH, _parse)
    except ValueError:  # no UTF-8, no JSON, too deep, or an integer of thousands of digits
        return False
    return _has_time(payload)


def _has_time(payload: Any) -> bool:
    time = payload.get("time") if isinstance(payload, dict) else None
    return isinstance(time, int) and not isinstance(time, bool) and time >= 0


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ValueError("a name occurs twice")
    return unique


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


# float: msgspec's own conversion takes up to 40 µs for a number with a large exponent.
_decode: Final = msgspec.json.Decoder(float_hook=float).decode
_parse: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_not_json).decode
