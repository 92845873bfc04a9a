"""4. The losers are cancelled and awaited

A `TaskGroup` owns its tasks: the block ends when they have ended. The winner ends the group by raising.
This is asyncio at its best, and for most programs it is enough. But a cancellation on asyncio is one
exception, raised once. A loser that swallows it runs on, and the group waits for it. The deadline does not
help: the group has cancelled its tasks already, and does not do so again.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from experiments import Call, NoSuccess, on_asyncio, show

LOOP = on_asyncio


class Found(Exception):
    pass


async def first(calls: Sequence[Call], timeout: float) -> str:
    async def one(call: Call) -> None:
        try:
            payload = await call()
        except Exception:
            return
        raise Found(payload)

    try:
        async with asyncio.timeout(timeout), asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(one(call))
    except* Found as found:
        winner = found.exceptions[0].args[0]
    else:
        raise NoSuccess
    return winner


if __name__ == "__main__":
    show(sys.modules[__name__])
