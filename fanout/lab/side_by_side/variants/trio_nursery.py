"""Trio's nursery in a cancel scope, as in its documentation, without any part of fanout."""

from __future__ import annotations

import trio


async def first(calls, timeout):
    payloads = []
    with trio.move_on_after(timeout) as deadline:
        async with trio.open_nursery() as nursery:

            async def run(call):
                try:
                    payloads.append(await call())
                except ConnectionError:
                    return
                nursery.cancel_scope.cancel()

            for call in calls:
                nursery.start_soon(run, call)
    if payloads:
        return payloads[0]
    if deadline.cancelled_caught:
        raise TimeoutError
    raise ConnectionError("no call succeeded")


async def all_(calls, timeout):
    payloads = {}

    async def run(index, call):
        try:
            payloads[index] = await call()
        except ConnectionError:
            pass

    try:
        with trio.fail_after(timeout):
            async with trio.open_nursery() as nursery:
                for index, call in enumerate(calls):
                    nursery.start_soon(run, index, call)
    except trio.TooSlowError:
        raise TimeoutError from None
    if not payloads:
        raise ConnectionError("no call succeeded")
    return [payloads[index] for index in sorted(payloads)]
