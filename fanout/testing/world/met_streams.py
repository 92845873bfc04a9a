"""Situations of HTTP/2 that simulation runs must cover. See `met`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from fanout.testing.world.ended import Ended
from fanout.testing.world.facts import RequestFacts
from fanout.testing.world.facts_streams import StreamsFacts
from fanout.testing.world.oracle import INSTANT_S

OF_STREAMS: Final[dict[str, int]] = {
    "a stream is reset while its calls run": 20_000,
    "a stream is reset, and another one of its connection is answered": 60_000,
    "a stream is reset between the verdict and the answer": 500_000,
    "a stream is reset in the middle of its answer": 200_000,
    "an answer waits for its window": 20_000,
    "an answer waits for its window until its time is over": 60_000,
    "an answer is given up for want of a window": 60_000,
    "a connection ends two requests at once": 20_000,
    "a client says GOAWAY while its requests run": 60_000,
    "a client sends what is no HTTP/2 while its requests run": 60_000,
    "a malformed request resets its stream": 60_000,
    "a stream is refused in the shutdown": 500_000,
    "the shutdown waits for two requests of a connection": 200_000,
    "an idle HTTP/2 connection gets GOAWAY in the shutdown": 200_000,
}


def met_streams(connection: StreamsFacts, ended: Ended) -> Iterator[str]:
    """Those of one connection, each as often as it occurred."""
    requests, streams = connection.requests, connection.streams
    for request in requests:
        yield from _of_request(connection, request, ended)
    ends = sorted(answer.last_at for answer in connection.completed if answer.last_at is not None)
    for before, after in pairwise(ends):
        if after - before <= INSTANT_S:
            yield "a connection ends two requests at once"
    left_at, drained_at = streams.left_at, ended.drained_at
    if left_at is not None and any(_runs_at(connection, request, left_at) for request in requests):
        if streams.noise is None:
            yield "a client says GOAWAY while its requests run"
        else:
            yield "a client sends what is no HTTP/2 while its requests run"
    running = sum(_runs_at(connection, request, drained_at) for request in requests)
    if running > 1:
        yield "the shutdown waits for two requests of a connection"
    if streams.goaway is not None and drained_at <= streams.goaway.at and not running and requests:
        yield "an idle HTTP/2 connection gets GOAWAY in the shutdown"


def _runs_at(connection: StreamsFacts, request: RequestFacts, moment: float) -> bool:
    """Whether the application had the request just before."""
    answer = connection.answer_to(request)
    over_at = request.left_at if answer is None else answer.last_at
    return (
        request.entered_at is not None
        and request.entered_at < moment - INSTANT_S
        and not (over_at is not None and over_at < moment - INSTANT_S)
    )


def _of_request(connection: StreamsFacts, request: RequestFacts, ended: Ended) -> Iterator[str]:
    answer, stream = connection.answer_to(request), connection.streams.streams.get(request.stream)
    if stream is None:
        return
    if answer is not None and answer.reset is not None:
        if request.script.ask == "garbage":
            yield "a malformed request resets its stream"
        elif answer.first_at >= ended.drained_at - INSTANT_S:
            yield "a stream is refused in the shutdown"
        return
    if answer is not None and answer.was_held:
        yield "an answer waits for its window"
        timeout_s = request.script.timeout_ms / 1000
        over_at = None if request.entered_at is None else request.entered_at + timeout_s
        if (
            timeout_s
            and over_at is not None
            and not (answer.last_at is not None and answer.last_at <= over_at)
        ):
            yield "an answer waits for its window until its time is over"
        if answer.last_at is None and request.left_at is None:
            yield "an answer is given up for want of a window"
    if stream.left_at is not None and request.entered_at is not None:
        yield from _of_reset(connection, request, stream.left_at)


def _of_reset(connection: StreamsFacts, request: RequestFacts, left_at: float) -> Iterator[str]:
    """The client has reset the stream of a request that the application had."""
    answer = connection.answer_to(request)
    if answer is not None:
        if answer.last_at is None:
            yield "a stream is reset in the middle of its answer"
        return
    outcomes = [call.outcome for call in request.calls.values()]
    if request.script.ask not in ("first", "all") or not outcomes:
        return
    if "cancelled" not in outcomes or (request.script.ask == "first" and "success" in outcomes):
        yield "a stream is reset between the verdict and the answer"
    else:
        yield "a stream is reset while its calls run"
    for other in connection.requests:
        answer = connection.answer_to(other)
        is_answered = answer is not None and answer.status == 200 and answer.first_at > left_at
        if is_answered and other is not request and _runs_at(connection, other, left_at):
            yield "a stream is reset, and another one of its connection is answered"
            return
