"""What the framework raises, whatever it is, ends within the exchange (G1, G11)."""

from __future__ import annotations

import json
from typing import TypeVar

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from fanout.api.exchange import Exchanges
from fanout.race.admission import Admission
from fanout.race.events import AnswerSent, BugFound, ClientDisconnected, Event, RequestEnded
from fanout.server.asgi import Receive, Scope, Send
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
            assert b'"reason": "internal"' in body
            assert b'"request_id": "mine-%d"' % number in body
    assert [(found.request_id, found.where, found.exception) for found in of_kind(server, BugFound)] == [
        ("mine-0", "GET /x", BUG),
        ("mine-1", "GET /x", BUG),
    ]
    assert [(end.status, end.reason) for end in of_kind(server, RequestEnded)] == [(500, "internal")] * 2
    assert len(of_kind(server, AnswerSent)) == 2
    assert of_kind(server, ClientDisconnected) == []
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
    assert of_kind(server, ClientDisconnected) == []
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
