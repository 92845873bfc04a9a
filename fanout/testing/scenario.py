"""One request through the real application, in virtual time.

Everything is real but the sockets, the clock and the upstream calls: the edge, Quart-Trio, the
handlers, the race, the verdict. So times are exact, and `assert replay.took_s == 0.2` is a test.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trio
import trio.testing

from fanout.api.app import make_app
from fanout.api.exchange import Exchanges
from fanout.api.handlers import Races
from fanout.observe.leak_check import LeakCheck
from fanout.race.admission import Admission
from fanout.race.events import EVENTS, Event, RaceEnded
from fanout.race.ledger import CallRecord
from fanout.server.asgi import ARRIVAL_KEY, CLIENT_KEY, App, Message
from fanout.testing.scripted import ScriptedCall


class LeftBehind(AssertionError):
    """Something of a request outlived it (G3)."""


@dataclass(slots=True)
class Replay:
    """What a scenario came to. Times are exact seconds of virtual time since the request arrived.

    status: the answer's status, or `None` when there was no answer.
    answered_s: when its last byte was sent. took_s: when the application was done with the request.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    answered_s: float | None = None
    took_s: float = 0.0
    events: list[Event] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def outcomes(self) -> list[str]:
        """The outcome words of the calls, in call order, as the client receives them."""
        timings = self.headers["server-timing"].split(", ")
        return [timing.rpartition('desc="')[2].rstrip('"') for timing in timings]

    @property
    def records(self) -> tuple[CallRecord, ...]:
        """The calls' records, as observers are told them when the race has ended."""
        (ended,) = [event for event in self.events if isinstance(event, RaceEnded)]
        return ended.race.calls

    interests = EVENTS

    def notify(self, event: Event) -> None:
        self.events.append(event)


def run_scenario(
    target: str,
    calls: Sequence[ScriptedCall],
    *,
    method: str = "GET",
    headers: Sequence[tuple[bytes, bytes]] = (),
    reserve_ms: float = 0,
    default_timeout_ms: int = 1000,
    max_timeout_ms: int = 30_000,
    max_in_flight: int = 1,
    hang_up_after_ms: float | None = None,
    arrived_ms_ago: float = 0,
    deadline_header: str = "",
    min_call_ms: int = 1,
    make_app: Callable[[Races], App] = make_app,
) -> Replay:
    """Send one request for `target` and return what came of it.

    hang_up_after_ms: the client leaves then. arrived_ms_ago: the request's head was read that long
    before the application saw it. deadline_header, min_call_ms: see `fanout.api.handlers.Races`. make_app:
    another application than the shipped one.

    Raises `LeftBehind` when, as the first byte of the answer is sent or when the request has ended, a
    call still runs, an admission token is still taken, or a task is still alive.
    """
    replay = Replay()
    races = Races(
        calls,
        replay,
        default_timeout_ms,
        max_timeout_ms,
        lambda: reserve_ms,
        deadline_header,
        min_call_ms,
    )
    admission = Admission(max_in_flight)
    leak_check = LeakCheck(permits_taken=lambda: admission.in_flight)
    app = Exchanges(make_app(races), admission, replay, id_prefix="scenario", leak_check=leak_check)
    scope = _http_scope(target, method, headers)
    run = partial(_run, app, scope, replay, calls, admission, leak_check, hang_up_after_ms, arrived_ms_ago)
    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0), instruments=[leak_check])
    return replay


async def _run(
    app: App,
    scope: dict[str, Any],
    replay: Replay,
    calls: Sequence[ScriptedCall],
    admission: Admission,
    leak_check: LeakCheck,
    hang_up_after_ms: float | None,
    arrived_ms_ago: float,
) -> None:
    tasks_before = trio.lowlevel.current_statistics().tasks_living
    began_at = trio.current_time()
    connection = _Connection()
    scope[ARRIVAL_KEY] = began_at - arrived_ms_ago / 1000
    scope[CLIENT_KEY] = connection
    left: list[str] = []

    async def receive() -> Message:
        await trio.sleep_forever()

    async def send(message: Message) -> None:
        await trio.lowlevel.checkpoint()
        if message["type"] != "http.response.body":
            left.extend(_left(calls, admission))
            replay.status = message["status"]
            replay.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        if message["type"] != "http.response.start":
            replay.body += message.get("body", b"")
            replay.answered_s = trio.current_time() - began_at

    async with trio.open_nursery() as nursery:
        if hang_up_after_ms is not None:
            nursery.start_soon(connection.leave_at, began_at + hang_up_after_ms / 1000)
        with connection.scope:
            await app(scope, receive, send)
        nursery.cancel_scope.cancel()
    replay.took_s = trio.current_time() - began_at
    left.extend(_left(calls, admission))
    await trio.testing.wait_all_tasks_blocked()
    if trio.lowlevel.current_statistics().tasks_living != tasks_before:
        left.append("a task is still alive after the request")
    counted = leak_check.statistics()
    if counted.leaked_tasks or counted.leaked_permits:
        left.append(f"leaked: {counted.leaked_tasks} tasks and {counted.leaked_permits} permits")
    if left:
        raise LeftBehind("; ".join(left))


class _Connection:
    """As the server's: a client disconnect cancels the app."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.left_at: float | None = None

    async def leave_at(self, at: float) -> None:
        await trio.sleep_until(at)
        self.left_at = trio.current_time()
        self.scope.cancel(reason="the client disconnected")

    def reads_too_slowly(self) -> None:
        self.scope.cancel()


def _left(calls: Sequence[ScriptedCall], admission: Admission) -> list[str]:
    left = [f"call {index} still runs" for index, call in enumerate(calls) if call.running]
    if admission.in_flight:
        left.append("an admission token is still taken")
    return left


def _http_scope(target: str, method: str, headers: Sequence[tuple[bytes, bytes]]) -> dict[str, Any]:
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.1"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("ascii"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [(b"host", b"scenario"), *headers],
        "client": ("192.0.2.1", 1),
        "server": ("192.0.2.2", 80),
        "extensions": {},
    }
