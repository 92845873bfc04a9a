"""`asyncio.gather`: the calls run concurrently, and the first exception is raised at once."""

from __future__ import annotations

import asyncio


async def first(calls, timeout):
    async with asyncio.timeout(timeout):
        payloads = await asyncio.gather(*[call() for call in calls])
    return payloads[0]


async def all_(calls, timeout):
    async with asyncio.timeout(timeout):
        return await asyncio.gather(*[call() for call in calls])
