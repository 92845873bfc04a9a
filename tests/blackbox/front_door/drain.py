"""The experiment: SIGTERM in the middle of everything."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import trio

from tests.blackbox.front_door.door import Door, closing, first_status
from tests.blackbox.front_door.hostile import idle_between_requests, never_reading
from tests.bystander import machine_of
from tests.server.serving import Client

STUCK: Final = 5
IDLE: Final = 50
CLIENT_HELLO: Final = bytes.fromhex("16030100d8010000d40303") + bytes(32)  # the beginning of one
_OPENING_S: Final = 0.002  # between two clients: they come as many, not as one crowd


@dataclass(frozen=True, slots=True)
class Drain:
    """What came of it. answers: to the admitted requests, by status; 0 is none.

    over_s: how long after the last deadline the process was gone; below zero if before. machine_s: how long,
    from that deadline on, the machine kept the processes from running. machines_share: that, of all the time.
    """

    admitted: int
    answers: dict[int, int]
    exit_code: int
    took_s: float
    over_s: float
    machine_s: float
    machines_share: float


async def drain(door: Door, *, requests: int, timeout_ms: int) -> Drain:
    """Open everything, send SIGTERM when every request was admitted, wait for the answers and the end."""
    answers: Counter[int] = Counter()
    due_at = 0.0

    async def ask(client: Client) -> None:
        answers[await first_status(client)] += 1

    with machine_of([door.fanout.process.pid]) as machine, ExitStack() as clients:
        async with trio.open_nursery() as holding:
            for act in [never_reading] * STUCK + [idle_between_requests] * IDLE:
                holding.start_soon(act, door)
                await trio.sleep(_OPENING_S)
            if door.tls is not None:
                unfinished = clients.enter_context(closing(await door.connect(handshake=False)))
                await unfinished.send(CLIENT_HELLO)
            async with trio.open_nursery() as asking:
                opened = [clients.enter_context(closing(await door.connect())) for _ in range(requests)]
                for client in opened:
                    await client.send(b"GET /api/first?timeout=%d HTTP/1.1\r\nHost: a\r\n\r\n" % timeout_ms)
                    due_at = time.monotonic() + timeout_ms / 1000
                    asking.start_soon(ask, client)
                    await trio.sleep(_OPENING_S)
                await door.until_begun(requests)
                signalled_at = time.monotonic()
                exit_code = await trio.to_thread.run_sync(door.fanout.stop)
                ended_at = time.monotonic()
            holding.cancel_scope.cancel(reason="it is over")
    return Drain(
        admitted=requests,
        answers=dict(answers),
        exit_code=exit_code,
        took_s=ended_at - signalled_at,
        over_s=ended_at - due_at,
        machine_s=machine.delay_ms(due_at, ended_at) / 1000 if ended_at > due_at else 0.0,
        machines_share=machine.share(signalled_at, ended_at),
    )
