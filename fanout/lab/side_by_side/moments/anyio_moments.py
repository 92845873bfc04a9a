"""anyio on asyncio: its cancel scopes do not cancel a task that is about to run."""

from __future__ import annotations

import asyncio

import anyio
import anyio.lowlevel

from fanout.lab.side_by_side.lines import innermost_line
from fanout.lab.side_by_side.moments import Moment


async def queue():
    sends, receives = anyio.create_memory_object_stream(1)
    async with sends, receives:
        return await given_and_cancelled(
            receives.receive,
            lambda: sends.send_nowait("connection"),
            lambda: sends.statistics().current_buffer_used,
        )


async def semaphore():
    permits = anyio.Semaphore(0)
    return await given_and_cancelled(permits.acquire, permits.release, lambda: permits.value)


async def timed():
    sends, receives = anyio.create_memory_object_stream(1)

    async def receive():
        with anyio.fail_after(5):
            return await receives.receive()

    async with sends, receives:
        return await given_and_cancelled(
            receive, lambda: sends.send_nowait("connection"), lambda: sends.statistics().current_buffer_used
        )


async def child():
    opens = anyio.Event()

    async def receive():
        opened = []

        async def connect():
            await opens.wait()
            opened.append("connection")

        async with anyio.create_task_group() as group:
            group.start_soon(connect)
        return opened[0]

    return await given_and_cancelled(receive, opens.set, iterations=1)


async def given_and_cancelled(receive, give, kept=lambda: 0, iterations=0):
    """`receive` waits. In one iteration it is given a value and cancelled."""
    received, tasks = [], []
    scope = anyio.CancelScope()

    async def receiver():
        tasks.append(asyncio.current_task())
        with scope:
            received.append(await receive())
            await anyio.sleep(0)

    async with anyio.create_task_group() as group:
        group.start_soon(receiver)
        await anyio.wait_all_tasks_blocked()
        line = innermost_line(tasks[0].get_coro(), __file__)
        give()
        for _ in range(iterations):
            await anyio.lowlevel.checkpoint()
        scope.cancel()
    return Moment(received, kept(), scope.cancelled_caught, line)


async def tie():
    """A call that succeeds at the very moment of the deadline."""
    due_at = anyio.current_time() + 1
    made, received = [], []

    async def call():
        await anyio.sleep_until(due_at)
        made.append("connection")

    try:
        with anyio.fail_after(1):
            async with anyio.create_task_group() as group:
                group.start_soon(call)
        received = made
    except TimeoutError:
        pass
    return Moment(received, 0 if made else 1, True)
