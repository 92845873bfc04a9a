"""One client's HTTP/2 connection: as `judge_answers`, where each request has a stream of its own.

A stream may also end with an error instead of an answer. What waits for a window, or for room on the
connection, is given up after a time, and nothing else may wait for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Final

from fanout.testing.world.answers import Answer
from fanout.testing.world.ended import Ended
from fanout.testing.world.facts import RequestFacts
from fanout.testing.world.facts_streams import ENHANCE_YOUR_CALM, StreamsFacts
from fanout.testing.world.judge_answers import DRAIN_GRACE_S, WRITE_TIMEOUT_S, Case
from fanout.testing.world.oracle import INSTANT_S
from fanout.testing.world.streams import GoAway

MAX_FRAMES: Final = 1000  # at once, that are no request
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8


def judge_streams(connection: StreamsFacts, ended: Ended) -> Iterator[tuple[str, str]]:
    """What is wrong, each with whom it is about: a request, or the connection."""
    for request in connection.requests:
        case = StreamCase(connection, request, ended)
        answer = connection.answer_to(request)
        for what in case.unanswered() if answer is None else case.answered(answer):
            yield f"w{request.script.id}", what
    for what in (*_of_connection(connection, ended), *_pings(connection, ended)):
        yield f"c{connection.number}", what


def _of_connection(connection: StreamsFacts, ended: Ended) -> Iterator[str]:
    goaway, closed_at = connection.streams.goaway, connection.closed_at
    if goaway is not None:
        yield from _goaway(connection, goaway)
    has_left = connection.left_at is not None or connection.streams.left_at is not None
    if closed_at is None or has_left or ended.cut_off:
        return
    is_given_up = _is_given_up(connection, closed_at, ended)
    is_owed = connection.streams.has_spoken and not (connection.waits or connection.too_many)
    if goaway is None and is_owed and not is_given_up:
        yield "its connection ended without GOAWAY"
    if connection.given_up_at is not None:
        began = connection.waits[-1][0]
        is_long = _is_long(_waits_from(connection, began), closed_at, ended)
        if not is_given_up and not is_long and not _was_idle(connection, closed_at):
            yield f"G10: its client was not waited for from {began}, and it was closed at {closed_at}"


def _goaway(connection: StreamsFacts, goaway: GoAway) -> Iterator[str]:
    """It excludes what was not begun, and nothing else, and is the last word."""
    for request in connection.requests:
        if request.entered_at is not None and request.stream > goaway.last:
            yield f"G9: GOAWAY excludes w{request.script.id}, which was begun"
        if _runs(connection, request, goaway.at) and not goaway.error:
            yield f"G9: it said GOAWAY, and w{request.script.id} was running"
    frames = connection.streams.frames
    if goaway.error == ENHANCE_YOUR_CALM and frames < MAX_FRAMES and not connection.too_many:
        yield f"G10: {frames} frames were too many for it"


def _pings(connection: StreamsFacts, ended: Ended) -> Iterator[str]:
    streams = connection.streams
    goaway_at = None if streams.goaway is None else streams.goaway.at
    ends = (connection.closed_at, connection.left_at, streams.left_at, goaway_at)
    until = min((at for at in ends if at is not None), default=inf)
    for read_at in streams.pings:
        due_at = connection.free_from(read_at)
        if until > due_at + ended.slack_s(due_at, until) + INSTANT_S:
            yield f"a ping of {read_at} was not answered until {until}"


def _is_given_up(connection: StreamsFacts, moment: float, ended: Ended) -> bool:
    """Whether an answer had waited for long enough, so that its connection may end with a reset.

    An answer waits until the transport has all of the write in which its last bytes are.
    """
    waits_from = inf if connection.given_up_at is None else connection.waits[-1][0]
    for request in connection.requests:
        answer, begun_at = connection.answer_to(request), request.answered_at
        is_complete = answer is not None and answer.last_at is not None and answer.last_at < waits_from
        if begun_at is not None and not is_complete and _is_long(begun_at, moment, ended):
            return True
    return False


def _waits_from(connection: StreamsFacts, began: float) -> float:
    """Since when there is nothing that the server could do. It looks at no head before its settings are sent,
    and waits for the first one from the beginning. A refusal that is not sent does not end that wait.
    """
    requests = connection.requests
    has_begun = connection.completed or any(each.entered_at is not None for each in requests)
    return began if has_begun else connection.opened_at


def _was_idle(connection: StreamsFacts, closed_at: float) -> bool:
    """Whether nothing but GOAWAY had to wait for room, so that the connection ended without it."""
    answers = [connection.answer_to(each) for each in connection.requests if each.entered_at is not None]
    ends = [inf if answer is None or answer.last_at is None else answer.last_at for answer in answers]
    return connection.waits[-1][0] >= closed_at - INSTANT_S and max(ends, default=inf) <= closed_at


def _runs(connection: StreamsFacts, request: RequestFacts, moment: float) -> bool:
    """Whether the application would still have had the request after that, if nobody had stopped it."""
    answer = connection.answer_to(request)
    over = (request.left_at, None if answer is None else answer.first_at, request.answered_at)
    is_over = any(at is not None and at <= moment + INSTANT_S for at in over)
    return request.entered_at is not None and request.entered_at < moment - INSTANT_S and not is_over


def _is_long(began: float, until: float, ended: Ended) -> bool:
    """Whether a client was waited for as long as it has to be. In the graceful shutdown that is shorter."""
    waited_s, drained_s = until - began, until - max(began, ended.drained_at)
    return waited_s >= WRITE_TIMEOUT_S - INSTANT_S or drained_s >= DRAIN_GRACE_S - INSTANT_S


class StreamCase(Case):
    """One request and what came of it."""

    def __init__(self, connection: StreamsFacts, request: RequestFacts, ended: Ended) -> None:
        super().__init__(connection, request, connection.opened_at, ended)
        self._streams = connection
        self._read_at = connection.head_read_at(request)
        arrived_at = connection.arrived_at(request)
        if arrived_at is not None:
            self._arrived_at = arrived_at

    def answered(self, answer: Answer) -> Iterator[str]:
        if answer.reset is not None:
            yield from self._reset(answer, answer.reset)
            return
        yield from super().answered(answer)
        answered_at, left_at = self._request.answered_at, self._left_at
        if answer.head_at is not None and answered_at is not None:
            free_from = self._streams.free_from(answered_at) + self._slack_s(answer.head_at)
            if answer.head_at > free_from + INSTANT_S:
                yield f"G2: it was answered at {answered_at}, and its head was written at {answer.head_at}"
        yield from self._waited(answer)
        if answer.last_at is None:
            if not self._may_be_cut():
                yield "G1: its answer is not complete"
            return
        room_at = answer.room_at or answer.first_at
        by = self._streams.free_from(room_at) + self._ended.slack_s(room_at, answer.last_at)
        if answer.last_at > by + INSTANT_S:
            yield f"G2: its windows had room at {room_at}, and it was written until {answer.last_at}"
        if left_at is not None and answer.last_at > left_at + self._slack_s(answer.last_at) + INSTANT_S:
            yield f"G6: it was written until {answer.last_at}, and its client had left at {left_at}"

    def _waited(self, answer: Answer) -> Iterator[str]:
        """G10: an answer that its client does not take is given up."""
        stream = self._streams.streams.streams[self._request.stream]
        ends = (answer.last_at, stream.reset_at, self._left_at, self._connection.closed_at)
        until = min((at for at in ends if at is not None), default=inf)
        due_at = answer.first_at + WRITE_TIMEOUT_S
        if until > self._streams.free_from(due_at) + self._slack_s(until) + INSTANT_S:
            yield f"G10: it was answered at {answer.first_at}, and its client was waited for until {until}"

    def _reset(self, answer: Answer, error: int) -> Iterator[str]:
        """Its stream was reset, and nothing was answered."""
        reset_at, arrived_at, request = answer.first_at, self._arrived_at, self._request
        if reset_at > self._streams.free_from(arrived_at) + self._slack_s(reset_at) + INSTANT_S:
            yield f"G2: it was read at {arrived_at}, and its stream was reset at {reset_at}"
        if request.script.reset == error:
            return
        is_draining = arrived_at >= self._ended.drained_at - INSTANT_S or self._was_behind(reset_at)
        if error != REFUSED_STREAM or request.entered_at is not None or not is_draining:
            yield f"G1: its stream was reset with {error}"

    def _may_be_cut(self) -> bool:
        """Whether an answer may end in the middle: its client left, or gave no room for it."""
        stream = self._streams.streams.streams[self._request.stream]  # its head was read
        begun_at, ended_at = self._request.answered_at, self._connection.closed_at
        answer = stream.answer
        if answer is not None:
            begun_at = answer.first_at
        if self._left_at is not None and begun_at is not None:
            return True
        if stream.reset_at is not None:
            ended_at = stream.reset_at
            if stream.reset != CANCEL:
                return False
        if begun_at is None or ended_at is None:
            return False
        room_at = inf if answer is None or answer.room_at is None else answer.room_at
        return room_at >= ended_at - INSTANT_S and _is_long(begun_at, ended_at, self._ended)

    def _came_too_late(self) -> bool:
        """As in HTTP/1.1, or in the instant in which an answer beside it was given up with the connection."""
        closed_at = self._streams.closed_at
        if closed_at is not None and _is_given_up(self._streams, closed_at, self._ended):
            return closed_at <= self._arrived_at + INSTANT_S or super()._came_too_late()
        return super()._came_too_late()

    def _ends_with(self, answer: Answer) -> bool:
        return True  # the stream does

    def _deserved(self, answer: Answer) -> Iterator[int]:
        yield self._request.script.status

    def _came_at(self, request: RequestFacts) -> float:
        arrived_at = self._streams.arrived_at(request)
        return inf if arrived_at is None else arrived_at
