"""`asyncio.as_completed` with its timeout: the first call that did not fail. The others run on."""

from __future__ import annotations

import asyncio


async def first(calls, timeout):
    for earliest in asyncio.as_completed([call() for call in calls], timeout=timeout):
        try:
            return await earliest
        except ConnectionError:
            continue
    raise ConnectionError("no call succeeded")


async def all_(calls, timeout):
    async def run(index, call):
        return index, await call()

    payloads = {}
    numbered = [run(index, call) for index, call in enumerate(calls)]
    for earliest in asyncio.as_completed(numbered, timeout=timeout):
        try:
            index, payload = await earliest
        except ConnectionError:
            continue
        payloads[index] = payload
    if not payloads:
        raise ConnectionError("no call succeeded")
    return [payloads[index] for index in sorted(payloads)]
