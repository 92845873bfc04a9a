"""Was every guarantee kept? Everything that can be seen from outside, of every request of a world."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from fanout.testing.world.ended import Ended
from fanout.testing.world.facts import WireFacts
from fanout.testing.world.facts_streams import StreamsFacts
from fanout.testing.world.judge_addresses import judge_addresses
from fanout.testing.world.judge_answers import SMALL_WINDOW_BYTES, judge_connection
from fanout.testing.world.judge_calls import judge_call
from fanout.testing.world.judge_streams import judge_streams
from fanout.testing.world.oracle import INSTANT_S


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken guarantee. of: a request (`w7`), a call (`w7.0`), a connection (`c3`), or the `server`."""

    of: str
    what: str

    def __str__(self) -> str:
        return f"{self.of}: {self.what}"


def judge(ended: Ended) -> list[Violation]:
    """Every guarantee that was broken; empty when all were kept."""
    return [Violation(of, what) for of, what in _all(ended)]


def _all(ended: Ended) -> Iterator[tuple[str, str]]:
    for what in (*ended.wrong, *_late(ended), *_drain(ended), *_kept_open(ended), *judge_addresses(ended)):
        yield "server", what
    if ended.threads_started:
        yield "server", f"G12: {ended.threads_started} threads were started"
    for connection in ended.connections:
        for what in connection.bad:
            yield f"c{connection.number}", what
        if isinstance(connection, StreamsFacts):
            yield from judge_streams(connection, ended)
        else:
            yield from judge_connection(connection, ended)
    for request in ended.requests:
        for what in request.bad:
            yield f"w{request.script.id}", what
        for call in request.calls.values():
            for what in (*call.bad, *judge_call(call, ended)):
                yield call.tag, what
    for wire in ended.wires:
        yield from _dirty(wire)


def _late(ended: Ended) -> Iterator[str]:
    """G2, as the server counts it. A client that does not read makes its own answer late."""
    slow_readers = any(client.window_bytes < SMALL_WINDOW_BYTES for client in ended.plan.clients)
    held = any(isinstance(one, StreamsFacts) and one.streams.was_held for one in ended.connections)
    if ended.late_answers and not ended.stalls and not slow_readers and not held:
        yield f"G2: it counts {ended.late_answers} late answers"


def _drain(ended: Ended) -> Iterator[str]:
    """G9: the drain begins after the lame duck, and ends within a second after the last admitted deadline."""
    drained_at = last = ended.drained_at
    due_at = ended.signalled_at + ended.plan.lame_duck_ms / 1000
    if not due_at - INSTANT_S <= drained_at <= due_at + ended.slack_s(due_at, drained_at) + INSTANT_S:
        yield f"G9: it drained from {drained_at}, and its time as a lame duck ended at {due_at}"
    for request in ended.requests:
        entered_at = request.entered_at
        if entered_at is not None and entered_at <= ended.drained_by(entered_at):
            last = max(last, entered_at + request.script.timeout_ms / 1000)
    closed_at = max((c.closed_at or 0.0 for c in ended.connections), default=0.0)
    if closed_at > last + 1 + ended.slack_s(drained_at, closed_at) + INSTANT_S:
        yield f"G9: drained from {drained_at}, last deadline {last}, last connection closed at {closed_at}"


def _kept_open(ended: Ended) -> Iterator[str]:
    """G9: after the signal every answer closes its connection, so that the client uses another server."""
    for connection in ended.connections:
        for answer in connection.answers:
            closes = answer.closes
            if isinstance(connection, StreamsFacts):
                closes = connection.goes_with(answer, ended.slack_s(answer.first_at, ended.ended_at))
            if answer.first_at > ended.noticed_by(answer.first_at) and not closes:
                yield f"G9: an answer at {answer.first_at} keeps c{connection.number} open after the signal"


def _dirty(wire: WireFacts) -> Iterator[tuple[str, str]]:
    """G7: a connection goes on to the next call only when the upstream had answered the one before."""
    for before, after in pairwise(wire.calls):
        if before.attempts[-1].wire is not wire or not before.answered:
            yield after.tag, f"G7: it got the connection of {before.tag}, which was not answered"
