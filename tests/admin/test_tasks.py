"""`/tasks`: the tree of tasks as it is, bounded, and made only for those who ask."""

from __future__ import annotations

import gc
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from fanout.admin.tasks import MAX_PER_NURSERY, MAX_TASKS, TASKS_PER_TURN, Node, TaskTrees, as_text
from fanout.testing import Program
from tests.admin.live_app import FREE, control
from tests.blackbox.conftest import request
from tests.forked import running

JSON = {"Accept": "application/json"}


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    slow = ["--reliable", "--min-delay-ms", "700", "--max-delay-ms", "700"]
    with running("demo", *FREE, *slow) as it:
        yield it


def racing(program: Program, **order: Any) -> str:
    """The id of a request that races now."""
    control(program.urls["live"], "fire", order)
    deadline = time.monotonic() + 5
    while not (found := re.search(r"request (\S+):", request(program.urls["admin"], "/tasks").body.decode())):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found[1]


def test_a_request_as_it_runs_with_its_scopes_nursery_and_calls(program: Program) -> None:
    request_id = racing(program, timeout_ms=5000)
    answer = request(program.urls["admin"], f"/tasks?request={request_id}", headers=JSON)
    tree = answer.json
    text = request(program.urls["admin"], f"/tasks?request={request_id}").body.decode()
    while (over := request(program.urls["admin"], f"/tasks?request={request_id}")).status == 200:
        time.sleep(0.05)

    connection, race = tree["scopes"]
    (nursery,) = tree["nurseries"]
    assert tree["request"]["timeout_ms"] == 5000
    assert 0 < tree["request"]["elapsed_ms"] < 700
    assert tree["places"][-1].startswith("run_race (api/handlers.py:")
    assert connection == {
        "name": "connection",
        "deadline_in_ms": None,
        "cancelled": False,
        "reason": "cancelled if the client disconnects",
    }
    assert 4000 < race["deadline_in_ms"] < 5000 - tree["request"]["elapsed_ms"]
    assert race["reason"].startswith("the timeout of 5000 ms, less a time reserve of ")
    assert nursery["scope"]["reason"] == "cancelled when a call settles the race"
    assert [call["task"] for call in nursery["tasks"]] == ["call 0", "call 1"]
    assert all("Race.run (race/race.py:" in call["places"][0] for call in nursery["tasks"])
    assert text.count("\n        task call ") == 2
    assert (over.status, over.json) == (404, {"error": "no request with this id races now"})


def test_a_call_that_has_ended_stays_in_the_tree(program: Program) -> None:
    control(program.urls["live"], "upstream", {"min_delay_ms": 50, "max_delay_ms": 900, "faults": {}})
    deadline = time.monotonic() + 10
    ended: list[dict[str, Any]] = []
    while not ended:  # until the calls of one are far enough apart to be seen
        assert time.monotonic() < deadline
        path = f"/tasks?request={racing(program, endpoint='all', timeout_ms=5000)}"
        while (answer := request(program.urls["admin"], path, headers=JSON)).status == 200:
            ended = ended or answer.json["nurseries"][0]["ended"]
    control(program.urls["live"], "upstream", {"min_delay_ms": 700, "max_delay_ms": 700, "faults": {}})
    assert [(call["outcome"], call["reason"]) for call in ended] == [("ok", None)]
    assert ended[0]["ended_ms"] > 50


@pytest.mark.parametrize(
    ("method", "path", "status"), [("POST", "/tasks", 405), ("GET", "/tasks?request=a&b=c", 400)]
)
def test_a_wrong_question_is_answered_with_what_is_right(
    program: Program, method: str, path: str, status: int
) -> None:
    answer = request(program.urls["admin"], path, method=method)
    assert answer.status == status
    assert answer.json["error"]


# --- bounds


def count(node: Node) -> int:
    return 1 + sum(count(child) for nursery in node["nurseries"] for child in nursery["tasks"])


async def crowd(width: int, depth: int) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(width if depth else 0):
            nursery.start_soon(crowd, width, depth - 1)
        await trio.sleep_forever()


async def test_a_tree_is_bounded_and_says_what_it_leaves_out(autojump_clock: MockClock) -> None:
    """G10: and it is made in small pieces, each at its turn."""
    turns: list[int] = []

    async def turn() -> None:
        turns.append(0)
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(crowd, 2000, 1)
        nursery.start_soon(crowd, 10, 3)
        await trio.testing.wait_all_tasks_blocked()
        tree = await TaskTrees(turn).of_process()
        nursery.cancel_scope.cancel()
    text = as_text(tree)
    assert count(tree) == MAX_TASKS
    assert f"and {2000 - MAX_PER_NURSERY} more" in text
    assert len(turns) >= MAX_TASKS / TASKS_PER_TURN
    assert len(json.dumps(tree)) < 200_000


async def test_an_unknown_request_is_searched_in_small_pieces(autojump_clock: MockClock) -> None:
    turns = []

    async def turn() -> None:
        turns.append(0)
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(trio.sleep_forever)
        await trio.testing.wait_all_tasks_blocked()
        assert await TaskTrees(turn).of_request("nobody") is None
        nursery.cancel_scope.cancel()
    assert len(turns) >= 10


async def test_looking_leaves_no_garbage_behind(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(crowd, 20, 1)
        await trio.testing.wait_all_tasks_blocked()
        await TaskTrees().of_process()
        gc.collect()
        gc.disable()
        try:
            for _ in range(10):
                as_text(await TaskTrees().of_process())
            found = gc.collect()
        finally:
            gc.enable()
        nursery.cancel_scope.cancel()
    assert found == 0
