"""3. A deadline

`asyncio.timeout` ends the wait. It does not end the calls: the tasks that `as_completed` has made belong to
no block, so the loser runs on after the answer. Each request leaves a task behind, with its socket and its
memory.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from experiments import Call, NoSuccess, on_asyncio, show

LOOP = on_asyncio


async def first(calls: Sequence[Call], timeout: float) -> str:
    async with asyncio.timeout(timeout):
        for earliest in asyncio.as_completed([call() for call in calls]):
            try:
                return await earliest
            except Exception:
                continue
    raise NoSuccess


if __name__ == "__main__":
    show(sys.modules[__name__])
