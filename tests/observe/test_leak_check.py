"""The leak_check must be able to say no: what it finds, where that comes from, and what it leaves alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from loguru import logger

from fanout.api.exchange import Exchanges
from fanout.observe.leak_check import LeakCheck, LeakStatistics, _place_of
from fanout.race.admission import Admission
from fanout.race.events import EVENTS
from fanout.server.asgi import ARRIVAL_KEY, CLIENT_KEY, Message, Receive, Scope, Send
from fanout.testing import answers, hangs, run_scenario

App = Callable[[Scope, Receive, Send], Awaitable[None]]
START = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.response.body", "body": b""}


class Nobody:
    interests = EVENTS

    def notify(self, event: object) -> None:
        pass


class Connected:
    """A client that stays."""

    left_at = None

    def reads_too_slowly(self) -> None:
        raise AssertionError


class World:
    """One app inside `Exchanges`, with a leak_check. `said`: what it has logged."""

    def __init__(self) -> None:
        self.admission = Admission(10)
        self.connections = 0
        self.leak_check = LeakCheck(lambda: self.admission.in_flight, lambda: self.connections)
        self.said: list[str] = []

    @property
    def found(self) -> LeakStatistics:
        return self.leak_check.statistics()

    async def serve(self, app: App) -> None:
        async def receive() -> Message:
            await trio.sleep_forever()

        async def send(message: Message) -> None:
            await trio.lowlevel.checkpoint()

        exchanges = Exchanges(app, self.admission, Nobody(), id_prefix="c", leak_check=self.leak_check)
        scope: dict[str, Any] = {"type": "http", "method": "GET", "query_string": b"", "headers": []}
        scope |= {ARRIVAL_KEY: trio.current_time(), CLIENT_KEY: Connected(), "raw_path": b"/", "client": None}
        await exchanges(scope, receive, send)


@asynccontextmanager
async def open_world() -> AsyncIterator[World]:
    world = World()
    handler = logger.add(lambda message: world.said.append(str(message)), format="{message} {extra}")
    trio.lowlevel.add_instrument(world.leak_check)
    try:
        yield world
    finally:
        trio.lowlevel.remove_instrument(world.leak_check)
        logger.remove(handler)


async def answer(send: Send) -> None:
    await send(dict(START))
    await send(dict(BODY))


async def test_a_request_that_cleans_up_is_counted_and_nothing_is_said() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep, 0)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await answer(send)

    async with open_world() as world:
        for _ in range(3):
            await world.serve(app)
        assert world.found == LeakStatistics(3, 6, 6, 0, 0, 0, 0)
        assert world.said == []


async def test_a_task_in_somebody_elses_nursery_is_found_and_told_by_name_and_place(
    nursery: trio.Nursery,
) -> None:
    """G3: Trio does not stop a handler from this; the leak_check says where it happened."""

    async def run_away() -> None:
        await trio.sleep_forever()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nursery.start_soon(run_away, name="stray")
        await answer(send)

    async with open_world() as world:
        await world.serve(app)
        assert world.found == LeakStatistics(1, 1, 0, 1, 1, 0, 0)
        (line,) = world.said  # once, not again when the request has ended
        assert "task 'stray' is alive although its request was answered: it runs " in line
        assert f"run_away ({__file__}:{run_away.__code__.co_firstlineno})" in line
        assert f"in a nursery of {nursery.parent_task.name!r}" in line
        assert "'request_id': 'c-1'" in line
        nursery.cancel_scope.cancel()


async def test_a_system_task_is_found_too() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        trio.lowlevel.spawn_system_task(trio.sleep, 0.01)
        await answer(send)

    async with open_world() as world:
        await world.serve(app)
        assert world.found.leaked_tasks == 1


async def test_a_task_that_outlives_a_request_without_an_answer_is_found(nursery: trio.Nursery) -> None:
    """G6: after a hang-up there is no first byte; what is left is found at the end."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nursery.start_soon(trio.sleep_forever, name="stray")
        await trio.lowlevel.checkpoint()

    async with open_world() as world:
        await world.serve(app)
        assert world.found.leaked_tasks == 1
        assert "although its request had ended" in world.said[0]
        nursery.cancel_scope.cancel()


async def test_what_comes_after_the_request_in_the_same_task_is_not_its() -> None:
    """A connection serves many requests, and may wait for the next one as it likes."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send)

    async with open_world() as world:
        await world.serve(app)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 0)
        assert (world.found.tasks_spawned, world.found.leaked_tasks) == (0, 0)


async def test_a_token_that_is_kept_is_found_and_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send)

    async with open_world() as world:
        with monkeypatch.context() as patch:
            patch.setattr(Admission, "give_back", lambda _: None)
            await world.serve(app)
        await world.serve(app)
        assert (world.found.leaked_permits, len(world.said)) == (1, 1)


async def test_a_connection_that_nobody_holds_is_found_and_told_once() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send)

    async with open_world() as world:
        world.connections = 2
        await world.serve(app)
        await world.serve(app)
        assert (world.found.leaked_connections, len(world.said)) == (2, 1)


async def test_a_connection_that_a_running_request_holds_is_not(nursery: trio.Nursery) -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as inner:
            inner.start_soon(trio.sleep_forever)

    async def quick(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send)

    async with open_world() as world:
        nursery.start_soon(world.serve, slow)
        await trio.testing.wait_all_tasks_blocked()
        world.connections = 1
        await world.serve(quick)
        assert world.found.leaked_connections == 0
        nursery.cancel_scope.cancel()
    assert world.found.leaked_tasks == 0


@pytest.mark.parametrize("target", ["/api/first", "/api/all?timeout=50", "/nowhere"])
@pytest.mark.parametrize("hang_up_after_ms", [None, 5])
def test_the_real_application_leaves_nothing(target: str, hang_up_after_ms: float | None) -> None:
    """G3: every scenario of these tests is counted; one that left something would raise `LeftBehind`."""
    run_scenario(target, [answers(10), hangs()], hang_up_after_ms=hang_up_after_ms)


async def test_a_task_that_was_reported_is_not_counted_again_with_a_later_one(nursery: trio.Nursery) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nursery.start_soon(trio.sleep_forever, name="first")
        await answer(send)
        nursery.start_soon(trio.sleep_forever, name="second")

    async with open_world() as world:
        await world.serve(app)
        assert world.found.leaked_tasks == 2
        assert [line.split()[1] for line in world.said] == ["'first'", "'second'"]
        nursery.cancel_scope.cancel()


async def test_the_connections_of_a_request_in_flight_are_not_leaked_and_one_more_is(
    nursery: trio.Nursery,
) -> None:
    """G3. As many as tasks of requests are alive: a request in flight has one for each of its calls."""
    end_of_race = trio.Event()

    async def racing(scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as calls:
            for _ in range(3):
                calls.start_soon(end_of_race.wait)
        await answer(send)

    async def quick(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send)

    async with open_world() as world:
        nursery.start_soon(world.serve, racing)
        await trio.testing.wait_all_tasks_blocked()
        world.connections = 3
        await world.serve(quick)
        assert world.found.leaked_connections == 0
        world.connections = 4
        await world.serve(quick)
        assert world.found.leaked_connections == 1
        world.connections = 0
        end_of_race.set()


async def test_a_connection_that_a_request_without_an_answer_has_leaked_is_found_at_its_end() -> None:
    """G6: there may be no later request in whose answer it would show."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        world.connections = 1
        await trio.lowlevel.checkpoint()

    async with open_world() as world:
        await world.serve(app)
        assert world.found.leaked_connections == 1


async def test_a_task_is_found_when_the_answer_begins_and_not_only_when_the_request_ends(
    nursery: trio.Nursery,
) -> None:
    """Rule 1: the answer may take long."""
    found: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nursery.start_soon(trio.sleep_forever, name="stray")
        await send(dict(START))
        found.append(world.found.leaked_tasks)
        await send(dict(BODY))

    async with open_world() as world:
        await world.serve(app)
        assert found == [1]
        nursery.cancel_scope.cancel()


async def test_requests_that_are_not_answered_yet_hold_their_permits(nursery: trio.Nursery) -> None:
    """Rule 3: as many are taken as requests are unanswered."""
    let_go = trio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await let_go.wait()
        await answer(send)

    async def quick(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send)

    async with open_world() as world:
        for _ in range(3):
            nursery.start_soon(world.serve, slow)
        await trio.testing.wait_all_tasks_blocked()
        await world.serve(quick)
        assert world.found.leaked_permits == 0
        let_go.set()
        await trio.testing.wait_all_tasks_blocked()
        assert (world.found.leaked_permits, world.found.requests, world.said) == (0, 4, [])


async def test_how_many_are_leaked_is_said() -> None:
    async with open_world() as world:
        world.connections = 3
        world.admission.try_take()
        world.admission.try_take()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await answer(send)

        await world.serve(app)
        assert [line.strip() for line in world.said] == [
            "2 admission tokens are taken by requests that have been answered {}",
            "3 upstream connections are in use by nobody {}",
        ]


async def test_without_permits_and_connections_only_tasks_are_looked_at() -> None:
    check = LeakCheck()
    request = check.begin("r")
    check.answer(request)
    check.end(request)
    assert check.statistics() == LeakStatistics(1, 0, 0, 0, 0, 0, 0)


def test_a_coroutine_that_python_has_not_made_is_told_as_it_shows_itself() -> None:
    """One of an extension, say. It has no place in the code."""
    nursery = SimpleNamespace(parent_task=SimpleNamespace(name="the parent"))
    task: Any = SimpleNamespace(coro="a coroutine", parent_nursery=None)
    assert _place_of(task) == "it runs 'a coroutine'"
    task.parent_nursery = nursery
    assert _place_of(task) == "it runs 'a coroutine' in a nursery of 'the parent'"


async def test_the_task_that_writes_the_answer_may_be_one_of_the_requests() -> None:
    """Rule 1: the one exception."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as own:
            own.start_soon(answer, send)

    async with open_world() as world:
        await world.serve(app)
        assert (world.found.leaked_tasks, world.said) == (0, [])


async def test_a_task_that_is_left_is_found_though_another_one_has_ended(nursery: trio.Nursery) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nursery.start_soon(trio.sleep_forever, name="stray")
        nursery.start_soon(trio.sleep, 0)
        await trio.testing.wait_all_tasks_blocked()
        await answer(send)

    async with open_world() as world:
        await world.serve(app)
        assert world.found == LeakStatistics(1, 2, 1, 1, 1, 0, 0)
        nursery.cancel_scope.cancel()


async def test_a_task_that_was_reported_ends_as_any_other() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        strays.start_soon(let_go.wait)
        await answer(send)

    async with open_world() as world:
        let_go = trio.Event()
        async with trio.open_nursery() as strays:
            await world.serve(app)
            assert world.found == LeakStatistics(1, 1, 0, 1, 1, 0, 0)
            let_go.set()
        assert world.found == LeakStatistics(1, 1, 1, 0, 1, 0, 0)


async def test_a_request_that_has_ended_without_an_answer_holds_no_permit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rule 3: else each client that disconnects would hide a permit that is leaked later."""

    async def unanswered(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.lowlevel.checkpoint()

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send)

    async with open_world() as world:
        await world.serve(unanswered)
        await world.serve(unanswered)
        monkeypatch.setattr(Admission, "give_back", lambda _: None)
        await world.serve(answered)
        await world.serve(answered)
        assert world.found.leaked_permits == 2
