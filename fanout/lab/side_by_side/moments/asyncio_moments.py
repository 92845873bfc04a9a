"""asyncio: a task that is cancelled before it resumes gets the cancellation, whatever it was given."""

from __future__ import annotations

import asyncio

from fanout.lab.side_by_side.lines import innermost_line
from fanout.lab.side_by_side.moments import Moment


async def future():
    connected = asyncio.get_running_loop().create_future()
    return await given_and_cancelled(lambda: connected, lambda: connected.set_result("connection"))


async def queue():
    items = asyncio.Queue()
    return await given_and_cancelled(items.get, lambda: items.put_nowait("connection"), items.qsize)


async def semaphore():
    permits = asyncio.Semaphore(0)
    return await given_and_cancelled(permits.acquire, permits.release, lambda: int(not permits.locked()))


async def timed():
    connected = asyncio.get_running_loop().create_future()
    return await given_and_cancelled(
        lambda: asyncio.wait_for(connected, timeout=5), lambda: connected.set_result("connection")
    )


async def child():
    opens = asyncio.Event()

    async def connect():
        await opens.wait()
        return "connection"

    async def receive():
        async with asyncio.TaskGroup() as group:
            task = group.create_task(connect())
        return task.result()

    return await given_and_cancelled(receive, opens.set, iterations=1)


async def given_and_cancelled(receive, give, kept=lambda: 0, iterations=0):
    """`receive` waits. In one iteration it is given a value and cancelled."""
    received = []

    async def receiver():
        received.append(await receive())
        await asyncio.sleep(0)

    task = asyncio.create_task(receiver())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    line = innermost_line(task.get_coro(), __file__)
    give()
    for _ in range(iterations):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    return Moment(received, kept(), task.cancelled(), line)


async def tie():
    """A call that succeeds at the very moment of the deadline."""
    loop = asyncio.get_running_loop()
    due_at = loop.time() + 1
    made, received = [], []

    async def call():
        await asyncio.sleep(due_at - loop.time())
        made.append("connection")

    try:
        async with asyncio.timeout_at(due_at):
            async with asyncio.TaskGroup() as group:
                group.create_task(call())
        received = made
    except TimeoutError:
        pass
    return Moment(received, 0 if made else 1, True)
