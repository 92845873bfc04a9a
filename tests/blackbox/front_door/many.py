"""The experiment: very many requests in flight at once, on an upstream that hangs."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass

import trio
import trio.lowlevel

from tests.blackbox.front_door.door import Door, Reading, closing, first_status
from tests.server.serving import Client


@dataclass(frozen=True, slots=True)
class Many:
    """What came of it. late_ms: how late each 500 was for its client, in order; below zero is in time.

    connected: with every connection open and no request sent. at_peak: with every request sent.
    worst_iteration_ms: the longest pass of the server's loop, of all since its start, as is the peak.
    """

    peak_in_flight: int
    answers: dict[int, int]
    late_ms: list[float]
    before: Reading
    connected: Reading
    at_peak: Reading
    after: Reading
    worst_iteration_ms: float
    bugs: int

    @property
    def kib_a_request(self) -> float:
        return (self.at_peak.resident_kib - self.connected.resident_kib) / self.peak_in_flight

    @property
    def kib_a_connection(self) -> float:
        return (self.connected.resident_kib - self.before.resident_kib) / sum(self.answers.values())


async def crowd(door: Door, *, requests: int, per_s: float, timeout_ms: int, at_one_moment: bool) -> Many:
    """Send the requests at that rate. at_one_moment: their timeouts shrink, so that all end together."""
    answers: Counter[int] = Counter()
    late_ms: list[float] = []

    async def ask(client: Client, ms: int) -> None:
        sent_at = trio.current_time()
        await client.send(b"GET /api/first?timeout=%d HTTP/1.1\r\nHost: a\r\n\r\n" % ms)
        status = await first_status(client)
        answers[status] += 1
        if status == 500:
            late_ms.append((trio.current_time() - sent_at) * 1000 - ms)

    before = await door.reading()
    with ExitStack() as open_clients:
        clients = []
        for _ in range(requests):
            clients.append(open_clients.enter_context(closing(await door.connect())))
            await trio.lowlevel.checkpoint()
        connected = await door.reading()
        async with trio.open_nursery() as nursery:
            began_at = trio.current_time()
            for number, client in enumerate(clients):
                await trio.sleep_until(began_at + number / per_s)
                passed_ms = round((trio.current_time() - began_at) * 1000) if at_one_moment else 0
                nursery.start_soon(ask, client, max(1, timeout_ms - passed_ms))
            await trio.sleep(0.1)
            at_peak = await door.reading()
    after = await door.settled(before)
    (at_end,) = await door.statistics()
    return Many(
        peak_in_flight=at_end["admission"]["peak_in_flight"],
        answers=dict(answers),
        late_ms=sorted(late_ms),
        before=before,
        connected=connected,
        at_peak=at_peak,
        after=after,
        worst_iteration_ms=at_end["loop"]["worst_iteration_ms"],
        bugs=await door.bugs(),
    )
