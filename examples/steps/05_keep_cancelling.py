"""5. A cancellation that stays

The same on Trio: a nursery for the group, a cancel scope for the deadline. On Trio a cancellation is a
state. In a cancelled scope every `await` raises, so the loser swallows three cancellations and has no
attempt left.

Here the way in which the block ends decides what `first` answers. A loser's clean-up ends after 600 ms, and
the deadline is 300 ms, so `fail_after` raises. Yet the winner has answered after 100 ms.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import trio
from experiments import Call, NoSuccess, on_trio, show

LOOP = on_trio


async def first(calls: Sequence[Call], timeout: float) -> str:
    payloads: list[str] = []

    async def one(call: Call) -> None:
        try:
            payloads.append(await call())
        except Exception:
            return
        nursery.cancel_scope.cancel()

    with trio.fail_after(timeout):
        async with trio.open_nursery() as nursery:
            for call in calls:
                nursery.start_soon(one, call)
    if not payloads:
        raise NoSuccess
    return payloads[0]


if __name__ == "__main__":
    show(sys.modules[__name__])
