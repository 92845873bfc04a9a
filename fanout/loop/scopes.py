"""Cancel scopes that note without a generator when they are due.

Whatever may change that (a scope is entered, left, cancelled, or given another deadline), Trio does inside
a `@contextmanager` that notes it afterwards: twice a scope, and a third of what a scope costs. What is noted
here is the same, and so is when.
"""

from __future__ import annotations

from math import inf
from typing import Any

import trio
from trio._core._run import GLOBAL_RUN_CONTEXT


class _NotedAfterwards:
    """`with scope._might_change_registered_deadline():`"""

    __slots__ = ("_scope",)

    def __init__(self, scope: trio.CancelScope) -> None:
        self._scope = scope

    def __enter__(self) -> None:
        """Nothing has changed yet."""

    @trio.lowlevel.enable_ki_protection
    def __exit__(self, *_: object) -> None:
        scope = self._scope
        due = inf if scope._cancel_status is None or scope._cancel_called else scope._deadline
        noted = scope._registered_deadline
        if due == noted:
            return
        scope._registered_deadline = due
        runner = GLOBAL_RUN_CONTEXT.runner
        deadlines = runner.deadlines
        first_was = deadlines.next_deadline() if runner.is_guest else inf
        if noted != inf:
            deadlines.remove(noted, scope)
        if due != inf:
            deadlines.add(due, scope)
        if runner.is_guest and deadlines.next_deadline() != first_was:
            runner.force_guest_tick_asap()


def _might_change_registered_deadline(scope: trio.CancelScope) -> _NotedAfterwards:
    return _NotedAfterwards(scope)


def note_deadlines_quickly() -> None:
    """In every run of Trio in this process, from now on."""
    scopes: Any = trio.CancelScope  # its method is typed as a generator's
    scopes._might_change_registered_deadline = _might_change_registered_deadline
