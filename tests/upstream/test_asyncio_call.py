"""The call over the asyncio bridge, in virtual time: what it waits for, what it leaves, and whom it tells.

What it shares with every other call is in test_asyncio_conformance.py.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import re
import threading
import types
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import fields
from typing import Any

import pytest
import trio
import trio.testing

import tests.upstream.bridge  # noqa: F401 - skips this file where there is no bridge
from fanout import config
from fanout.race.budget import Budget
from fanout.race.events import BugFound, Event, LeftTaskEnded, TaskLeft
from fanout.race.outcome import TOO_LATE, Cancelled, Crash, Failure, Success
from fanout.race.race import Race
from fanout.race.timings import CallTimings, Deadlines
from fanout.race.verdict import Crashed, One, first_success
from fanout.upstream.asyncio_call import CLOSE_WITHIN_S, GRACE_MS, AsyncioCall, open_bridge, place_of
from tests.upstream.reports import Reports

GOOD = Success(b"good")
CANCELLED_AT_S = 0.1
Sdk = Callable[[], Coroutine[Any, Any, object]]
KEPT: list[asyncio.Task[Any]] = []  # asyncio itself keeps weak references only


class SdkBug(Exception):
    pass


def call_of(sdk: Sdk, **grace: float) -> AsyncioCall:
    async def call(timings: CallTimings) -> Success:
        await sdk()
        return GOOD

    return AsyncioCall(call, **grace)


async def cancelled(call: AsyncioCall, request_id: str = "r-1") -> tuple[float, tuple[str, ...]]:
    """Cancel it after `CANCELLED_AT_S`. Returns how long it went on, in seconds, and what it left."""
    timings = CallTimings(request_id, 1)
    with trio.move_on_after(CANCELLED_AT_S) as scope:
        await call(timings)
    assert scope.cancelled_caught
    return round(trio.current_time() - scope.deadline, 6), timings.left


# What SDKs do when they are cancelled. Behind each: how long the call goes on, in ms, and what it leaves.


async def sleeps() -> None:
    await asyncio.sleep(10)


async def cleans_up_for_10_ms() -> None:
    try:
        await asyncio.sleep(10)
    finally:
        await asyncio.sleep(0.01)


async def cleans_up_for_400_ms() -> None:
    try:
        await asyncio.sleep(10)
    finally:
        await asyncio.sleep(0.4)


async def retries() -> None:
    for _ in range(3):
        with suppress(BaseException):
            await asyncio.sleep(0.4)


async def shields() -> None:
    await asyncio.shield(asyncio.sleep(0.4))


async def waits_for_the_first() -> None:
    await asyncio.wait([asyncio.create_task(asyncio.sleep(0.4)), asyncio.create_task(asyncio.sleep(0.4))])


async def cancels_without_waiting() -> None:
    task = asyncio.create_task(cleans_up_for_10_ms())
    try:
        await asyncio.sleep(10)
    finally:
        task.cancel()


async def uses_a_task_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(10))
        group.create_task(cleans_up_for_400_ms())


async def gathers() -> None:
    await asyncio.gather(asyncio.sleep(10), cleans_up_for_10_ms())


@pytest.mark.parametrize(
    ("sdk", "went_on_ms", "left"),
    [
        (sleeps, 0, 0),
        (cleans_up_for_10_ms, 10, 0),
        (cleans_up_for_400_ms, GRACE_MS, 1),
        (retries, GRACE_MS, 1),
        (shields, 0, 1),
        (waits_for_the_first, 0, 2),
        (cancels_without_waiting, 10, 0),
        (uses_a_task_group, GRACE_MS, 2),
        (gathers, 10, 0),
    ],
)
async def test_a_cancelled_call_ends_within_its_grace_and_counts_what_it_leaves(
    autojump_clock: trio.testing.MockClock, sdk: Sdk, went_on_ms: float, left: int
) -> None:
    """Late by at most the grace: exactly so long as what is being cancelled needs."""
    reports = Reports()
    async with open_bridge(reports):
        went_on_s, places = await cancelled(call_of(sdk))
        assert (went_on_s, len(places)) == (went_on_ms / 1000, left)
        assert [(task.request_id, task.call, task.place) for task in reports.left] == [
            ("r-1", 1, place) for place in places
        ]
        await trio.sleep(2)
    assert len(reports.ended) == left
    assert reports.bugs == []


async def test_the_grace_is_the_calls_own(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bridge(Reports()):
        went_on_s, places = await cancelled(call_of(cleans_up_for_10_ms, grace_ms=7.5))
        assert (went_on_s, len(places)) == (0.0075, 1)
        went_on_s, places = await cancelled(call_of(cleans_up_for_400_ms, grace_ms=1000))
        assert (went_on_s, len(places)) == (0.4, 0)


async def test_without_a_grace_a_call_ends_at_once_and_counts_what_it_leaves(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bridge(Reports()):
        went_on_s, places = await cancelled(call_of(cleans_up_for_10_ms, grace_ms=0))
        assert (went_on_s, len(places)) == (0, 1)
        went_on_s, places = await cancelled(call_of(cleans_up_for_10_ms, grace_ms=0.5))
        assert (went_on_s, len(places)) == (0.0005, 1)


def test_the_grace_and_the_end_of_the_bridge_are_within_what_they_are_part_of() -> None:
    """G4: an answer at the deadline is still on time. G9: a shutdown has a second for all that is left."""
    assert config.load({}, {}).settings.reserve_ms > GRACE_MS
    assert CLOSE_WITHIN_S < 1


async def test_what_is_left_is_named_by_file_and_line_and_reported_when_it_has_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The line is where the task waits, in the innermost function that is not asyncio's own."""
    lines, first = inspect.getsourcelines(cleans_up_for_400_ms)
    waits_at = first + next(n for n, line in enumerate(lines) if "0.4" in line)
    reports = Reports()
    async with open_bridge(reports):
        _, (place,) = await cancelled(call_of(cleans_up_for_400_ms))
        await trio.sleep(1)
    assert place.startswith("call_of.<locals>.call (upstream/test_asyncio_call.py:")
    assert place.endswith(f", in cleans_up_for_400_ms (upstream/test_asyncio_call.py:{waits_at})")
    (ended,) = reports.ended
    assert (ended.place, round(ended.after_s, 6)) == (place, 0.385)


class Frameless(Coroutine[Any, Any, None]):
    """A coroutine that was not written in Python, say."""

    def send(self, value: object) -> None:
        raise StopIteration

    def throw(self, *_: object) -> None:
        raise NotImplementedError("it ends at its first step")

    def close(self) -> None:
        pass

    def __await__(self) -> Generator[Any, Any, None]:
        raise NotImplementedError("only a task runs it")

    def __repr__(self) -> str:
        return "something in C"


@types.coroutine
def old_style(wait: Callable[[], Coroutine[Any, Any, None]]) -> Generator[Any, Any, None]:
    yield from wait()


async def through_two() -> None:
    await through_one()


async def through_one() -> None:
    await sleeps()


async def through_a_generator() -> None:
    await old_style(sleeps)


@pytest.mark.parametrize(
    ("runs", "names"),
    [
        (sleeps, ["sleeps"]),
        (through_one, ["through_one", "sleeps"]),
        (through_two, ["through_two", "sleeps"]),
        (through_a_generator, ["through_a_generator", "sleeps"]),
        (Frameless, None),
    ],
)
async def test_a_place_is_what_a_task_runs_and_where_it_waits(
    runs: Callable[[], Coroutine[Any, Any, None]],
    names: list[str] | None,
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Or what there is to say of it, when it has no Python code or has ended."""
    places: list[str] = []

    async def looks() -> None:
        coroutine = runs()
        task = asyncio.create_task(coroutine)
        places.append(place_of(task))  # it has not begun
        await asyncio.sleep(0.01)
        places.append(place_of(task))
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        places.append(place_of(task))
        places.append(repr(coroutine))

    async with open_bridge(Reports()):
        await call_of(looks)(CallTimings("r-1", 0))
    if names is None:
        assert places == ["something in C"] * 4
        return
    at_first, later = (re.sub(r" \(upstream/test_asyncio_call\.py:\d+\)", "", place) for place in places[:2])
    assert (at_first, later) == (names[0], ", in ".join(names))
    assert places[2] == places[3] != places[1]


async def test_asyncio_code_may_name_its_tasks_and_use_threads_with_arguments() -> None:
    async def does() -> None:
        loop = asyncio.get_running_loop()
        make = loop.get_task_factory()
        assert make is not None
        task = make(loop, asyncio.sleep(0), name="named")  # type: ignore[call-arg]  # as Python 3.13.3 calls it
        assert isinstance(task, asyncio.Task)
        await task
        done.append((task.get_name(), await loop.run_in_executor(None, pow, 2, 10)))

    done: list[tuple[str, int]] = []
    with trio.fail_after(10):
        async with open_bridge(Reports()):
            await call_of(does)(CallTimings("r-1", 0))
    assert done == [("named", 1024)]


async def test_closing_waits_for_what_cleans_up_and_no_longer(autojump_clock: trio.testing.MockClock) -> None:
    """G9: also when the block was cancelled, and then nothing is given up that ends in time."""

    async def cleans_up_later() -> None:
        for _ in range(2):  # the call's, and the bridge's
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(10)
        await asyncio.sleep(0.1)

    reports = Reports()
    with trio.move_on_after(1) as scope:
        async with open_bridge(reports):
            await call_of(cleans_up_later)(CallTimings("r-1", 0))
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(1 + GRACE_MS / 1000 + 0.1)
    assert reports.bugs == []


async def forgets_what_fails() -> None:
    async def fails() -> None:
        await asyncio.sleep(0.2)
        raise SdkBug

    KEPT.append(asyncio.create_task(fails()))


async def cleans_up_and_fails_late() -> None:
    async def fails() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(0.2)
            raise SdkBug

    await asyncio.create_task(fails())


async def test_a_task_that_was_left_and_fails_is_a_bug_of_its_request(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """G11: also when the request has long been answered. One exception that ends two tasks is one bug."""
    reports = Reports()
    async with open_bridge(reports):
        assert await call_of(forgets_what_fails)(CallTimings("r-7", 0)) == GOOD
        await trio.sleep(1)
        await cancelled(call_of(cleans_up_and_fails_late), "r-8")
        await trio.sleep(1)
    assert [type(bug) for bug in reports.bugs] == [SdkBug, SdkBug]
    told = [event.request_id for event in reports.events if isinstance(event, BugFound)]
    assert told == ["r-7", "r-8"]


async def test_an_error_that_nothing_awaits_is_reported_and_the_loop_goes_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """trio-asyncio would end the loop, and the service with it."""

    async def schedules_a_bug() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(0.01)

    reports = Reports()
    async with open_bridge(reports):
        for _ in range(2):
            assert await call_of(schedules_a_bug)(CallTimings("r-1", 0)) == GOOD
    assert [type(bug) for bug in reports.bugs] == [ZeroDivisionError, ZeroDivisionError]


async def test_every_report_says_what_happened_where_and_when(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bug = SdkBug()

    async def fails_later() -> None:
        async def clean_up() -> None:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(10)
            await asyncio.sleep(0.4)
            raise bug

        await asyncio.create_task(clean_up())

    reports = Reports()
    async with open_bridge(reports):
        _, (call, clean_up) = await cancelled(call_of(fails_later), "r-9")
        left_at = trio.current_time()
        await trio.sleep(1)
    ended_at = CANCELLED_AT_S + 0.4
    after_s = ended_at - left_at
    assert left_at == CANCELLED_AT_S + GRACE_MS / 1000
    assert [*map(rounded, reports.events)] == [
        rounded(event)
        for event in (
            TaskLeft("r-9", 1, call, left_at),
            TaskLeft("r-9", 1, clean_up, left_at),
            LeftTaskEnded("r-9", 1, clean_up, after_s, ended_at),
            BugFound("r-9", f"a task that call 1 left: {clean_up}", bug, ended_at),
            LeftTaskEnded("r-9", 1, call, after_s, ended_at),
        )
    ]


def rounded(event: Event) -> tuple[object, ...]:
    assert isinstance(event, TaskLeft | LeftTaskEnded | BugFound)
    values = (getattr(event, field.name) for field in fields(event))
    return type(event), *(round(value, 6) if isinstance(value, float) else value for value in values)


async def test_asyncio_code_is_told_why_it_is_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    """asyncio passes the words on, and an SDK may log them."""
    told = []

    async def listens() -> None:
        for _ in range(2):
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError as cancelled:  # noqa: ASYNC103 - as SDKs do that swallow it
                told.append(str(cancelled))

    async with open_bridge(Reports()):
        await cancelled(call_of(listens))
    assert told == ["the scope around its call was cancelled", "the bridge is closed"]


async def test_what_the_loop_reports_is_a_bug_of_no_request(autojump_clock: trio.testing.MockClock) -> None:
    """G11: with an exception or without, and whatever asyncio has to say about it."""
    bug, reports = SdkBug(), Reports()
    contexts: list[dict[str, Any]] = [{"message": "it burns", "exception": bug}, {"message": "it burns"}, {}]

    async def burns() -> None:
        for context in contexts:
            await asyncio.sleep(0.1)
            asyncio.get_running_loop().call_exception_handler(context)

    async with open_bridge(reports):
        await call_of(burns)(CallTimings("r-1", 0))
    said = "an error in the asyncio loop"
    assert [
        (event.request_id, event.where, repr(event.exception), round(event.at, 6))
        for event in reports.events
        if isinstance(event, BugFound)
    ] == [
        ("none", "the asyncio loop: it burns", "SdkBug()", 0.1),
        ("none", "the asyncio loop: it burns", "RuntimeError('it burns')", 0.2),
        ("none", f"the asyncio loop: {said}", f"RuntimeError('{said}')", 0.3),
    ]


async def cancels_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)


async def raises_a_bug() -> None:
    await asyncio.sleep(0)
    raise SdkBug


@pytest.mark.parametrize(("sdk", "bug"), [(cancels_itself, RuntimeError), (raises_a_bug, SdkBug)])
async def test_a_bug_is_an_exception_of_the_call(
    autojump_clock: trio.testing.MockClock, sdk: Sdk, bug: type[Exception]
) -> None:
    """Not asyncio's `CancelledError`, which Trio would take for the end of the program."""
    async with open_bridge(Reports()):
        with pytest.raises(bug):
            await call_of(sdk)(CallTimings("r-1", 0))


async def test_a_function_that_returns_no_outcome_is_a_bug(autojump_clock: trio.testing.MockClock) -> None:
    async def wrong(timings: CallTimings) -> Any:
        await asyncio.sleep(0)
        return b"{}"

    async with open_bridge(Reports()):
        with pytest.raises(TypeError, match=r"returns Success, Failure or TOO_LATE, not b'{}'"):
            await AsyncioCall(wrong)(CallTimings("r-1", 0))


async def test_a_function_sends_the_time_left_or_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """It asks when it sends, and its call ends as one that the deadline has stopped if that is too late."""
    sent: list[object] = []

    async def fetch(timings: CallTimings) -> Success | Failure | Cancelled:
        await asyncio.sleep(0.05)
        sent.append(timings.headers_to_send())
        return TOO_LATE if sent[-1] is None else Success(b"{}")

    async with open_bridge(Reports()):
        call, outcomes = AsyncioCall(fetch), []
        for left_s in (0.08, 0.04):
            ends_at = trio.current_time() + left_s
            timings = CallTimings("r", 0, (), trio.current_time, ends_at, Deadlines(b"X-Left"))
            outcomes.append(await call(timings))
    assert sent == [((b"X-Left", b"30"),), None]
    assert outcomes == [Success(b"{}"), TOO_LATE]


@pytest.mark.parametrize("grace_ms", [-1, float("nan"), float("inf")])
async def test_a_grace_that_is_no_time_is_refused(grace_ms: float) -> None:
    async with open_bridge(Reports()):
        with pytest.raises(ValueError, match=f"grace_ms={grace_ms}: give a number"):
            call_of(sleeps, grace_ms=grace_ms)


def test_a_call_outside_of_a_bridge_says_so_when_it_is_made() -> None:
    with pytest.raises(RuntimeError, match="inside of: async with open_bridge"):
        call_of(sleeps)


OF_A_REQUEST: ContextVar[str] = ContextVar("of_a_request", default="the service's")


async def test_asyncio_code_runs_in_the_services_context(autojump_clock: trio.testing.MockClock) -> None:
    """Not in the request's, and what one call sets there the next does not see."""
    seen = []

    async def looks(timings: CallTimings) -> Success:
        await asyncio.sleep(0)
        seen.append(OF_A_REQUEST.get())
        OF_A_REQUEST.set("an earlier call's")
        return GOOD

    async with open_bridge(Reports()):
        call = AsyncioCall(looks)
        OF_A_REQUEST.set("the request's")
        for _ in range(2):
            await call(CallTimings("r-1", 0))
    assert seen == ["the service's", "the service's"]


LET_GO = threading.Event()


async def ignores_everything() -> None:
    while not LET_GO.is_set():
        with suppress(BaseException):
            await asyncio.sleep(1000)


async def test_closing_the_bridge_gives_up_what_ignores_it_and_says_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """G9: the process has to end."""
    reports = Reports()
    async with open_bridge(reports):
        for sdk in (ignores_everything, ignores_everything, sleeps):
            await cancelled(call_of(sdk))
        began_at = trio.current_time()
    LET_GO.set()
    gc.collect()  # ends them: "Task was destroyed but it is pending", which has been reported
    assert trio.current_time() - began_at == pytest.approx(0.25)
    [bug] = [event for event in reports.events if isinstance(event, BugFound)]
    assert (bug.request_id, bug.where) == ("none", "the asyncio bridge, as it closes")
    assert bug.at == pytest.approx(began_at + CLOSE_WITHIN_S)
    head, *places = re.split("(?:: |, )call_of", str(bug.exception))
    assert head == "asyncio tasks that ignore their cancellation were given up"
    assert ["ignores_everything (upstream/test_asyncio_call.py:" in place for place in places] == [True] * 2


async def test_a_thread_of_an_sdk_is_counted_and_does_not_keep_the_bridge_open() -> None:
    """G12 is not the bridge's to give. What waits for the thread is left, and named."""
    goes_on = threading.Event()
    try:
        with trio.fail_after(5):
            async with open_bridge(Reports()):

                async def waits_for_a_thread() -> None:
                    await asyncio.to_thread(goes_on.wait, 20)

                _, (place,) = await cancelled(call_of(waits_for_a_thread))
                assert "waits_for_a_thread (upstream/test_asyncio_call.py:" in place
    finally:
        goes_on.set()


def race_of(calls: list[AsyncioCall], reports: Reports) -> Race:
    return Race("r-1", first_success, calls, Budget(trio.current_time(), 1000, 20), reports)


async def answers_after_50_ms() -> None:
    await asyncio.sleep(0.05)


async def run(race: Race) -> None:
    with trio.move_on_at(race.budget.race_ends_at):
        async with trio.open_nursery() as nursery:
            for call in race.calls:
                nursery.start_soon(race.run, call, nursery.cancel_scope)


async def test_a_race_is_late_by_the_grace_and_its_record_has_what_was_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    reports = Reports()
    async with open_bridge(reports):
        race = race_of([call_of(answers_after_50_ms), call_of(retries)], reports)
        await run(race)
        assert trio.current_time() - race.budget.arrived_at == pytest.approx(0.05 + GRACE_MS / 1000)
        winner, loser = race.record().calls
        assert race.verdict() == One(0, b"good")
        assert (winner.left, len(loser.left)) == ((), 1)
        assert loser.outcome == Cancelled("explicit", "call 0 settled the race")


async def test_a_losers_clean_up_that_raises_fails_the_request(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """G11: a bug outranks every answer, also the bug of a call that is being cancelled."""

    async def cleans_up_with_a_bug() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            raise SdkBug

    reports = Reports()
    async with open_bridge(reports):
        race = race_of([call_of(answers_after_50_ms), call_of(cleans_up_with_a_bug)], reports)
        await run(race)
    verdict = race.verdict()
    assert isinstance(verdict, Crashed)
    assert isinstance(verdict.exception, SdkBug)
    assert isinstance(race.ledger.records[1].outcome, Crash)
    assert [type(bug) for bug in reports.bugs] == [SdkBug]


async def test_a_failure_of_the_client_is_data(autojump_clock: trio.testing.MockClock) -> None:
    async def fails(timings: CallTimings) -> Failure:
        timings.mark("wait")
        await asyncio.sleep(0.01)
        return Failure("broken")

    timings = CallTimings("r-1", 0)
    async with open_bridge(Reports()):
        assert await AsyncioCall(fails)(timings) == Failure("broken")
    assert [name for name, _ in timings.seen] == ["wait"]
