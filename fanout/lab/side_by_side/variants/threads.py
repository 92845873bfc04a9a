"""Threads, one per call. A thread cannot be cancelled: `Future.cancel` ends only what has not begun.

Its calls are plain functions that block.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from time import monotonic

POOL = ThreadPoolExecutor(64, thread_name_prefix="call")


async def first(calls, timeout):
    return await asyncio.to_thread(first_in_threads, calls, timeout)


async def all_(calls, timeout):
    return await asyncio.to_thread(all_in_threads, calls, timeout)


def first_in_threads(calls, timeout):
    ends_at = monotonic() + timeout
    pending = {POOL.submit(call) for call in calls}
    while pending:
        done, pending = wait(pending, timeout=ends_at - monotonic(), return_when=FIRST_COMPLETED)
        if not done:
            raise TimeoutError
        for future in done:
            if future.exception() is None:
                for other in pending:
                    other.cancel()
                return future.result()
    raise ConnectionError("no call succeeded")


def all_in_threads(calls, timeout):
    futures = [POOL.submit(call) for call in calls]
    _, pending = wait(futures, timeout=timeout)
    if pending:
        raise TimeoutError
    payloads = [future.result() for future in futures if future.exception() is None]
    if not payloads:
        raise ConnectionError("no call succeeded")
    return payloads
