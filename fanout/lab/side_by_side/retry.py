"""The retry loop of some libraries: it treats its cancellation as a failure, and tries once more.

In asyncio a cancellation is an event, so the second attempt runs as if nothing had happened. In Trio it is a
state, so the second attempt ends at its first checkpoint.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def tried_twice(call: Callable[[], Awaitable[T]]) -> T:
    try:
        return await call()
    except BaseException:  # noqa: BLE001 - the mistake that this module is about
        return await call()
