"""Spreads work over processes that end with this one."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

import click

from fanout.process.early_signals import blocked_signals
from fanout.process.exits import FAILED
from fanout.testing.breakages.hook import is_installed

R = TypeVar("R")
processes_option = click.option(
    "--processes",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    metavar="COUNT",
    help="Processes that run them.  [default: one per core]",
)


class Processes:
    """So many processes, or this one alone when it is 1. They start with the first work.

    With a breakage it is always this one alone: others would not have the breakage.
    """

    def __init__(self, count: int) -> None:
        self._count = 1 if is_installed() else count
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """What has not begun by now is not done."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def run(self, function: Callable[..., R], arguments: Iterable[tuple[Any, ...]]) -> Iterator[R]:
        """Yield what `function(*each)` returns, in the order of the arguments.

        Raises `RuntimeError` when no thread can be started, and `BrokenProcessPool` when a process died.
        """
        if self._count == 1:
            for each in arguments:
                yield function(*each)
            return
        if self._pool is None:
            threading.Thread(target=bool).start()  # without a thread the pool would hang
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._count, context, initializer=_end_with_parent)
        with blocked_signals():
            futures = [self._pool.submit(function, *each) for each in arguments]
        for future in futures:
            yield future.result()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(FAILED)

    threading.Thread(target=watch, daemon=True).start()
