"""1. The first result

`asyncio.wait` returns as soon as one call has ended, in whatever way. So a failure after 20 ms beats an
answer after 150 ms.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from experiments import Call, on_asyncio, show

LOOP = on_asyncio


async def first(calls: Sequence[Call], timeout: float) -> str:
    tasks = [asyncio.ensure_future(call()) for call in calls]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    return done.pop().result()


if __name__ == "__main__":
    show(sys.modules[__name__])
