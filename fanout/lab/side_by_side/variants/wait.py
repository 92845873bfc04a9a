"""`asyncio.wait` with its timeout. It does not cancel what is still pending, as its documentation says."""

from __future__ import annotations

import asyncio


async def first(calls, timeout):
    tasks = [asyncio.create_task(call()) for call in calls]
    done, _ = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    if not done:
        raise TimeoutError
    return done.pop().result()


async def all_(calls, timeout):
    tasks = [asyncio.create_task(call()) for call in calls]
    _, pending = await asyncio.wait(tasks, timeout=timeout)
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
