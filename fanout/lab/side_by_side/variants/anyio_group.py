"""anyio's cancel scopes, which stay cancelled: code that swallows one cancellation gets the next."""

from __future__ import annotations

import anyio


async def first(calls, timeout):
    payloads = []
    with anyio.fail_after(timeout):
        async with anyio.create_task_group() as group:

            async def run(call):
                try:
                    payloads.append(await call())
                except ConnectionError:
                    return
                group.cancel_scope.cancel()

            for call in calls:
                group.start_soon(run, call)
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

    with anyio.fail_after(timeout):
        async with anyio.create_task_group() as group:
            for index, call in enumerate(calls):
                group.start_soon(run, index, call)
    if not payloads:
        raise ConnectionError("no call succeeded")
    return [payloads[index] for index in sorted(payloads)]
