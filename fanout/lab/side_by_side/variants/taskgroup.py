"""asyncio's best practice: a task group inside a timeout. An exception of our own ends the group early."""

from __future__ import annotations

import asyncio


class Found(Exception):
    """As in "Terminating a task group" in asyncio's documentation."""


async def first(calls, timeout):
    payloads = []

    async def run(call):
        try:
            payloads.append(await call())
        except ConnectionError:
            return
        raise Found

    try:
        async with asyncio.timeout(timeout):
            async with asyncio.TaskGroup() as group:
                for call in calls:
                    group.create_task(run(call))
    except* Found:
        pass
    if not payloads:
        raise ConnectionError("no call succeeded")
    return payloads[0]


async def all_(calls, timeout):
    payloads = {}

    async def run(index, call):
        try:
            payloads[index] = await call()
        except ConnectionError:
            pass

    async with asyncio.timeout(timeout):
        async with asyncio.TaskGroup() as group:
            for index, call in enumerate(calls):
                group.create_task(run(index, call))
    if not payloads:
        raise ConnectionError("no call succeeded")
    return [payloads[index] for index in sorted(payloads)]
