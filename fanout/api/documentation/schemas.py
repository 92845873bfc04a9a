"""The JSON schemas (draft 2020-12) of every answer, for the OpenAPI document.

Other members may be added to a problem one day (RFC 9457 tells clients to ignore what they do not
know), so no schema forbids them.
"""

from __future__ import annotations

from typing import Any, Final

from fanout.race.budget import DEFAULT, HEADER, PARAMETER
from fanout.upstream import errors

Json = dict[str, Any]

REQUEST_ID_PATTERN: Final = "^[A-Za-z0-9._:-]{1,128}$"
TIMING_PATTERN: Final = r'call\d+;dur=\d+\.\d;desc="(won|ok|failed|cancelled)"'
RECEIPT_TIMING_PATTERN: Final = r'(timeout|call\d+\.[a-z_]+);dur=\d+\.\d{3}(;desc="[^"]*")?'
# Every word of `errors.WORDS`, and the two that are made here at the edge.
ERROR_WORDS: Final = {
    errors.UNREACHABLE: "no connection",
    errors.BROKEN: "the connection broke, or what came was not HTTP",
    errors.BAD_STATUS: "a status other than 200",
    errors.TOO_LARGE: "more than 64 KiB of content",
    errors.BAD_PAYLOAD: "content that is not what the upstream guarantees",
    "deadline": "stopped when the time was up",
    "internal": "a bug in fanout",
}
_MILLISECONDS: Final = {"type": "number", "minimum": 0}


def ref(kind: str, name: str) -> Json:
    """A reference to a component: kind is `schemas`, `headers`, `responses` or `parameters`."""
    return {"$ref": f"#/components/{kind}/{name}"}


def make_schemas(calls: int, max_timeout_ms: int) -> Json:
    """The schemas by name, for a server that makes `calls` upstream calls a request."""
    race = {
        "timeout_ms": {
            "type": "integer",
            "minimum": 1,
            "maximum": max_timeout_ms,
            "description": "The timeout that was in force.",
        },
        "elapsed_ms": {**_MILLISECONDS, "description": "From the arrival of the request to this answer."},
        "calls": _of_each_call("Call", calls, "How each call went, in call order."),
    }
    told = {  # only on demand, so never required
        "receipt": {
            "type": "object",
            "allOf": [ref("schemas", "Receipt")],
            "description": "Everything about each call, if the request said X-Fanout-Receipt: 1.",
        }
    }
    return {
        "Payload": {
            "type": "object",
            "description": "What the upstream answered, unchanged. It may have more members.",
            "required": ["time"],
            "properties": {"time": {"type": "integer", "minimum": 0}},
        },
        "Call": _call(calls),
        "Receipt": _receipt(race["timeout_ms"], calls),
        "CallReceipt": _call_receipt(calls),
        "InvalidTimeout": _problem(400, ["invalid_timeout"]),
        "NotFound": _problem(404, ["not_found"]),
        "MethodNotAllowed": _problem(405, ["method_not_allowed"]),
        "UnexpectedBody": _problem(413, ["unexpected_body"]),
        "NoAnswer": _problem(500, ["deadline", "no_success"], race | told, required=race),
        "InternalError": _problem(500, ["internal"], race | told),
        "Refused": _problem(503, ["overloaded", "draining"]),
    }


def _problem(
    status: int, reasons: list[str], extra: Json | None = None, required: Json | None = None
) -> Json:
    """The schema of a problem document (RFC 9457) with one of these reasons."""
    members = {
        "type": {"type": "string", "format": "uri", "enum": [f"urn:fanout:problem:{r}" for r in reasons]},
        "title": {"type": "string", "description": "For people."},
        "status": {"type": "integer", "const": status},
        "detail": {"type": "string", "description": "For people: what is wrong in this request."},
        "reason": {"type": "string", "enum": reasons, "description": "For programs: this word is stable."},
        "request_id": {"type": "string", "pattern": REQUEST_ID_PATTERN},
    }
    properties = {**members, **(extra or {})}
    return {"type": "object", "required": [*members, *(required or {})], "properties": properties}


def _call(calls: int) -> Json:
    words = "; ".join(f"{word}: {meaning}" for word, meaning in ERROR_WORDS.items())
    properties = {
        "upstream": {
            "type": "integer",
            "minimum": 0,
            "maximum": calls - 1,
            "description": "Which call, from 0.",
        },
        "outcome": {"type": "string", "enum": ["ok", "failed", "cancelled"]},
        "error": {"type": ["string", "null"], "enum": [*ERROR_WORDS, None], "description": f"{words}."},
        "status": {
            "type": ["integer", "null"],
            "description": "The upstream's HTTP status, if the call failed and there was one.",
        },
        "elapsed_ms": {**_MILLISECONDS, "description": "How long the call ran: 0 if it never started."},
    }
    return {"type": "object", "required": [*properties], "properties": properties}


def _of_each_call(schema: str, calls: int, description: str) -> Json:
    items = ref("schemas", schema)
    return {
        "type": "array",
        "items": items,
        "minItems": calls,
        "maxItems": calls,
        "description": description,
    }


def _receipt(timeout_ms: Json, calls: int) -> Json:
    properties = {
        "endpoint": {"type": "string", "enum": ["first", "all"]},
        "timeout_ms": timeout_ms,
        "timeout_from": {
            "type": "string",
            "enum": [PARAMETER, HEADER, DEFAULT],
            "description": "Where the timeout comes from.",
        },
        "reserve_ms": {**_MILLISECONDS, "description": "What of the timeout was kept back to answer."},
        "calls": _of_each_call("CallReceipt", calls, "The receipt of each call, in call order."),
    }
    return {
        "type": "object",
        "description": "Times are milliseconds after the arrival of the request; null means unknown, or "
        "that it does not apply.",
        "required": [*properties],
        "properties": properties,
    }


def _call_receipt(calls: int) -> Json:
    milliseconds = {"type": ["number", "null"], "minimum": 0}
    yes_or_no = {"type": ["boolean", "null"]}
    text = {"type": ["string", "null"]}
    outcomes = ["won", "ok", "failed", "cancelled", "internal", "not_started"]
    phase = {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}], "items": False}
    properties = {
        "upstream": {"type": "integer", "minimum": 0, "maximum": calls - 1},
        "outcome": {"type": "string", "enum": outcomes},
        "error": text,
        "status": {"type": ["integer", "null"]},
        "started_ms": milliseconds,
        "ended_ms": milliseconds,
        "phases": {
            "type": "array",
            "items": phase,
            "description": "As each began: connect or reused, tls, wait, receive, done, kept, retry.",
        },
        "reused": {**yes_or_no, "description": "It went over a connection that had been idle."},
        "kept": {**yes_or_no, "description": "Its connection was kept open for another call."},
        "cancel_source": {**text, "description": "Who cancelled it: deadline, explicit, …"},
        "cancel_reason": text,
        "cancel_to_exit_ms": {**milliseconds, "description": "From its cancellation to its end."},
        "time_left_ms": {
            "type": ["integer", "null"],
            "minimum": 1,
            "description": "What its upstream was sent as the time that is left.",
        },
    }
    return {"type": "object", "required": [*properties], "properties": properties}
