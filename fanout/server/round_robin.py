"""Decides which stream of an HTTP/2 connection sends next: all streams with data take turns.

It has the methods of hypercorn's priority tree and replaces it. RFC 9113 has withdrawn priorities, and a tree
whose nodes refer to their parents needs the garbage collector.
"""

from __future__ import annotations

from priority.priority import DeadlockError


class RoundRobin:
    """A known stream is either blocked or in the queue."""

    __slots__ = ("_blocked", "_queue")

    def __init__(self) -> None:
        self._queue: dict[int, None] = {}
        self._blocked: set[int] = set()

    def insert_stream(self, stream_id: int) -> None:
        self._queue[stream_id] = None

    def remove_stream(self, stream_id: int) -> None:
        self._queue.pop(stream_id, None)
        self._blocked.discard(stream_id)

    def block(self, stream_id: int) -> None:
        if stream_id in self._queue:
            del self._queue[stream_id]
            self._blocked.add(stream_id)

    def unblock(self, stream_id: int) -> None:
        if stream_id in self._blocked:
            self._blocked.discard(stream_id)
            self._queue[stream_id] = None

    def __next__(self) -> int:
        """The stream that has waited longest. It moves to the end. `DeadlockError`: all are blocked."""
        for stream_id in self._queue:
            del self._queue[stream_id]
            self._queue[stream_id] = None
            return stream_id
        raise DeadlockError
