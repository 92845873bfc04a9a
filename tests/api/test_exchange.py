"""What the framework raises, whatever it is, ends within the exchange (G1, G11)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
import trio
import trio.testing
from loguru import logger
from trio.testing import MockClock

from fanout.api.app import make_app
from fanout.api.exchange import Exchange, Exchanges, exchange_of, not_traced
from fanout.api.handlers import Races
from fanout.observe.leak_check import LeakCheck, RequestTasks
from fanout.race.admission import Admission
from fanout.race.events import BugFound, Event, RequestEnded
from fanout.race.outcome import Failure, Success
from fanout.race.timings import CallTimings, Headers
from fanout.server.asgi import ARRIVAL_KEY, CLIENT_KEY, Message, Receive, Scope, Send
from fanout.testing import ScriptedCall, answers, run_scenario
from tests.api.serving import Server
from tests.server.apps import answer
from tests.server.serving import get, in_memory

BUG = KeyError("a bug")


E = TypeVar("E", bound=Event)


def of_kind(server: Server, kind: type[E]) -> list[E]:
    return [event for event in server.events if isinstance(event, kind)]


@pytest.mark.parametrize(
    "raised", [BUG, ExceptionGroup("one", [ExceptionGroup("one", [BUG])])], ids=["itself", "in groups"]
)
async def test_a_framework_that_raises_is_one_bug_and_one_500_with_its_request_id(
    raised: Exception, autojump_clock: MockClock
) -> None:
    """The connection stays: the next request on it is served (G1, G11)."""

    async def framework(scope: Scope, receive: Receive, send: Send) -> None:
        raise raised

    server, admission = Server(""), Admission(1)
    async with in_memory(Exchanges(framework, admission, server, id_prefix="test")) as world:
        client = world.connect()
        for number in range(2):
            status, fields, body = await client.ask(get("/x", f"X-Request-Id: mine-{number}"))
            assert (status, fields["x-request-id"]) == (500, f"mine-{number}")
            assert fields["content-type"] == "application/problem+json"
            assert b'"reason": "internal"' in body
            assert b'"request_id": "mine-%d"' % number in body
    assert of_kind(server, BugFound) == [
        BugFound("mine-0", "GET /x", BUG, 0.0),
        BugFound("mine-1", "GET /x", BUG, 0.0),
    ]
    assert [(end.status, end.reason) for end in of_kind(server, RequestEnded)] == [(500, "internal")] * 2
    assert world.crashes == []
    assert admission.in_flight == 0


async def test_while_the_server_drains_new_requests_are_rejected_for_that_and_admitted_ones_answered(
    autojump_clock: MockClock,
) -> None:
    """G9. The reason tells a client, and an operator, a restart from an overload."""

    async def framework(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(1)
        await answer(send, b"done")

    server, admission = Server(""), Admission(1)
    exchanges = Exchanges(framework, admission, server, id_prefix="test")
    async with in_memory(exchanges) as world:
        admitted, overloading, late = (world.connect() for _ in range(3))
        await admitted.send(get("/x"))
        await trio.testing.wait_all_tasks_blocked()
        said = [await overloading.ask(get("/y"))]
        exchanges.draining = True
        said.append(await late.ask(get("/z")))
        assert (await admitted.answer())[2] == b"done"
    assert [(status, fields["retry-after"]) for status, fields, _ in said] == [(503, "1"), (503, "1")]
    assert [fields.get("connection") for _, fields, _ in said] == [None, "close"]
    assert [json.loads(body)["reason"] for _, _, body in said] == ["overloaded", "draining"]
    assert [end.reason for end in of_kind(server, RequestEnded)] == ["overloaded", "draining", None]
    assert admission.statistics().refused == 1


async def test_a_framework_that_raises_within_its_answer_has_not_lost_its_client(
    autojump_clock: MockClock,
) -> None:
    """The driver resets the connection, and the log says whose fault it was (G11)."""

    async def framework(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        raise BUG

    server, admission = Server(""), Admission(1)
    async with in_memory(Exchanges(framework, admission, server, id_prefix="test")) as world:
        client = world.connect()
        await client.send(get("/x"))
        assert (await client.rest()).endswith(b"\r\n\r\na")
        await world.all_ended()
    assert [(end.status, end.reason) for end in of_kind(server, RequestEnded)] == [(200, "internal")]
    assert world.crashes == [BUG]
    assert admission.in_flight == 0


async def test_a_bug_while_the_client_disconnects_is_reported(autojump_clock: MockClock) -> None:
    """It never disappears in a cancelled group (G11)."""

    async def framework(scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise BUG

    server, admission = Server(""), Admission(1)
    async with in_memory(Exchanges(framework, admission, server, id_prefix="test")) as world:
        client = world.connect()
        await client.send(get("/x", "X-Request-Id: mine"))
        await trio.testing.wait_all_tasks_blocked()
        await client.stream.aclose()
        await world.all_ended()
    assert [(found.request_id, found.exception) for found in of_kind(server, BugFound)] == [("mine", BUG)]
    assert len(of_kind(server, RequestEnded)) == 1
    assert world.crashes == []
    assert admission.in_flight == 0


MINE = [(b"x-request-id", b"mine")]
ADDRESS = ("192.0.2.1", 1)


@pytest.mark.parametrize(
    ("target", "options", "expected"),
    [
        (
            "/api/first?timeout=300",
            {"arrived_ms_ago": 500},
            ["mine", None, -0.5, 500, None, 0.2, None, 0.0, "GET", b"/api/first", ADDRESS],
        ),
        (
            "/nowhere?a=b",
            {"method": "HEAD"},
            ["mine", None, 0.0, 404, "not_found", 0.0, None, 0.0, "HEAD", b"/nowhere", ADDRESS],
        ),
        (
            "/api/all",
            {"max_in_flight": 0},
            ["mine", None, 0.0, 503, "overloaded", 0.0, None, 0.0, "GET", b"/api/all", ADDRESS],
        ),
        (
            "/api/all?timeout=2000",
            {"hang_up_after_ms": 125},
            ["mine", None, 0.0, None, "client_disconnected", 0.0, 0.125, 0.125, "GET", b"/api/all", ADDRESS],
        ),
        (
            "/api/all?timeout=2000",
            {},
            ["mine", None, 0.0, 200, None, 0.0, None, 0.25, "GET", b"/api/all", ADDRESS],
        ),
    ],
)
def test_the_end_of_a_request_is_told_whole_and_once(
    target: str, options: dict[str, Any], expected: list[Any]
) -> None:
    """Everything that logs, metrics and receipts are made of. Times are those of the event loop's clock."""
    replay = run_scenario(target, [answers(250)], headers=MINE, **options)
    *events, ended = replay.events
    assert isinstance(ended, RequestEnded)
    assert [value for place, value in enumerate(ended) if place != 7] == expected
    assert RequestEnded not in map(type, events)
    if "/api/" in target and "max_in_flight" not in options:
        assert ended.race is not None
        assert (ended.race.budget.arrived_at, len(ended.race.calls)) == (ended.arrived_at, 1)
    else:
        assert ended.race is None
    assert {event.request_id for event in replay.events} == {"mine"}


def test_a_late_answer_is_told_as_late() -> None:
    replay = run_scenario("/api/first?timeout=300", [answers(250)], arrived_ms_ago=500)
    (ended,) = [event for event in replay.events if isinstance(event, RequestEnded)]
    assert (ended.request_id, ended.status, ended.late_by_s, ended.at) == ("scenario-1", 500, 0.2, 0.0)


def test_a_rejected_head_request_has_no_body_and_the_same_fields() -> None:
    got = run_scenario("/api/all", [], max_in_flight=0, headers=MINE)
    head = run_scenario("/api/all", [], max_in_flight=0, headers=MINE, method="HEAD")
    assert (head.status, head.body, head.headers) == (503, b"", got.headers)
    assert got.json["request_id"] == "mine"


class Connected:
    """A client that stays, or is noticed to have left."""

    def __init__(self, left_at: float | None = None) -> None:
        self.left_at = left_at

    def reads_too_slowly(self) -> None:
        raise AssertionError


def http_scope(*fields: tuple[bytes, bytes], method: str = "GET") -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": "/api/first",
        "raw_path": b"/api/first",
        "query_string": b"",
        "root_path": "",
        "headers": list(fields),
        "client": None,
        ARRIVAL_KEY: 0.0,
        CLIENT_KEY: Connected(),
    }


async def never_received() -> Message:
    return await trio.sleep_forever()


@pytest.mark.parametrize("kind", ["lifespan", "http"])
async def test_the_framework_gets_what_the_server_gives(kind: str) -> None:
    """Of a request its answers are watched; what is no request is the framework's alone."""
    given: list[tuple[Scope, Receive, Send]] = []

    async def framework(scope: Scope, receive: Receive, send: Send) -> None:
        given.append((scope, receive, send))
        if kind == "http":
            await answer(send, b"done")

    async def send(message: Message) -> None:
        pass

    server, admission = Server(""), Admission(1)
    scope = http_scope() if kind == "http" else {"type": kind}
    await Exchanges(framework, admission, server, id_prefix="test")(scope, never_received, send)
    ((app_scope, app_receive, app_send),) = given
    assert (app_scope is scope, app_receive is never_received) == (True, True)
    assert (app_send is send) is (kind != "http")
    assert len(of_kind(server, RequestEnded)) == (kind == "http")


async def test_an_answer_in_parts_is_sent_with_its_last_part(autojump_clock: MockClock) -> None:
    """G3: its permit is given back before the first."""

    async def framework(scope: Scope, receive: Receive, send: Send) -> None:
        assert admission.in_flight == 1
        await send({"type": "http.response.start", "status": 201, "headers": []})
        assert admission.in_flight == 0
        await trio.sleep(1)
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await trio.sleep(1)
        assert of_kind(server, RequestEnded) == []
        await send({"type": "http.response.body", "body": b"b"})
        (ended,) = of_kind(server, RequestEnded)
        assert (ended.request_id, ended.status, ended.late_by_s, ended.at) == ("test-1", 201, 0.0, 2.0)
        await trio.sleep(1)

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(dict(message))

    server, admission = Server(""), Admission(1)
    exchanges = Exchanges(framework, admission, server, id_prefix="test")
    await exchanges(http_scope(), never_received, send)
    assert [message.get("body") for message in sent] == [None, b"a", b"b"]
    assert sent[0]["headers"] == [(b"cache-control", b"no-store"), (b"x-request-id", b"test-1")]
    assert [end.at for end in of_kind(server, RequestEnded)] == [2.0]


async def test_a_client_that_was_answered_did_not_leave() -> None:
    """Whatever was noticed of it meanwhile."""

    async def framework(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"done")

    async def send(message: Message) -> None:
        pass

    server = Server("")
    exchanges = Exchanges(framework, Admission(1), server, id_prefix="test")
    await exchanges(http_scope() | {CLIENT_KEY: Connected(left_at=0.5)}, never_received, send)
    (ended,) = of_kind(server, RequestEnded)
    assert (ended.status, ended.reason, ended.client_left_at) == (200, None, None)


async def test_an_answer_to_head_in_parts_has_no_bytes() -> None:
    """Quart sends them all the same."""

    async def framework(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": b"b"})

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    exchanges = Exchanges(framework, Admission(1), Server(""), id_prefix="test")
    await exchanges(http_scope(method="HEAD"), never_received, send)
    assert [message.get("body") for message in sent] == [None, b"", b""]


@pytest.mark.parametrize(("field", "wants_receipt"), [(b"1", True), (b"0", False), (None, False)])
async def test_handlers_find_the_exchange_in_the_scope(field: bytes | None, wants_receipt: bool) -> None:
    found: list[Exchange] = []

    async def framework(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(exchange_of(scope))
        await answer(send, b"done")

    async def send(message: Message) -> None:
        pass

    fields = [] if field is None else [(b"x-fanout-receipt", field)]
    exchanges = Exchanges(framework, Admission(1), Server(""), id_prefix="test")
    await exchanges(http_scope(*fields), never_received, send)
    ((exchange,),) = [found]
    assert (exchange.request_id, exchange.wants_receipt, exchange.method) == ("test-1", wants_receipt, "GET")
    assert (exchange.answered, exchange.status) == (True, 200)


async def test_a_request_that_cannot_begin_for_want_of_memory_gives_its_permit_back() -> None:
    """G8: once it was admitted, whatever fails is inside the block that gives back."""

    class NoMemory(LeakCheck):
        def begin(self, request_id: str) -> RequestTasks:
            raise MemoryError

    sent: list[Message] = []

    async def framework(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("it has not begun")

    async def send(message: Message) -> None:
        sent.append(message)

    admission, server = Admission(1), Server("")
    exchanges = Exchanges(framework, admission, server, id_prefix="test", leak_check=NoMemory())
    await exchanges(http_scope(), never_received, send)
    assert (sent[0]["status"], admission.in_flight) == (500, 0)


@pytest.mark.parametrize("answers_it", [True, False])
async def test_a_task_that_outlives_its_request_is_counted_and_named(
    answers_it: bool, autojump_clock: MockClock
) -> None:
    """G3: as the answer begins, and if there is none, when the request has ended."""
    leak_check = LeakCheck()
    counted: list[int] = []
    named: list[str] = []

    async def send(message: Message) -> None:
        counted.append(leak_check.statistics().leaked_tasks)

    sink = logger.add(lambda line: named.append(line.record["extra"]["request_id"]), level="ERROR")
    trio.lowlevel.add_instrument(leak_check)
    try:
        async with trio.open_nursery() as outside:

            async def framework(scope: Scope, receive: Receive, send: Send) -> None:
                outside.start_soon(trio.sleep_forever)
                if answers_it:
                    await answer(send, b"done")

            app = Exchanges(framework, Admission(1), Server(""), id_prefix="test", leak_check=leak_check)
            await app(http_scope(), never_received, send)
            outside.cancel_scope.cancel()
    finally:
        trio.lowlevel.remove_instrument(leak_check)
        logger.remove(sink)
    assert set(counted) == ({1} if answers_it else set())
    assert named == ["test-1"]
    assert (leak_check.statistics().requests, leak_check.statistics().leaked_tasks) == (1, 1)


class Traced:
    """A trace whose calls carry a field."""

    trace_id = "0af7651916cd43dd8448eb211c80319c"

    def headers(self, call: int) -> Headers:
        return ((b"traceparent", b"call %d" % call),)


@dataclass(eq=False, slots=True)
class TellsItsHeaders(ScriptedCall):
    told: list[Any] = field(default_factory=list)

    async def __call__(self, timings: CallTimings) -> Success | Failure:
        self.told.append((timings.headers_to_send(), trio.lowlevel.current_task().name))
        return await ScriptedCall.__call__(self, timings)


async def test_what_the_tracer_gives_reaches_the_calls_and_the_end(mock_clock: MockClock) -> None:
    """Without settings calls send no more than that, and one millisecond is enough to start them."""
    asked: list[tuple[Scope, Mapping[bytes, bytes]]] = []
    trace = Traced()

    def begin_trace(scope: Scope, fields: Mapping[bytes, bytes]) -> Traced:
        asked.append((scope, fields))
        return trace

    async def send(message: Message) -> None:
        pass

    server, call = Server(""), TellsItsHeaders(0, Success(b'{"time": 1}'))
    races = Races([call, call], server, 1000, 30_000, lambda: 0)
    scope = http_scope((b"traceparent", b"mine")) | {ARRIVAL_KEY: trio.current_time()}
    scope["query_string"] = b"timeout=1"
    exchanges = Exchanges(make_app(races), Admission(1), server, id_prefix="t", begin_trace=begin_trace)
    await exchanges(scope, never_received, send)
    assert asked == [(scope, {b"traceparent": b"mine"})]
    assert sorted(call.told) == [
        (((b"traceparent", b"call 0"),), "call 0"),
        (((b"traceparent", b"call 1"),), "call 1"),
    ]
    assert [end.trace for end in of_kind(server, RequestEnded)] == [trace]


async def test_a_request_that_is_not_traced_has_no_trace() -> None:
    assert not_traced({}, {}) is None
