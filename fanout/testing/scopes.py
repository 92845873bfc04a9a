"""The cancel scopes that a task is in: who cancels it, when, and why. For tests, and for the lab's player.

Private names of Trio are used, as its pinned version has them: a scope has no public way to its task.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio


@dataclass(frozen=True, slots=True)
class OpenScope:
    """One scope as it is now.

    scope: the scope itself, to compare. deadline: Trio clock seconds; infinity: it has none.
    why: who cancelled it, and the reason if there was one; `None`: it is not cancelled.
    """

    scope: trio.CancelScope
    deadline: float
    why: str | None


def scopes_of(task: trio.lowlevel.Task) -> list[OpenScope]:
    """The scopes of a task, outermost first."""
    found = [task._cancel_status]
    while (around := found[-1].parent) is not None:
        found.append(around)
    return [_open(status._scope) for status in reversed(found)]


def _open(scope: trio.CancelScope) -> OpenScope:
    reason = scope._cancel_reason
    why = None
    if scope.cancel_called:
        why = "deadline" if reason is None else reason.reason or reason.source
    return OpenScope(scope, scope.deadline, why)
