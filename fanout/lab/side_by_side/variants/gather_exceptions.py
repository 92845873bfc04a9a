"""`asyncio.gather(return_exceptions=True)`: waits for every call, and exceptions are values."""

from __future__ import annotations

import asyncio


async def first(calls, timeout):
    return (await all_(calls, timeout))[0]


async def all_(calls, timeout):
    async with asyncio.timeout(timeout):
        results = await asyncio.gather(*[call() for call in calls], return_exceptions=True)
    payloads = [result for result in results if not isinstance(result, BaseException)]
    if not payloads:
        raise ConnectionError("no call succeeded")
    return payloads
