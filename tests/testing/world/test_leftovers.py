"""What is left of a simulation run: every count that must be zero, and what must add up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from fanout.testing.world.ended import Ended
from fanout.testing.world.leftovers import Baseline, bugs_told, leftovers, not_looked_at, pool_leftovers
from fanout.testing.world.oracle import INSTANT_S
from fanout.testing.world.plan import Plan
from fanout.testing.world.trace import Trace
from tests.testing.world.made import asked, called, connection


def server(**changes: int) -> Any:
    """As much of a server as is looked at, with nothing left in it."""
    counts = {"open": 0, "in_flight": 0, "tasks": 0, "permits": 0, "connections": 0, "requests": 0, **changes}
    leak_check = SimpleNamespace(
        leaked_tasks=counts["tasks"],
        leaked_permits=counts["permits"],
        leaked_connections=counts["connections"],
        requests=counts["requests"],
    )
    return SimpleNamespace(
        leak_check=SimpleNamespace(statistics=lambda: leak_check),
        driver=SimpleNamespace(statistics=lambda: SimpleNamespace(open=counts["open"])),
        admission=SimpleNamespace(in_flight=counts["in_flight"]),
    )


def upstreams(wires: int = 0, running: int = 0) -> Any:
    return SimpleNamespace(open_wires=lambda: wires, running=running)


@pytest.mark.parametrize(
    ("changes", "wires", "running", "clients", "said"),
    [
        ({}, 0, 0, [1.0, 0.0], []),
        ({}, 2, 0, [], ["G3: 2 connections to upstreams were left"]),
        ({}, 0, 0, [1.0, None, None], ["G3: 2 connections of clients were left"]),
        ({"open": 2}, 0, 0, [], ["G3: 2 connections held by the driver were left"]),
        ({"in_flight": 2}, 0, 0, [], ["G3: 2 admission permits were left"]),
        ({"in_flight": -1}, 0, 0, [], ["G3: -1 admission permits were left"]),
        ({}, 0, 2, [], ["G3: 2 calls were left"]),
        ({"tasks": 2}, 0, 0, [], ["G3: 2 leaked tasks, by the leak check, were left"]),
        ({"permits": 2}, 0, 0, [], ["G3: 2 permits, by the leak check, were left"]),
        ({"connections": 2}, 0, 0, [], ["G3: 2 connections, by the leak check, were left"]),
    ],
)
async def test_each_count_must_be_zero(
    changes: dict[str, int], wires: int, running: int, clients: list[float | None], said: list[str]
) -> None:
    """G3."""
    ends: Any = [SimpleNamespace(closed_at=closed_at) for closed_at in clients]
    assert list(leftovers(Baseline(), server(**changes), upstreams(wires, running), ends)) == said


async def test_tasks_and_deadlines_are_counted_from_the_baseline() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 1000)
        await trio.testing.wait_all_tasks_blocked()
        baseline = Baseline()
        assert list(baseline.left()) == [("tasks", 0), ("deadlines", 0)]
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(trio.sleep, 1000)
        await trio.testing.wait_all_tasks_blocked()
        assert list(baseline.left()) == [("tasks", 2), ("deadlines", 1)]
        assert list(leftovers(baseline, server(), upstreams(), [])) == [
            "G3: 2 tasks were left",
            "G3: 1 deadlines were left",
        ]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("looked_at", "is_said"), [(0, True), (1, True), (2, False), (3, False)])
def test_the_leak_check_looks_at_every_race(looked_at: int, is_said: bool) -> None:
    one = connection()
    requests = [asked(one) for _ in range(3)]
    called(requests[0])
    called(requests[2])
    said = f"G3: the leak check has looked at {looked_at} requests, and 2 have made calls"
    assert list(not_looked_at(requests, server(requests=looked_at))) == [said] * is_said


POOL = {"in_use": 0, "connecting": 0, "open": 2, "opened": 7}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"in_use": 1}, ["G7: the pool has 1 connections in use, 0 connecting"]),
        ({"connecting": 1}, ["G7: the pool has 0 connections in use, 1 connecting"]),
        ({"open": 3, "opened": 8}, ["G7: the pool counts 3 connections of 2"]),
        ({"opened": 8}, ["G7: the pool's counters do not add up: "]),
        ({"opened": 6}, ["G7: the pool's counters do not add up: "]),
    ],
)
async def test_the_pool_counts_what_there_is(
    changes: dict[str, int], said: list[str], autojump_clock: MockClock
) -> None:
    """G7. Looked at an instant ago: what the upstream ends just now, the pool cannot know."""
    pool = SimpleNamespace(**POOL | changes, closed={"idle": 3, "limit": 2})
    transport = SimpleNamespace(statistics=lambda: SimpleNamespace(origins=[pool]))
    of_server: Any = SimpleNamespace(transport=transport)
    asked_of: list[float] = []

    def ended_wires(before: float) -> int:
        asked_of.append(before)
        return 0

    of_upstreams: Any = SimpleNamespace(open_wires=lambda: 2, ended_wires=ended_wires)
    found = list(pool_leftovers(of_server, of_upstreams))
    assert [what[: len(start)] for what, start in zip(found, said, strict=True)] == said
    assert asked_of == [trio.current_time() - INSTANT_S]
    of_upstreams.ended_wires = lambda before: 3
    assert next(pool_leftovers(of_server, of_upstreams)) == (
        "G7: 3 idle connections are open although the upstream has ended them"
    )


FIRST, SECOND, THIRD = ValueError("1"), ValueError("2"), ValueError("3")


@pytest.mark.parametrize(
    ("told", "bugs", "said"),
    [
        ([], [], []),
        ([FIRST], [FIRST], []),
        ([BaseExceptionGroup("", [FIRST, ExceptionGroup("", [SECOND])])], [FIRST, SECOND], []),
        ([THIRD], [], ["a bug: ValueError('3')"]),
        ([FIRST, ExceptionGroup("", [THIRD])], [FIRST], ["a bug: ValueError('3')"]),
        ([], [FIRST], ["G11: ValueError('1') was told 0 times"]),
        ([FIRST, FIRST], [FIRST], ["G11: ValueError('1') was told 2 times"]),
    ],
)
def test_every_scripted_bug_is_told_once_and_no_other(
    told: list[BaseException], bugs: list[BaseException], said: list[str]
) -> None:
    """G11. Also in groups."""
    sound: Any = SimpleNamespace(bugs=bugs, crashes=[])
    assert list(bugs_told(told, sound)) == said
    crashed: Any = SimpleNamespace(bugs=bugs, crashes=[SECOND])
    assert list(bugs_told(told, crashed)) == [*said, "the simulator crashed: ValueError('2')"]


def test_nothing_is_counted_before_it_is_seen() -> None:
    """Also where a run breaks off: what nobody wrote must not look like something that was found."""
    ended = Ended(Plan(()), Trace(kept=False), [], [])
    assert ended.left == ended.leaks == ended.ends == {}
    lists = [ended.requests, ended.connections, ended.stalls, ended.pools, ended.bugs_raised]
    assert [*lists, ended.wrong, ended.bugs_reported, ended.noted] == [[]] * 8
    assert (ended.threads_started, ended.leak_checked, ended.dead_but_open, ended.late_answers) == (0,) * 4
    assert (ended.signalled_at, ended.drained_at, ended.ended_at) == (0.0, 0.0, 0.0)
    assert (ended.slack_s(0.0, 99.0), ended.long_passes(), ended.oracle) == (0.0, [], None)
    assert ended.cut_off is True, "what was cut off is asked for less"
