"""What the peers in Python have in common, so that all do the same work: fanout's rules, written plainly.

`tune_process` is what fanout does to its own process, and all that it does (a test compares the two).

A request makes two calls. A success is a 200 of at most 64 KiB whose body is a JSON object with a whole
number from 0 up as `time`. The race ends 20 ms before the client's timeout.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Coroutine
from typing import Any

RESERVE_S = 0.020
MAX_TIMEOUT_MS = 30_000
MAX_BODY_BYTES = 64 * 1024
GC_THRESHOLD = 1_000_000  # fanout.process.run.GC_THRESHOLD


def timeout_ms(text: str) -> int | None:
    """The client's timeout, or `None` if it is not a valid one."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 5):
        return None
    return int(text) if 1 <= int(text) <= MAX_TIMEOUT_MS else None


def is_success(status: int, body: bytes) -> bool:
    if status != 200 or len(body) > MAX_BODY_BYTES:
        return False
    try:
        payload = json.loads(body)
    except ValueError:
        return False
    time = payload.get("time") if isinstance(payload, dict) else None
    return type(time) is int and time >= 0


def problem_body(status: int, reason: str) -> bytes:
    return json.dumps({"type": "about:blank", "title": reason, "status": status, "reason": reason}).encode()


def tune_process() -> None:
    """To be called when the server is ready: all that is alive now stays, and less is looked for."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)


def use_eager_tasks() -> None:
    """Let a task of the running loop begin at once, without a turn of the loop. From Python 3.12 on."""
    if sys.version_info >= (3, 12):
        asyncio.get_running_loop().set_task_factory(_eager_task)


def _eager_task(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
) -> asyncio.Task[Any]:
    """asyncio's own `eager_task_factory` takes no `eager_start` before 3.14, and uvloop hands one over."""
    return asyncio.Task(coroutine, loop=loop, **{**options, "eager_start": True})
