"""What is to be written for one request, decided as soon as it has been read."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from fanout.tools.simulator.control import Reply, error
from fanout.tools.simulator.requests import Refusal, Request
from fanout.tools.simulator.script import Close, Pause, Script, Send, Step, response
from fanout.tools.simulator.state import State
from fanout.tools.simulator.witness import CallRecord

WORK: Final = "/api/work"  # under any prefix
REFUSED_MS: Final = 100  # for the client to read why, before bytes we never read turn our FIN into RST


@dataclass(frozen=True, slots=True)
class Job:
    """A script to play. `record` if it is a call."""

    script: Script
    record: CallRecord | None = None


def call_job(state: State, request: Request, connection: int, nth: int) -> Job:
    """Begin a call, unless its method or its query is wrong: that is answered, and is no call."""
    if request.method != "GET":
        return reply_job(error(HTTPStatus.METHOD_NOT_ALLOWED, "allowed: GET", "Allow: GET"), request)
    try:
        record, script = state.begin_call(request, connection, nth)
    except ValueError as wrong:
        return reply_job(error(HTTPStatus.BAD_REQUEST, str(wrong)), request)
    if request.closing:
        script = Script(script.status, (*script.steps, Close()))
    return Job(script, record)


def reply_job(reply: Reply, request: Request) -> Job:
    """Answer a request that is no call. To HEAD, with the head alone."""
    data = _bytes(reply, closing=request.closing)
    if request.method == "HEAD":
        data = data[: data.index(b"\r\n\r\n") + 4]
    steps: tuple[Step, ...] = (Send(data), Close()) if request.closing else (Send(data),)
    return Job(Script(reply.status, steps))


def refusal_job(refusal: Refusal) -> Job:
    """Say why, wait a little, and close."""
    data = _bytes(error(refusal.status, refusal.why), closing=True)
    return Job(Script(refusal.status, (Send(data), Pause(REFUSED_MS), Close())))


def _bytes(reply: Reply, *, closing: bool) -> bytes:
    fields = ("Connection: close",) if closing else ()
    return response(
        reply.status, reply.body.encode(), "Content-Type: application/json", *fields, *reply.fields
    )
