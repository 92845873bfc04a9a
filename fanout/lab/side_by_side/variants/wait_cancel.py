"""`asyncio.wait`, and what is still pending is cancelled, but not awaited."""

from __future__ import annotations

import asyncio


async def first(calls, timeout):
    tasks = [asyncio.create_task(call()) for call in calls]
    done, pending = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    if not done:
        raise TimeoutError
    return done.pop().result()


async def all_(calls, timeout):
    tasks = [asyncio.create_task(call()) for call in calls]
    _, pending = await asyncio.wait(tasks, timeout=timeout)
    for task in pending:
        task.cancel()
    if pending:
        raise TimeoutError
    payloads = []
    for task in tasks:
        try:
            payloads.append(task.result())
        except ConnectionError:
            continue
    if not payloads:
        raise ConnectionError("no call succeeded")
    return payloads
