"""The rows *Slots*: a cancel at each point of a call. Each sweep has a process of its own."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from fanout.lab.side_by_side import slots
from fanout.lab.side_by_side.cells import Cell, Section
from fanout.lab.side_by_side.idle_selector import IdleSelector, Stuck
from fanout.lab.side_by_side.slots import INSTALL, ROW_NAMES, cell_of
from fanout.lab.side_by_side.stepped_upstream import BODY, SteppedUpstream
from fanout.lab.side_by_side.sweeps import Swept
from fanout.testing.asyncio_points import AsyncioPoints

KEPT = "kept connection"


def cells_of(section: Section, client: str) -> Iterator[Cell]:
    for row in section.rows:
        for cell in row.cells:
            if cell.variant == client:
                yield cell


def test_ours_loses_no_slot_and_no_socket_at_any_point() -> None:
    """G7, in all situations."""
    section = slots.section(["fanout"])
    assert tuple(row.name for row in section.rows) == ROW_NAMES
    cells = list(cells_of(section, "fanout"))
    assert {cell.verdict for cell in cells} == {"kept"}
    assert all(cell.counts["points"] >= 10 for cell in cells)
    total, *parts = (cell.counts["points"] for cell in cells)
    assert total == sum(parts)


@pytest.mark.long
def test_httpx_loses_its_slot_to_a_cancelled_task_and_not_to_an_anyio_scope() -> None:
    """anyio's shields do not hold against `task.cancel()`. The cell names the line."""
    section = slots.section(["httpx, task.cancel()", "httpx, anyio scope"], [KEPT])
    total, kept = section.rows
    assert total.cells == kept.cells
    by_task, by_scope = kept.cells
    assert (by_task.verdict, by_task.counts["slots_lost"]) == ("broken", 1)
    assert (by_scope.verdict, by_scope.counts["slots_lost"]) == ("kept", 0)
    assert by_task.counts["points"] == by_scope.counts["points"] > 10
    assert by_task.leak is not None
    assert "_state_lock" in by_task.source.splitlines()[by_task.leak - 1]


@pytest.mark.parametrize("swept", [Swept(), Swept(9, slots=1), Swept(9, failed=1), Swept(9, sockets=1)])
def test_nothing_swept_or_anything_lost_is_broken(swept: Swept) -> None:
    assert cell_of("aiohttp", swept).verdict == "broken"
    assert cell_of("aiohttp", Swept(9)).verdict == "kept"


@pytest.mark.parametrize("module", ["aiohttp", "trustme"])
def test_a_missing_extra_is_not_measured_and_names_the_command(
    monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else found(name))
    for cell in cells_of(slots.section(["aiohttp"], ["kept, TLS"]), "aiohttp"):
        assert (cell.verdict, cell.text) == ("not measured", f"needs {module}")
        assert INSTALL in cell.source


def test_each_wait_of_a_call_and_of_its_tasks_is_two_points() -> None:
    """As it begins to wait and as it is about to resume; a bare yield is one. The cancel comes out there."""

    async def call() -> None:
        await asyncio.sleep(0)
        await asyncio.create_task(child())

    async def child() -> None:
        woken = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(
            lambda: asyncio.get_running_loop().call_soon(woken.set_result, None)
        )
        await woken

    async def cancelled_at(n: int) -> tuple[int, bool]:
        points = AsyncioPoints(lambda nth: task.cancel() if nth == n else None)
        task = asyncio.create_task(points.follow(call()))
        await asyncio.wait([task])
        return points.reached, task.cancelled()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        reached, was_cancelled = runner.run(cancelled_at(1000))
        assert (reached, was_cancelled) == (5, False)
        assert all(runner.run(cancelled_at(n))[1] for n in range(1, reached + 1))


def test_the_upstream_moves_when_its_client_is_idle() -> None:
    with SteppedUpstream(None) as upstream:
        host, _, port = upstream.url.removeprefix("http://").rstrip("/").partition(":")

        async def fetch() -> bytes:
            reader, writer = await asyncio.open_connection(host, port)
            assert upstream.open == 0  # it has not even accepted: nothing had to be waited for
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            received = await reader.readuntil(b"0\r\n\r\n")
            writer.close()
            await writer.wait_closed()
            return received

        with runner_idling_by(upstream.step) as runner:
            assert BODY[:2] in runner.run(fetch())
            with suppress(Stuck):
                runner.run(asyncio.Event().wait())
            assert upstream.open == 0


def test_an_event_loop_that_nobody_will_wake_is_stuck() -> None:
    with runner_idling_by(lambda: False) as runner, pytest.raises(Stuck):
        runner.run(asyncio.Event().wait())


def runner_idling_by(step: Callable[[], bool]) -> asyncio.Runner:
    return asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(IdleSelector(step)))
