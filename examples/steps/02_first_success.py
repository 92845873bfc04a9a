"""2. The first success

`first` skips a call that has failed, and waits for the next one. But it has no deadline: if no call ends,
it does not end either.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from experiments import Call, NoSuccess, on_asyncio, show

LOOP = on_asyncio


async def first(calls: Sequence[Call], timeout: float) -> str:
    for earliest in asyncio.as_completed([call() for call in calls]):
        try:
            return await earliest
        except Exception:
            continue
    raise NoSuccess


if __name__ == "__main__":
    show(sys.modules[__name__])
