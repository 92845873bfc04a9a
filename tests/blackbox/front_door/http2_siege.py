"""The experiment: hostile HTTP/2 connections of every kind, beside honest callers of HTTP/1.1 and HTTP/2."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import h2.connection
import h2.events
import trio
from h2.config import H2Configuration

from tests.blackbox.front_door.door import SETTLE_WITHIN_S, Door, Reading, closing
from tests.blackbox.front_door.hostile import Act
from tests.blackbox.front_door.http2_frames import Field, fields
from tests.blackbox.front_door.http2_kinds import HTTP2_KINDS, over_http2
from tests.web.driver.serving import Caller

LEAD_S = 0.5  # the honest callers begin before the first hostile one, and end after the last
_TARGET = b"/api/first?timeout=10000"
Ask = Callable[[], Awaitable[int]]


class HonestCaller:
    """A caller of HTTP/2 as it should be: one connection, one request after the other."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._connection = h2.connection.H2Connection(H2Configuration(header_encoding=None))
        self._connection.initiate_connection()

    async def ask(self, *request: Field) -> int:
        """The status of its whole answer. Raises `AssertionError` if it does not come."""
        stream_id = self._connection.get_next_available_stream_id()
        self._connection.send_headers(stream_id, request, end_stream=True)
        status = 0
        while True:
            await self._caller.send(self._connection.data_to_send())
            data = bytes(await self._caller.stream.receive_some(65536))
            assert data, "closed without an answer"
            for event in self._connection.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(event.headers)[b":status"])
                elif isinstance(event, h2.events.DataReceived):
                    self._connection.acknowledge_received_data(event.flow_controlled_length, stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    return status
                assert not isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated), event


@dataclass(frozen=True, slots=True)
class Http2Siege:
    """What came of it. answers: of the honest callers, each a status and how many ms it took.

    left_in_flight, left_upstream: requests and upstream connections in use, once all was over.
    """

    kinds: int
    http1: list[tuple[int, float]]
    http2: list[tuple[int, float]]
    before: Reading
    at_peak: Reading
    after: Reading
    left_in_flight: int
    left_upstream: int
    calls: int
    connections: Any
    bugs: int


async def besiege_over_http2(
    door: Door, *, connections: int, seconds: float, rate_per_s: int, acts: Sequence[Act] = ()
) -> Http2Siege:
    """Spread the hostile connections over `seconds`. acts: those kinds alone. The door must speak TLS."""
    chosen = acts or tuple(HTTP2_KINDS.values())
    hostile_door = over_http2(door)
    answers: tuple[list[tuple[int, float]], list[tuple[int, float]]] = ([], [])
    before = await door.reading()
    with closing(await door.connect()) as plain, closing(await hostile_door.connect()) as multiplexed:
        honest = HonestCaller(multiplexed)

        async def ask_over_http1() -> int:
            status, _, _ = await plain.ask(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % _TARGET)
            return status

        async def ask_over_http2() -> int:
            return await honest.ask(*fields(_TARGET))

        async with trio.open_nursery() as steady:
            steady.start_soon(_ask_steadily, ask_over_http1, rate_per_s, answers[0])
            steady.start_soon(_ask_steadily, ask_over_http2, rate_per_s, answers[1])
            await trio.sleep(LEAD_S)
            async with trio.open_nursery() as hostile:
                began_at = trio.current_time()
                for number in range(connections):
                    await trio.sleep_until(began_at + number * seconds / connections)
                    hostile.start_soon(chosen[number % len(chosen)], hostile_door)
                await trio.sleep(LEAD_S)
                at_peak = await door.reading()
                hostile.cancel_scope.cancel(reason="the siege is over")
            await trio.sleep(LEAD_S)
            steady.cancel_scope.cancel(reason="the siege is over")
    after = await door.settled(before)
    statistics = await _quiet(door)
    return Http2Siege(
        kinds=min(connections, len(chosen)),
        http1=answers[0],
        http2=answers[1],
        before=before,
        at_peak=at_peak,
        after=after,
        left_in_flight=statistics["admission"]["in_flight"],
        left_upstream=_in_use(statistics),
        calls=len(await door.calls()),
        connections=statistics["connections"],
        bugs=await door.bugs(),
    )


async def _ask_steadily(ask: Ask, rate_per_s: int, answers: list[tuple[int, float]]) -> None:
    """Ask on schedule; an answer that takes longer than the schedule delays the next, and counts for it."""
    due_at = trio.current_time()
    while True:
        await trio.sleep_until(due_at)
        status = await ask()
        answers.append((status, (trio.current_time() - due_at) * 1000))
        due_at += 1 / rate_per_s


async def _quiet(door: Door) -> Any:
    """The statistics once nothing is in flight, or the last ones in reach."""
    (statistics,) = await door.statistics()
    with trio.move_on_after(SETTLE_WITHIN_S):
        while statistics["admission"]["in_flight"] or _in_use(statistics):
            await trio.sleep(0.05)
            (statistics,) = await door.statistics()
    return statistics


def _in_use(statistics: Any) -> int:
    return sum(origin["in_use"] for origin in statistics["upstream"]["origins"])
