"""What spans say: the names are those of OpenTelemetry's stable conventions for HTTP, and `fanout.…` for what
those do not know. Of what a client sends, the method, the path, Host and the request id get into a span.

Rule 1: losing a race is no error. A call that was cancelled because another one had won, or because the
        client disconnected, has status UNSET and no `error.type`. It says who cancelled it, why, and how long
        it took to be gone. One that the deadline stopped has `error.type` `timeout`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from fanout.observe.receipt import CallReceipt, Receipt
from fanout.race.outcome import SUCCESSES, Cancelled

Attributes = dict[str, str | bool | int | float]

MAX_TEXT: Final = 1024  # characters of what a client sent, in a span
TIMEOUT: Final = "timeout"
_METHODS: Final = frozenset(
    ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE")
)


def request_attributes(scope: Mapping[str, Any]) -> Attributes:
    """Of a request that has arrived. scope: ASGI's. The route is one of ours only if a race is run."""
    attributes: Attributes = {
        "url.path": scope["raw_path"].partition(b"?")[0].decode("latin-1")[:MAX_TEXT],
        "url.scheme": scope["scheme"],
        "http.route": scope["path"][:MAX_TEXT],
        "network.protocol.version": scope["http_version"],
    }
    method = scope["method"]
    if method in _METHODS:
        attributes["http.request.method"] = method
    else:
        attributes["http.request.method"] = "_OTHER"
        attributes["http.request.method_original"] = method
    for name, value in scope["headers"]:
        if name == b"host":
            return attributes | address_attributes(value.decode("latin-1")[:MAX_TEXT])
    return attributes


def upstream_attributes(url: str) -> Attributes:
    """Of every call to this upstream. url: with nothing secret in it."""
    parts = urlsplit(url)
    return {
        "http.request.method": "GET",
        "url.full": url,
        "network.protocol.version": "1.1",
        "server.port": 443 if parts.scheme == "https" else 80,
        **address_attributes(parts.netloc.rpartition("@")[2]),
    }


def server_attributes(receipt: Receipt, request: Attributes) -> tuple[Attributes, bool]:
    """All that the server span says, and whether it is an error. request: what `request_attributes` made."""
    attributes = request | {
        "fanout.request_id": receipt.request_id,
        "fanout.reason": receipt.reason,
        "fanout.used_ms": receipt.used_ms,
        "fanout.late_by_ms": receipt.late_by_ms,
    }
    if receipt.timeout_ms is not None and receipt.reserve_ms is not None:
        attributes["fanout.timeout_ms"] = receipt.timeout_ms
        attributes["fanout.reserve_ms"] = receipt.reserve_ms
    else:  # no race was run
        del attributes["http.route"]
    if receipt.timeout_from is not None:
        attributes["fanout.timeout_from"] = receipt.timeout_from
    if receipt.status is not None:
        attributes["http.response.status_code"] = receipt.status
        if receipt.status >= 500:
            attributes["error.type"] = TIMEOUT if receipt.reason == "deadline" else receipt.reason
    return attributes, "error.type" in attributes


def client_attributes(call: CallReceipt) -> tuple[Attributes, bool]:
    """What the span of a call says of how it ended, and whether that is an error."""
    said: dict[str, str | bool | int | float | None] = {
        "fanout.call.index": call.call,
        "fanout.call.outcome": call.outcome,
        "fanout.connection.reused": call.reused,
        "fanout.connection.kept": call.kept,
        "http.response.status_code": call.status,
        "fanout.call.time_left_ms": call.time_left_ms,
        "fanout.cancel.source": call.cancel_source,
        "fanout.cancel.reason": call.cancel_reason,
        "fanout.cancel.to_exit_ms": call.cancel_to_exit_ms,
    }
    attributes: Attributes = {name: value for name, value in said.items() if value is not None}
    if call.outcome in SUCCESSES:
        attributes["http.response.status_code"] = 200  # nothing else is a success
    elif call.outcome != Cancelled.word:
        is_bad_status = call.error == "bad_status" and call.status is not None
        attributes["error.type"] = str(call.status) if is_bad_status else call.error or call.outcome
    elif call.cancel_source == "deadline":
        attributes["error.type"] = TIMEOUT
    return attributes, "error.type" in attributes


def address_attributes(host: str) -> Attributes:
    """`server.address` and, if it is named, `server.port`, from `HOST[:PORT]`. Any text will do."""
    name, colon, port = host.rpartition(":")
    if colon and port.isascii() and port.isdecimal() and len(port) <= 5:
        return {"server.address": name.strip("[]"), "server.port": int(port)}
    return {"server.address": host.strip("[]")}
