"""The experiment: very many requests in flight at once, on an upstream that hangs."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import trio
import trio.lowlevel

from fanout.api.load_shedding import MAX_IN_FLIGHT_RESERVE_MS, MAX_RESERVE_MS
from tests.blackbox.front_door.door import Door, Reading, closing, first_status
from tests.bystander import machine_of
from tests.server.serving import Client

MAX_RESERVE_S: Final = (MAX_RESERVE_MS + MAX_IN_FLIGHT_RESERVE_MS) / 1000


@dataclass(frozen=True, slots=True)
class Many:
    """What came of it. late_ms: how late each 500 was for its client, in order; below zero is in time.
    servers_ms: the same without the time in which the machine kept the processes from running, from a time
    reserve before the deadline on. machines_share: of all the time, what it kept them from running.

    connected: with every connection open and no request sent. at_peak: with every request sent.
    worst_iteration_ms: the longest pass of the server's loop, of all since its start, as is the peak.
    """

    peak_in_flight: int
    answers: dict[int, int]
    late_ms: list[float]
    servers_ms: list[float]
    machines_share: float
    took_s: float
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
    answered: list[tuple[float, float]] = []  # when the deadline was, and when the answer had come

    async def ask(client: Client, ms: int) -> None:
        sent_at = time.monotonic()
        await client.send(b"GET /api/first?timeout=%d HTTP/1.1\r\nHost: a\r\n\r\n" % ms)
        status = await first_status(client)
        answers[status] += 1
        if status == 500:
            answered.append((sent_at + ms / 1000, time.monotonic()))

    before = await door.reading()
    with machine_of([door.fanout.process.pid]) as machine, ExitStack() as open_clients:
        clients = []
        for _ in range(requests):
            clients.append(open_clients.enter_context(closing(await door.connect())))
            await trio.lowlevel.checkpoint()
        connected = await door.reading()
        first_at = time.monotonic()
        async with trio.open_nursery() as nursery:
            began_at = trio.current_time()
            for number, client in enumerate(clients):
                await trio.sleep_until(began_at + number / per_s)
                passed_ms = round((trio.current_time() - began_at) * 1000) if at_one_moment else 0
                nursery.start_soon(ask, client, max(1, timeout_ms - passed_ms))
            await trio.sleep(0.1)
            at_peak = await door.reading()
        last_at = time.monotonic()
    after = await door.settled(before)
    (at_end,) = await door.statistics()
    return Many(
        peak_in_flight=at_end["admission"]["peak_in_flight"],
        answers=dict(answers),
        late_ms=sorted((at - due_at) * 1000 for due_at, at in answered),
        servers_ms=sorted(
            (at - due_at) * 1000 - machine.delay_ms(due_at - MAX_RESERVE_S, at) for due_at, at in answered
        ),
        machines_share=machine.share(first_at, last_at),
        took_s=last_at - first_at,
        before=before,
        connected=connected,
        at_peak=at_peak,
        after=after,
        worst_iteration_ms=at_end["loop"]["worst_iteration_ms"],
        bugs=await door.bugs(),
    )
