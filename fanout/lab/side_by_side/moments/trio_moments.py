"""Trio: a task that was given a value receives it, and is cancelled at its next checkpoint."""

from __future__ import annotations

import outcome
import trio
import trio.testing

from fanout.lab.side_by_side.moments import Moment


async def future():
    """`wait_task_rescheduled`, which everything else in Trio is made of."""
    waiting = []

    async def receive():
        waiting.append(trio.lowlevel.current_task())
        return await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.SUCCEEDED)

    def give():
        trio.lowlevel.reschedule(waiting[0], outcome.Value("connection"))

    return await given_and_cancelled(receive, give)


async def queue():
    sends, receives = trio.open_memory_channel(1)
    return await given_and_cancelled(
        receives.receive,
        lambda: sends.send_nowait("connection"),
        lambda: sends.statistics().current_buffer_used,
    )


async def semaphore():
    permits = trio.Semaphore(0)

    async def acquire():
        await permits.acquire()
        return "permit"

    return await given_and_cancelled(acquire, permits.release, lambda: permits.value)


async def timed():
    sends, receives = trio.open_memory_channel(1)

    async def receive():
        with trio.fail_after(5):
            return await receives.receive()

    return await given_and_cancelled(
        receive, lambda: sends.send_nowait("connection"), lambda: sends.statistics().current_buffer_used
    )


async def child():
    opens = trio.Event()

    async def receive():
        opened = []

        async def connect():
            await opens.wait()
            opened.append("connection")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect)
        return opened[0]

    return await given_and_cancelled(receive, opens.set, iterations=1)


async def given_and_cancelled(receive, give, kept=lambda: 0, iterations=0):
    """`receive` waits. In one iteration it is given a value and cancelled."""
    received = []
    scope = trio.CancelScope()

    async def receiver():
        with scope:
            received.append(await receive())
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receiver)
        await trio.testing.wait_all_tasks_blocked()
        give()
        for _ in range(iterations):
            await trio.lowlevel.checkpoint()
        scope.cancel()
    return Moment(received, kept(), scope.cancelled_caught)


async def tie():
    """A call that succeeds at the very moment of the deadline."""
    due_at = trio.current_time() + 1
    made, received = [], []

    async def call():
        await trio.sleep_until(due_at)
        made.append("connection")

    try:
        with trio.fail_at(due_at):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
        received = made
    except trio.TooSlowError:
        pass
    return Moment(received, 0 if made else 1, True)
