"""6. The outcome is recorded outside of the scope

The record is made before the block, filled in the block, and read after it. A success in the record counts,
however the block ended. (The answer still waits for the clean-up, because no call may outlive it.)

But `except Exception` takes a bug for a failed call. Here the bug has replaced the `Cancelled`, so both are
swallowed. The answer is right, and the bug is never reported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import trio
from experiments import Call, NoSuccess, on_trio, show

LOOP = on_trio


async def first(calls: Sequence[Call], timeout: float) -> str:
    payloads: list[str] = []
    failures: list[Exception] = []

    async def one(call: Call) -> None:
        try:
            payloads.append(await call())
        except Exception as failure:
            failures.append(failure)
        else:
            nursery.cancel_scope.cancel()

    with trio.move_on_after(timeout):
        async with trio.open_nursery() as nursery:
            for call in calls:
                nursery.start_soon(one, call)
    if payloads:
        return payloads[0]
    if len(failures) == len(calls):
        raise NoSuccess
    raise TimeoutError


if __name__ == "__main__":
    show(sys.modules[__name__])
