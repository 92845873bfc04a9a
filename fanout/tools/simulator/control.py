"""The requests that are not work: the witness, the settings, the slots.

Rule 1: everything is checked before anything is changed.
Rule 2: an operation is synchronous; only the rendering of many records takes turns with the calls.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

import trio

from fanout import bounded_json
from fanout.tools.simulator.connection_faults import CONNECTION_FAULTS
from fanout.tools.simulator.faults import FAULTS
from fanout.tools.simulator.overrides import check_slot_name, overrides_from_json
from fanout.tools.simulator.requests import Request
from fanout.tools.simulator.settings import check_names
from fanout.tools.simulator.state import State
from fanout.tools.simulator.witness import CallRecord

RECORDS_PER_ITERATION: Final = 200  # about two milliseconds


@dataclass(frozen=True, slots=True)
class Reply:
    """A status, a JSON body, and header fields besides those of every answer."""

    status: int
    body: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Calls:
    """The value of `GET /calls`, too long to be rendered at once."""

    records: list[CallRecord]
    totals: dict[str, Any]


Operation = Callable[[State, Request, str], Any]


async def reply(state: State, request: Request) -> Reply:
    """Do what the request says. A wrong one changes nothing and is told what is allowed."""
    place, _, name = request.path.removeprefix("/").partition("/")
    operations = _OPERATIONS.get(f"/{place}/NAME" if name else f"/{place}", {})
    operation = operations.get(request.method)
    if operation is None:
        await trio.lowlevel.checkpoint()
        return _not_there(operations)
    try:
        value = operation(state, request, name)
    except ValueError as wrong:
        await trio.lowlevel.checkpoint()
        return error(HTTPStatus.BAD_REQUEST, str(wrong))
    return Reply(HTTPStatus.OK, await _render(value))


def error(status: int, why: str, *fields: str) -> Reply:
    """How everything that is wrong is answered."""
    return Reply(status, json.dumps({"error": why}), fields)


def _not_there(operations: dict[str, Operation]) -> Reply:
    if not operations:
        return error(HTTPStatus.NOT_FOUND, f"there is {', '.join(_OPERATIONS)}, and any path to /api/work")
    allowed = ", ".join(operations)
    return error(HTTPStatus.METHOD_NOT_ALLOWED, f"allowed: {allowed}", f"Allow: {allowed}")


async def _render(value: Any) -> str:
    await trio.lowlevel.checkpoint()
    if not isinstance(value, _Calls):
        return json.dumps(value)
    texts: list[str] = []
    for start in range(0, len(value.records), RECORDS_PER_ITERATION):
        texts += [
            json.dumps(record.as_json()) for record in value.records[start : start + RECORDS_PER_ITERATION]
        ]
        await trio.lowlevel.checkpoint()
    return f'{{"calls": [{", ".join(texts)}], "totals": {json.dumps(value.totals)}}}'


def _body(request: Request) -> object:
    try:
        return bounded_json.loads(request.body)
    except ValueError:
        raise ValueError("the body must be a JSON object") from None


def _get_calls(state: State, request: Request, name: str) -> _Calls:
    pairs = parse_qsl(request.query, keep_blank_values=True)
    query = check_names("the query", dict(pairs), ("since", "tag", "slot"))
    since = query.get("since", "0")
    if not (since.isascii() and since.isdecimal() and len(since) < 20):
        raise ValueError(f"since must be the id of a call, not {since!r}")
    records = state.witness.records(since=int(since), tag=query.get("tag"), slot=query.get("slot"))
    return _Calls(list(records), state.witness.totals() | {"connections": state.connections()})


def _delete_calls(state: State, request: Request, name: str) -> dict[str, Any]:
    state.witness.forget()
    return state.witness.totals()


def _get_settings(state: State, request: Request, name: str) -> dict[str, Any]:
    return state.settings.as_json()


def _put_settings(state: State, request: Request, name: str) -> dict[str, Any]:
    state.apply(state.settings.changed(_body(request)))
    return state.settings.as_json()


def _get_slots(state: State, request: Request, name: str) -> dict[str, Any]:
    return {slot: overrides.as_json() for slot, overrides in state.slots.items()}


def _put_slot(state: State, request: Request, name: str) -> dict[str, Any]:
    overrides = overrides_from_json(_body(request))
    state.set_slot(check_slot_name(name), overrides)
    return overrides.as_json()


def _delete_slot(state: State, request: Request, name: str) -> dict[str, Any]:
    removed = state.slots.pop(check_slot_name(name), None)
    return {"deleted": removed is not None}


def _get_faults(state: State, request: Request, name: str) -> list[dict[str, Any]]:
    tables = ((FAULTS.values(), "call"), (CONNECTION_FAULTS.values(), "connection"))
    return [
        {"name": fault.name, "of": of, "kind": fault.kind, "summary": fault.summary}
        for faults, of in tables
        for fault in faults
    ]


_OPERATIONS: Final[dict[str, dict[str, Operation]]] = {
    "/calls": {"GET": _get_calls, "DELETE": _delete_calls},
    "/connections": {"GET": lambda state, request, name: state.connections()},
    "/settings": {"GET": _get_settings, "PUT": _put_settings},
    "/slots": {"GET": _get_slots},
    "/slots/NAME": {"PUT": _put_slot, "DELETE": _delete_slot},
    "/faults": {"GET": _get_faults},
    "/healthz": {"GET": lambda state, request, name: {"status": "ok"}},
}
