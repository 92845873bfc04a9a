"""7. A bug is no failure

`first` expects one exception from a call, `ConnectionError`. Any other exception is a bug, and a bug outranks
every answer.

The bug is in the record, and the code after the block raises it. But when the client disconnects, a
`Cancelled` leaves `first`. The code after the block does not run, and the bug is lost.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import trio
from experiments import Call, NoSuccess, on_trio, show

LOOP = on_trio


async def first(calls: Sequence[Call], timeout: float) -> str:
    payloads: list[str] = []
    failures: list[ConnectionError] = []
    bugs: list[Exception] = []

    async def one(call: Call) -> None:
        try:
            payloads.append(await call())
        except ConnectionError as failure:
            failures.append(failure)
            return
        except Exception as bug:
            bugs.append(bug)
        nursery.cancel_scope.cancel()

    with trio.move_on_after(timeout):
        async with trio.open_nursery() as nursery:
            for call in calls:
                nursery.start_soon(one, call)
    if bugs:
        raise bugs[0]
    if payloads:
        return payloads[0]
    if len(failures) == len(calls):
        raise NoSuccess
    raise TimeoutError


if __name__ == "__main__":
    show(sys.modules[__name__])
