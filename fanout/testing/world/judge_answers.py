"""One client's connection: the right answer, at the right time, to every request whose head was read."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Final

from fanout.testing.world.answers import Answer
from fanout.testing.world.dues import dues_of, is_due, race_ends
from fanout.testing.world.ended import Ended
from fanout.testing.world.facts import ConnectionFacts, RequestFacts
from fanout.testing.world.oracle import INSTANT_S

# What the documentation of the driver's limits says.
WRITE_TIMEOUT_S: Final = 10.0
HEAD_TIMEOUT_S: Final = 10.0
LINGER_TIMEOUT_S: Final = 1.0  # for an answer after which the connection closes in any case
DRAIN_GRACE_S: Final = 0.5
MAX_ITERATION_S: Final = 0.005  # requests are shed after a longer iteration
START_COST_S: Final = 0.0002  # what each request that begins in an iteration adds to it
SMALL_WINDOW_BYTES: Final = 2000  # an answer may not fit, and then waits for its client to read
MANY_CONNECTIONS: Final = 1000  # with fewer, waiting ones may have to give way
TOO_LARGE: Final = frozenset({414, 431})
ID_PREFIX: Final = "world"  # of the ids that the server makes
END: Final = b"\r\n\r\n"


def judge_connection(connection: ConnectionFacts, ended: Ended) -> Iterator[tuple[str, str]]:
    """What is wrong, each with whom it is about: a request, or the connection."""
    answers, requests = connection.reader.answers, connection.requests
    us = f"c{connection.number}"
    if connection.too_many and answers and (answers[0].status, answers[0].request_id) == (503, "unread"):
        if len(answers) > 1:
            yield us, "G1: there are answers behind its refusal"
        return
    free_at = connection.opened_at  # when the answer before was complete
    judged = 0
    for request, answer in zip(requests, [*answers, *[None] * len(requests)], strict=False):
        name = f"w{request.script.id}"
        case = Case(connection, request, free_at, ended)
        for what in case.head():
            yield name, what
        if answer is None:
            for what in case.unanswered():
                yield name, what
            break
        judged += 1
        for what in case.answered(answer):
            yield name, what
        if answer.last_at is None:
            if not _may_be_cut(connection, ended):
                yield name, "G1: its answer is not complete"
            break
        free_at = answer.last_at
        if answer.closes:
            break
    if len(answers) > judged:
        yield us, f"G1: {len(answers)} answers to {judged} requests"


def _may_be_cut(connection: ConnectionFacts, ended: Ended) -> bool:
    """Whether an answer may end in the middle: its client left, or did not read."""
    begun_at, closed_at = connection.reader.begun_at, connection.closed_at
    if begun_at is None or closed_at is None:
        return False
    if connection.left_at is not None:
        return True
    answers = connection.reader.answers
    is_refusal = not answers or answers[-1].last_at is not None or _is_the_drivers(answers[-1])
    if is_refusal and connection.client.window_bytes < SMALL_WINDOW_BYTES:
        return True  # the driver waits for no client to take its last word
    patience_s = LINGER_TIMEOUT_S if is_refusal else WRITE_TIMEOUT_S
    drained_s = closed_at - max(begun_at, ended.drained_at)
    return closed_at - begun_at >= patience_s - INSTANT_S or drained_s >= DRAIN_GRACE_S - INSTANT_S


def _is_the_drivers(answer: Answer) -> bool:
    """Whether the driver wrote it, to a shed or malformed request. The application repeats the id."""
    return answer.request_id == "unread" or answer.request_id.startswith(f"{ID_PREFIX}-")


class Case:
    """One request and what came of it. free_at: when the connection's answer before it was complete."""

    def __init__(
        self, connection: ConnectionFacts, request: RequestFacts, free_at: float, ended: Ended
    ) -> None:
        self._connection = connection
        self._request = request
        self._free_at = free_at
        self._ended = ended
        self._read_at = connection.read_at(request.head_end)
        self._arrived_at = free_at if self._read_at is None else max(self._read_at, free_at)
        self._left_at = request.left_at

    def head(self) -> Iterator[str]:
        """G10: it may take 10 s. Then the server answers 408, and closes at the latest after the linger."""
        from_s = max(self._came_at(self._request), self._free_at)  # `inf`: nothing came
        ends = self._read_at, self._left_at, self._connection.closed_at
        read_at, left_at, closed_at = (inf if at is None else at for at in ends)
        until = min(read_at, left_at, closed_at - LINGER_TIMEOUT_S)
        if until > from_s + HEAD_TIMEOUT_S + self._ended.slack_s(from_s, until) + INSTANT_S:
            yield f"G10: its head began to come at {from_s}, and was waited for until {until}"

    def unanswered(self) -> Iterator[str]:
        """G1 and G6: there is no answer. May that be?"""
        request, left_at, ended = self._request, self._left_at, self._ended
        if self._read_at is None or self._may_be_cut():
            return  # G1 is for requests whose head was read, and for clients who read
        if request.script.ask == "garbage" or request.entered_at is None:
            if not self._came_too_late():
                yield "G1: its head was read, and it was neither answered nor given to the application"
            return
        slack_s = self._slack_s(left_at)
        latest = max(due.when.latest for due in dues_of(request, self._arrived_at, slack_s, ended))
        if left_at is None or left_at > latest + INSTANT_S:
            yield f"G1: it has no answer, and its client had not left; due by {latest:.6f}"
            return
        for call in request.calls.values():
            gone_at = max(left_at, self._arrived_at) + self._slack_s(call.ended_at)
            if call.ended_at is None or call.ended_at > gone_at + INSTANT_S:
                yield f"G6: call {call.index} ended at {call.ended_at}, its client had left at {left_at}"

    def _may_be_cut(self) -> bool:
        return _may_be_cut(self._connection, self._ended)

    def answered(self, answer: Answer) -> Iterator[str]:
        request = self._request
        if answer.request_id == "unread":
            yield from self._unread(answer)
        elif request.entered_at is None:
            yield from self._refused(answer)
        elif self._read_at is None:
            yield "G1: it was answered before it was read"
        elif answer.request_id != f"w{request.script.id}":
            yield f"G1: it got the answer to {answer.request_id}"
        else:
            yield from self._answered_by_app(answer, request.entered_at)

    def _answered_by_app(self, answer: Answer, entered_at: float) -> Iterator[str]:
        request, arrived_at, left_at = self._request, self._arrived_at, self._left_at
        slack_s = self._slack_s(answer.first_at)
        if not arrived_at - INSTANT_S <= entered_at <= arrived_at + slack_s + INSTANT_S:
            yield f"it was read at {arrived_at} and given to the application at {entered_at}"
        if left_at is not None and max(left_at, arrived_at) < answer.first_at - slack_s - INSTANT_S:
            yield "G6: it was answered although its client had left"
        dues = dues_of(request, arrived_at, slack_s, self._ended)
        if not any(is_due(answer, due, head_only=request.script.is_head) for due in dues):
            said = f"{answer.status} at {answer.first_at:.6f} {answer.body[:60]!r}"
            yield f"G2/G4/G5/G8: it was answered {said}; allowed: {dues}"
        if request.script.ask in ("first", "all"):
            yield from self._race(answer, slack_s)

    def _race(self, answer: Answer, slack_s: float) -> Iterator[str]:
        """Guarantees in their own words, which no slack of a stalled loop can blur."""
        request, timeout_s = self._request, self._request.script.timeout_ms / 1000
        if answer.first_at > self._arrived_at + timeout_s + slack_s + INSTANT_S:
            yield f"G2: it was answered at {answer.first_at}, read at {self._arrived_at}"
        ends = race_ends(request, self._arrived_at, slack_s, self._ended)
        if ends.latest <= self._arrived_at and request.calls and request.deadline_at is None:
            yield "G2: a call was started after the deadline"
        if request.script.ask == "first" and answer.status != 200:
            for call in request.calls.values():
                won_at = call.ended_at if call.outcome == "success" else None
                crashed = any(other.outcome == "crashed" for other in request.calls.values())
                if won_at is not None and won_at < ends.earliest - INSTANT_S and not crashed:
                    yield f"G4: call {call.index} had succeeded at {won_at}, before the deadline"

    def _refused(self, answer: Answer) -> Iterator[str]:
        """G8: for the loop had been standing still. Nothing is parsed for that, so one byte is enough."""
        came_at = self._came_at(self._request)
        if came_at > answer.first_at + INSTANT_S:
            yield "G1: it was answered before it came"
        from_s = max(came_at, self._free_at)
        if answer.first_at > from_s + self._ended.slack_s(from_s, answer.first_at) + INSTANT_S:
            yield f"G8: it came at {from_s} and was refused at {answer.first_at}"
        if self._read_at is None and not answer.closes:
            yield "its connection was kept open, and more of it was to come"
        # The reason is in the body: an answer to HEAD has none, and an answer that was cut is not complete.
        says_nothing = self._request.script.is_head or answer.last_at is None
        is_overload = answer.status == 503 and (says_nothing or answer.reason == "overloaded")
        if not is_overload or not self._was_behind(answer.first_at):
            yield "G8: it was refused for no reason"

    def _unread(self, answer: Answer) -> Iterator[str]:
        """The driver's own answers: to what is no request, and to what did not come."""
        request = self._request
        if not self._ends_with(answer):
            yield "a refused connection was kept open"
        if request.script.ask == "crash" and (request.entered_at is not None or answer.status != 408):
            yield from self._crashed(answer)
        elif answer.status == 408:
            waited_s = answer.first_at - request.sent_at
            drained_s = answer.first_at - self._ended.drained_at
            in_time = self._read_at is not None and self._read_at < answer.first_at - INSTANT_S
            if in_time or (waited_s < HEAD_TIMEOUT_S - INSTANT_S and drained_s < DRAIN_GRACE_S - INSTANT_S):
                yield "its head was called late, and was not"
        elif request.script.ask != "garbage":
            yield f"it was refused as malformed: {answer.status} {answer.reason}"
        elif answer.status not in self._deserved(answer):
            yield f"what is no request got {answer.status}, and not {request.script.status}"

    def _ends_with(self, answer: Answer) -> bool:
        """Whether nothing can be asked behind this answer."""
        return answer.closes

    def _crashed(self, answer: Answer) -> Iterator[str]:
        """G11: the application raised, so the driver answers at once."""
        script, entered_at = self._request.script, self._request.entered_at
        is_said = answer.last_at is None or answer.reason == script.reason
        if answer.status != script.status or not is_said:
            yield f"G11: the application crashed, and the answer is {answer.status} {answer.reason}"
        if entered_at is None or answer.first_at > entered_at + self._slack_s(answer.first_at) + INSTANT_S:
            yield f"G11: the application crashed at {entered_at}, and was answered for at {answer.first_at}"

    def _came_too_late(self) -> bool:
        """It was read in the instant in which the server, or the client, gave up."""
        arrived_at, left_at = self._arrived_at, self._left_at
        if left_at is not None and left_at <= arrived_at + self._slack_s(left_at) + INSTANT_S:
            return True
        is_crowded = self._ended.plan.max_connections < MANY_CONNECTIONS
        drained_at = self._ended.drained_at
        return is_crowded or drained_at - INSTANT_S <= arrived_at <= self._ended.drained_by(arrived_at)

    def _deserved(self, answer: Answer) -> Iterator[int]:
        """The statuses for what is no request: its own; or the one for its size, if there is more of it.

        What has no blank line has no end: what comes behind it, up to the next one, is a part of it.
        """
        yield self._request.script.status
        requests = self._connection.requests
        for request in requests[requests.index(self._request) :]:
            if request.script.status in TOO_LARGE and self._came_at(request) <= answer.first_at + INSTANT_S:
                yield request.script.status
            if END in request.script.data:
                return

    def _came_at(self, request: RequestFacts) -> float:
        """When its first byte had been read; `inf`: it was not."""
        came_at = self._connection.read_at(request.head_end - len(request.script.data) + 1)
        return inf if came_at is None else came_at

    def _was_behind(self, moment: float) -> bool:
        """Whether the loop had been stuck for too long, and had not slept enough since then to recover.

        The requests admitted at that moment count, too: a burst alone may be too much for an iteration.
        """
        entered = (request.entered_at for request in self._ended.requests)
        together = sum(at is not None and abs(at - moment) <= INSTANT_S for at in entered)
        limit_s = MAX_ITERATION_S - together * START_COST_S
        return limit_s < 0 or any(
            took_s > limit_s - INSTANT_S
            and began - INSTANT_S <= moment <= began + took_s + (took_s - limit_s) + INSTANT_S
            for began, took_s in self._ended.long_passes()
        )

    def _slack_s(self, until: float | None) -> float:
        return self._ended.slack_s(self._arrived_at, self._arrived_at if until is None else until)
