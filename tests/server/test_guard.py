"""A bug ends one connection, and is heard of."""

from __future__ import annotations

import gc
import socket
import struct
from typing import NoReturn

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from fanout.server.asgi import Receive, Scope, Send
from fanout.server.guard import Guard
from fanout.server.statistics import DriverStatistics
from tests.server.apps import Echo, answer, crash, lifespan
from tests.server.hostile import STOPPERS
from tests.server.serving import get, in_memory, on_socket


async def test_a_crash_of_the_app_is_a_500_a_report_and_a_close(autojump_clock: MockClock) -> None:
    """G11."""
    async with in_memory(crash) as world:
        bystander, client = world.connect(), world.connect()
        status, fields, body = await client.ask(get())
        assert (status, fields["connection"]) == (500, "close")
        assert b'"reason": "internal"' in body
        await client.stream.send_eof()
        assert await client.closed()
        assert (await bystander.ask(get()))[0] == 500
    assert [type(error) for error in world.crashes] == [KeyError, KeyError]
    assert world.driver.statistics().crashes == 2
    assert world.ended["crashed"] == 2


async def test_a_crash_within_an_answer_ends_it_with_a_reset() -> None:
    """The client must not take a part for the whole."""

    async def breaking(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        raise KeyError("a bug")

    async with on_socket(breaking) as world:
        client = await world.connect()
        await client.send(get(version="1.0"))
        with pytest.raises(trio.BrokenResourceError):
            await client.rest_or_reset()
        await world.settled()
    assert [type(error) for error in world.crashes] == [KeyError]


async def test_a_crash_after_the_answer_is_reported(autojump_clock: MockClock) -> None:
    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"done")
        raise KeyError("a bug")

    async with in_memory(late) as world:
        client = world.connect()
        assert (await client.ask(get()))[0] == 200
        assert await client.closed()
    assert len(world.crashes) == 1


async def test_a_bug_beside_a_cancellation_is_reported_and_the_cancellation_passes(
    autojump_clock: MockClock,
) -> None:
    async def breaking(scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("a bug")

    async with in_memory(breaking) as world:
        await world.connect().send(get())
        await trio.testing.wait_all_tasks_blocked()
        world.nursery.cancel_scope.cancel()
    assert [type(error) for error in world.crashes] == [KeyError]
    assert world.nursery.cancel_scope.cancelled_caught
    assert world.driver.statistics().open == 0


async def test_several_bugs_at_once_are_one_report_with_all_of_them(autojump_clock: MockClock) -> None:
    async def breaking(scope: Scope, receive: Receive, send: Send) -> None:
        raise ExceptionGroup("two", [KeyError("a"), ValueError("b")])

    async with in_memory(breaking) as world:
        assert (await world.connect().ask(get()))[0] == 500
    (error,) = world.crashes
    assert isinstance(error, ExceptionGroup)
    assert len(error.exceptions) == 2


MISBEHAVED = {
    "no answer": ([], 500),
    "a body without a start": ([{"type": "http.response.body", "body": b"x"}], 500),
    "two starts": ([{"type": "http.response.start", "status": 200, "headers": []}] * 2, 500),
    "an unknown message": ([{"type": "http.response.trailers"}], 500),
    "a body shorter than announced": (
        [
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]},
            {"type": "http.response.body", "body": b"x"},
        ],
        500,
    ),
    "a body longer than announced": (
        [
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]},
            {"type": "http.response.body", "body": b"xx"},
        ],
        500,
    ),
    "a split field": (
        [
            {"type": "http.response.start", "status": 200, "headers": [(b"x", b"a\r\nset-cookie: b")]},
            {"type": "http.response.body", "body": b""},
        ],
        500,
    ),
}


@pytest.mark.parametrize(("messages", "status"), MISBEHAVED.values(), ids=MISBEHAVED.keys())
async def test_an_app_that_breaks_the_protocol_has_a_bug(
    messages: list[dict[str, object]], status: int, autojump_clock: MockClock
) -> None:
    """It shows before a byte of its answer is sent."""

    async def misbehaving(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    async with in_memory(misbehaving) as world:
        client = world.connect()
        assert (await client.ask(get()))[0] == status
        assert await client.closed()
    assert len(world.crashes) == 1


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("sent", STOPPERS.values(), ids=STOPPERS.keys())
async def test_what_stops_hypercorn_ends_one_connection(sent: bytes, reset: bool) -> None:
    """G10. A bystander's running request is answered, and the server lives."""
    async with on_socket(Echo(slow_s=0.05)) as world:
        bystander, client = await world.connect(), await world.connect()
        await bystander.send(get("/slow"))
        await client.send(sent)
        assert isinstance(client.stream, trio.SocketStream)
        if reset:
            client.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.stream.socket.close()
        assert (await bystander.answer())[0] == 200
        await world.settled(1)
        assert (await (await world.connect()).ask(get()))[0] == 200
    assert world.crashes == []


async def test_statistics_are_a_snapshot(autojump_clock: MockClock) -> None:
    async with in_memory(Echo()) as world:
        before = world.driver.statistics()
        await world.connect().ask(get())
        assert before == DriverStatistics(
            open=0,
            waiting=0,
            busy=0,
            accepted=0,
            requests=0,
            refused=0,
            malformed=0,
            crashes=0,
            draining=False,
            ended={},
        )


@pytest.mark.parametrize("requests", [0, 1, 2])
async def test_a_connection_that_has_ended_leaves_no_garbage(requests: int) -> None:
    """Of ten thousand that leave together it took a quarter of a second to collect."""
    async with on_socket(Echo()) as world:

        async def come_and_go(number: int) -> None:
            clients = [await world.connect() for _ in range(number)]
            await world.settled(number)
            for client in clients:
                for _ in range(requests):
                    await client.ask(get())
                await client.stream.aclose()
            await world.settled()
            await trio.testing.wait_all_tasks_blocked()

        await come_and_go(1)
        gc.collect()
        gc.disable()
        try:
            await come_and_go(50)
            assert gc.collect() < 50
        finally:
            gc.enable()


async def test_a_crash_of_the_refuse_hook_ends_its_own_connection_and_the_loop_goes_on() -> None:
    """It must not raise. If it does, it was called where the bytes of every client are heard of."""
    bugs = [RuntimeError("a bug")]

    def refuse(beginning: int) -> bytes | None:
        if bugs:
            raise bugs.pop()
        return None

    async with on_socket(Echo(), refuse=refuse) as world:
        bystander, client = await world.connect(), await world.connect()
        await world.settled(2)
        await client.send(get())
        assert await client.closed()
        assert (await bystander.ask(get()))[0] == 200
    assert [str(crash) for crash in world.crashes] == ["a bug"]
    assert world.ended == {"crashed": 1, "stopped": 1}


@pytest.mark.parametrize("raised", [KeyError("a bug"), ExceptionGroup("two", [KeyError("a"), KeyError("b")])])
def test_a_report_that_raises_changes_nothing(raised: Exception) -> None:
    """G10. As when there is no memory to make the log line of."""
    reported = []

    def report(bug: Exception) -> None:
        reported.append(bug)
        raise MemoryError

    with Guard(report):
        raise raised
    assert reported == [raised]


class Strange(BaseExceptionGroup[BaseException]):  # noqa: ASYNC126 - its parts may be plain groups
    """A group that is no `Exception`, whatever it holds."""


class WithoutMemory(BaseExceptionGroup[BaseException]):  # noqa: ASYNC126 - it has no parts
    def split(self, condition: object) -> NoReturn:
        raise MemoryError


BUG = KeyError("a bug")
STOP = KeyboardInterrupt()


@pytest.mark.parametrize(
    ("raised", "reported", "passes"),
    [
        (None, [], None),
        (BUG, [BUG], None),
        (STOP, [], STOP),
        (BaseExceptionGroup("", [STOP]), [], [STOP]),
        (BaseExceptionGroup("", [STOP, BUG]), [[BUG]], [STOP]),
        (ExceptionGroup("", [BUG]), [[BUG]], None),
        (Strange("", [BUG]), [[BUG]], None),
        (WithoutMemory("", [STOP, BUG]), [], None),  # the task ends here either way
    ],
)
def test_bugs_are_reported_and_end_here_and_all_else_passes(
    raised: BaseException | None, reported: list[object], passes: object
) -> None:
    """G10, G11: whatever one connection raises, the others and the server live on, and can be cancelled."""
    reports: list[Exception] = []
    passed: BaseException | None = None
    try:
        with Guard(reports.append):
            if raised is not None:
                raise raised
    except BaseException as error:  # noqa: ASYNC103, BLE001 - the guard is to let it pass
        passed = error
        assert passed is raised or passed.__suppress_context__
    assert [_held(report) for report in reports] == reported
    assert _held(passed) == passes


def _held(error: BaseException | None) -> object:
    return list(error.exceptions) if isinstance(error, BaseExceptionGroup) else error
