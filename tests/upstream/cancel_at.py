"""Drive a coroutine by hand and cancel its scope at its n-th checkpoint."""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any, Literal

import trio

When = Literal["before it blocks", "as it resumes"]
BOTH: tuple[When, When] = ("before it blocks", "as it resumes")


@types.coroutine
def cancel_at(
    coroutine: Coroutine[Any, Any, object], scope: trio.CancelScope, n: int, when: When
) -> Generator[Any, Any, int]:
    """Run `coroutine` to its end; returns how often it yielded, fewer than `n` if it never came that far.

    "as it resumes" is the case that is easily forgotten: what the task waited for has happened, and
    the cancellation comes in the same pass of the loop, before the task has run.
    """
    yields, value = 0, None
    error: BaseException | None = None
    while True:
        try:
            trap = coroutine.send(value) if error is None else coroutine.throw(error)
        except StopIteration:
            return yields
        yields += 1
        if yields == n and when == "before it blocks":
            scope.cancel()
        value, error = None, None
        try:
            value = yield trap
        except BaseException as caught:  # noqa: BLE001 - thrown into the coroutine, as Trio would
            error = caught
        if yields == n and when == "as it resumes":
            scope.cancel()
