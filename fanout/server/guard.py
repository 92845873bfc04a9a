"""A guard that no exception leaves.

The client, the network or the machine can make any line of a connection raise, also in its clean-up. So all
code of a connection runs inside one guard, and no single line has to be careful.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final


class Guard:
    """`with Guard(report):` reports an exception that is raised inside, and ends it there.

    `Cancelled`, `KeyboardInterrupt` and similar exceptions pass, also when a group holds a bug next to them.
    report: may raise, which changes nothing.
    """

    __slots__ = ("_report",)

    def __init__(self, report: Callable[[Exception], object]) -> None:
        self._report: Final = report

    def __enter__(self) -> None:
        """Nothing to do yet."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, Exception):
            self._tell(error)
            return True
        if isinstance(error, BaseExceptionGroup):
            return self._sort(error)
        return False

    def _sort(self, group: BaseExceptionGroup[BaseException]) -> bool:
        """Report the bugs in a group, and let the rest of it pass."""
        try:
            bugs, others = group.split(Exception)
        except MemoryError:
            return True  # the task ends here either way
        if bugs is None:
            return False
        self._tell(bugs)
        if others is None:
            return True
        try:
            raise others from None
        finally:
            del bugs, others, group  # its traceback refers to this frame: no cycle

    def _tell(self, bug: Exception) -> None:
        with suppress(Exception):
            self._report(bug)
