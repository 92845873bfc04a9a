"""The line of a file that a coroutine is at, found from its frames and never typed in."""

from __future__ import annotations

import inspect
from types import FrameType, TracebackType
from typing import Any


def innermost_line(coroutine: Any, path: str) -> int | None:
    """Where a coroutine waits: the line of the innermost frame in this file."""
    line = None
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None)
        if frame is not None and frame.f_code.co_filename == path:
            line = frame.f_lineno
        coroutine = getattr(coroutine, "cr_await", None)
    return line


def running_line(path: str) -> int | None:
    """The line of the innermost frame in this file, of the code that runs now."""
    frame: FrameType | None = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_filename == path:
            return frame.f_lineno
        frame = frame.f_back
    return None


def raised_line(error: BaseException, path: str) -> int | None:
    """The line of the innermost frame in this file that an exception has passed."""
    line = None
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == path:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
