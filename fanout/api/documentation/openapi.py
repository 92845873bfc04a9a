"""The API as an OpenAPI 3.1 document: what clients may send, and every answer they may get.

Rule 1: the document is exact. What it allows is accepted and what it forbids is refused; no answer
        has a status, a reason or a member that is not here. The tests hold it to the server.

What belongs to no operation (an unknown path, another method) stands in `components.responses`. Left
out are hop-by-hop headers, and what the HTTP parser refuses before there is a request.
"""

from __future__ import annotations

from typing import Final

import fanout
from fanout.api import problems
from fanout.api.documentation import examples
from fanout.api.documentation.schemas import (
    RECEIPT_TIMING_PATTERN,
    REQUEST_ID_PATTERN,
    TIMING_PATTERN,
    Json,
    make_schemas,
    ref,
)

_DESCRIPTION: Final = (
    "One request makes several upstream calls at once. Its answer comes within the timeout you choose, and "
    "nothing it started is left when you read that answer: calls that are no longer needed are cancelled. "
    "If you disconnect, all of them are cancelled."
)
_HEADERS: Final[Json] = {
    "Cache-Control": {
        "description": "No answer may be cached.",
        "required": True,
        "schema": {"const": "no-store"},
    },
    "X-Request-Id": {
        "description": "The id of this request: yours if you sent a valid one, else a new one.",
        "required": True,
        "schema": {"type": "string", "pattern": REQUEST_ID_PATTERN},
        "example": examples.REQUEST_ID,
    },
    "Server-Timing": {
        "description": "How many milliseconds each call took and how it ended. Absent if none was made. With "
        "X-Fanout-Receipt: 1, also the timeout, each phase of each call, the time left that its upstream was "
        "sent, and how long a cancelled one took to end.",
        "schema": {
            "type": "string",
            "pattern": f"^{TIMING_PATTERN}(, {TIMING_PATTERN})*(, {RECEIPT_TIMING_PATTERN})*$",
        },
        "example": 'call0;dur=187.2;desc="won", call1;dur=187.3;desc="cancelled"',
    },
    "Retry-After": {
        "description": "Seconds to wait before the next try.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
        "example": 1,
    },
    "Allow": {
        "description": "The methods of this path.",
        "required": True,
        "schema": {"type": "string"},
        "example": examples.METHODS,
    },
}
# What every operation may answer, by status. OPTIONS makes no call and reads no timeout.
_SHARED: Final = {"400": "InvalidTimeout", "413": "UnexpectedBody", "500": "NoAnswer", "503": "Refused"}
_SHARED_BY_OPTIONS: Final = ("413", "503")


def make_document(
    calls: int, default_timeout_ms: int, max_timeout_ms: int, deadline_header: str = ""
) -> Json:
    """The document of a server that makes `calls` upstream calls a request: a JSON object.

    deadline_header: in which a client may send its budget; empty: in none.
    """
    payload = ref("schemas", "Payload")
    parameters = _parameters(default_timeout_ms, max_timeout_ms, deadline_header)
    payloads = {"type": "array", "items": payload, "minItems": 1, "maxItems": calls}
    first = _operation(
        "first",
        "The first success",
        f"Makes {calls} calls, answers with the first success and cancels the rest. A failure never wins, "
        "however early it comes. When every call has failed, the error comes at once.",
        parameters,
        _answer("The payload of the call that won, unchanged.", payload, examples.for_first()),
    )
    every = _operation(
        "all",
        "Every success",
        f"Makes {calls} calls and answers with every success when all have ended; calls that failed are left "
        "out. The answer is an error if none succeeded, or if the deadline comes before all have ended.",
        parameters,
        _answer(
            "The payload of each call that succeeded, unchanged, in call order.",
            payloads,
            examples.for_all(calls),
        ),
    )
    responses = _responses(calls, max_timeout_ms)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fanout",
            "version": fanout.__version__,
            "summary": "Call several upstreams at once, get one answer on time.",
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": {"/api/first": _path(first, responses), "/api/all": _path(every, responses)},
        "components": {
            "parameters": parameters,
            "headers": _HEADERS,
            "responses": responses,
            "schemas": make_schemas(calls, max_timeout_ms),
        },
    }


def _parameters(default_timeout_ms: int, max_timeout_ms: int, deadline_header: str) -> Json:
    limits = {"minimum": 1, "maximum": max_timeout_ms, "default": default_timeout_ms}
    budget = {
        "name": deadline_header,
        "in": "header",
        "description": "The milliseconds that you have left, in decimal digits. Without timeout, this is the "
        f"timeout; with both, the smaller one counts. Above {max_timeout_ms}, it counts as {max_timeout_ms}.",
        "schema": {"type": "integer", "minimum": 1},
    }
    return {
        "timeout": {
            "name": "timeout",
            "in": "query",
            "description": "Milliseconds from the arrival of your request to the last byte of the answer, in "
            f"decimal digits: at most {max_timeout_ms}. The default is {default_timeout_ms}.",
            "schema": {"type": "integer", **limits},
        },
        **({"budget": budget} if deadline_header else {}),
        "request_id": {
            "name": "X-Request-Id",
            "in": "header",
            "description": "Your own id for this request: up to 128 letters, digits and . _ : - that the "
            "answer repeats. Anything else is ignored, and the answer has a new id.",
            "schema": {"type": "string"},  # no pattern, since another value is not refused
            "example": examples.REQUEST_ID,
        },
        "receipt": {
            "name": "X-Fanout-Receipt",
            "in": "header",
            "description": "Send 1 to get everything about each call: in Server-Timing, and in the "
            "receipt of a problem. Anything else is ignored.",
            "schema": {"type": "string"},
            "example": "1",
        },
    }


def _operation(word: str, summary: str, description: str, parameters: Json, answer: Json) -> Json:
    return {
        "operationId": word,
        "summary": summary,
        "description": description,
        "parameters": [ref("parameters", name) for name in parameters],
        "responses": {"200": answer, **{status: ref("responses", name) for status, name in _SHARED.items()}},
    }


def _path(get: Json, responses: Json) -> Json:
    """GET, HEAD (the same without content: its responses cannot be shared) and OPTIONS of one endpoint."""
    whole = {"200": get["responses"]["200"], **{status: responses[name] for status, name in _SHARED.items()}}
    head = {
        "operationId": f"{get['operationId']}Head",
        "summary": f"{get['summary']}, without content",
        "description": "Makes the same calls as GET and sends only the head of the answer.",
        "parameters": get["parameters"],
        "responses": {
            status: {member: value for member, value in response.items() if member != "content"}
            for status, response in whole.items()
        },
    }
    options = {
        "operationId": f"{get['operationId']}Options",
        "summary": "The methods of this path",
        "description": "Makes no call. Allow lists the methods.",
        "parameters": [ref("parameters", "request_id")],
        "responses": {
            "200": _response("The methods of this path.", "Allow"),
            **{status: ref("responses", _SHARED[status]) for status in _SHARED_BY_OPTIONS},
        },
    }
    return {"get": get, "head": head, "options": options}


def _responses(calls: int, max_timeout_ms: int) -> Json:
    return {
        "InvalidTimeout": _problem(
            "The timeout is not a number in range, or was given twice; or the header with the time left is "
            "no number above 0, or was given twice.",
            examples.for_400(max_timeout_ms),
            ["InvalidTimeout"],
        ),
        "NotFound": _problem(
            "There is nothing at this path.",
            examples.by_reason(problems.not_found("/api/frist")),
            ["NotFound"],
        ),
        "MethodNotAllowed": _problem(
            "This path does not have this method.",
            examples.by_reason(problems.method_not_allowed("POST", examples.METHODS)),
            ["MethodNotAllowed"],
            "Allow",
        ),
        "UnexpectedBody": _problem(
            "The request has a body, or announces one.",
            examples.by_reason(problems.UNEXPECTED_BODY),
            ["UnexpectedBody"],
        ),
        "NoAnswer": _problem(
            "The deadline came (deadline), every call failed (no_success), or fanout has a bug (internal).",
            examples.for_500(calls),
            ["NoAnswer", "InternalError"],
            "Server-Timing",
        ),
        "Refused": _problem(
            "Rejected at once, before any call: the server is busy (overloaded) or shutting down (draining).",
            examples.by_reason(problems.OVERLOADED, problems.DRAINING),
            ["Refused"],
            "Retry-After",
        ),
    }


def _response(description: str, *headers: str) -> Json:
    names = ("Cache-Control", "X-Request-Id", *headers)
    return {"description": description, "headers": {name: ref("headers", name) for name in names}}


def _answer(description: str, schema: Json, found: Json) -> Json:
    media = {"schema": schema, "examples": found}
    return {**_response(description, "Server-Timing"), "content": {"application/json": media}}


def _problem(description: str, found: Json, schemas: list[str], *headers: str) -> Json:
    refs = [ref("schemas", name) for name in schemas]
    media = {"schema": refs[0] if len(refs) == 1 else {"oneOf": refs}, "examples": found}
    return {**_response(description, *headers), "content": {problems.CONTENT_TYPE: media}}
