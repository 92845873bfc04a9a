"""Two things in one iteration of the event loop: a result and a cancellation, or a result and the deadline.

One module per library, with the same functions. In each, a task waits and is given one value. A value that is
neither received nor kept for another task is lost: if it is a connection, nothing closes it.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Moment(NamedTuple):
    """received: what the waiting call returned. kept: values that another task can still receive, or that
    were not made.

    is_cancelled: the task ended as cancelled, at once or at its next checkpoint. line: where it waited.
    """

    received: list[Any]
    kept: int
    is_cancelled: bool
    line: int | None = None
