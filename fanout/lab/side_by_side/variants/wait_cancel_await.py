"""`asyncio.wait` in a loop; then cancel what still runs, and wait until that has happened."""

from __future__ import annotations

import asyncio


async def first(calls, timeout):
    tasks = [asyncio.create_task(call()) for call in calls]
    pending = set(tasks)
    try:
        async with asyncio.timeout(timeout):
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    try:
                        return task.result()
                    except ConnectionError:
                        continue
        raise ConnectionError("no call succeeded")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def all_(calls, timeout):
    tasks = [asyncio.create_task(call()) for call in calls]
    payloads = []
    try:
        async with asyncio.timeout(timeout):
            await asyncio.wait(tasks)
        for task in tasks:
            try:
                payloads.append(task.result())
            except ConnectionError:
                continue
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if not payloads:
        raise ConnectionError("no call succeeded")
    return payloads
