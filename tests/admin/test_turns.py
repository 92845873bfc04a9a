"""Turns: however many admin clients there are, one event-loop iteration does one small piece for them."""

from __future__ import annotations

from collections import Counter

import pytest
import trio
from trio.testing import MockClock

from fanout.admin.turns import PROBES_PER_ITERATION, AdminTurns
from fanout.loop.turns import MAX_DELAY_S, Turns, never_busy
from tests.admin.live_app import admin, guarded
from tests.server.serving import in_memory


class Iterations(trio.abc.Instrument):
    """Counts event-loop iterations: `number` is the current one's."""

    number = 0

    def before_io_wait(self, timeout: float) -> None:
        self.number += 1


@pytest.mark.parametrize("per_iteration", [1, 3])
async def test_an_iteration_has_so_many_turns_and_everybody_gets_theirs_in_order(per_iteration: int) -> None:
    """G10: fifty admin clients that always want one more do not make an iteration longer than one does."""
    turns, iterations = Turns(per_iteration), Iterations()
    taken: list[tuple[int, int]] = []

    async def client(name: int) -> None:
        for _ in range(10):
            await turns.next()
            taken.append((iterations.number, name))

    trio.lowlevel.add_instrument(iterations)
    async with trio.open_nursery() as nursery:
        for name in range(50):
            nursery.start_soon(client, name)
    trio.lowlevel.remove_instrument(iterations)
    assert len(taken) == 500
    assert max(Counter(number for number, _ in taken).values()) == per_iteration
    for first in range(0, 500, 50):  # nobody gets a second turn before all have had their first
        names = [name for _, name in taken[first : first + 50]]
        assert len(set(names)) >= 50 - 2 * per_iteration


async def test_a_turn_ends_at_a_cancellation() -> None:
    turns = Turns(1)
    with trio.move_on_after(0):
        await turns.next()
    await turns.next()


async def test_while_the_loop_is_busy_a_turn_waits_but_not_for_good(autojump_clock: MockClock) -> None:
    """A scrape of a busy server takes longer, and ends."""
    busy = True
    turns = Turns(1, lambda: busy)
    began_at = trio.current_time()
    await turns.next()
    assert trio.current_time() - began_at == pytest.approx(MAX_DELAY_S, abs=0.0015)
    busy = False
    began_at = trio.current_time()
    await turns.next()
    assert trio.current_time() == began_at


async def test_probes_wait_for_nobody(autojump_clock: MockClock) -> None:
    """An orchestrator would restart a server whose probes wait behind scrapers, or because it is busy."""
    turns = AdminTurns(lambda: True)
    async with trio.open_nursery() as nursery:
        for _ in range(500):
            nursery.start_soon(turns.others.next)
        began_at = trio.current_time()
        for _ in range(10 * PROBES_PER_ITERATION):
            nursery.start_soon(turns.probes.next)
        await trio.lowlevel.checkpoint()
        await turns.probes.next()
        assert trio.current_time() == began_at
        nursery.cancel_scope.cancel()


class Gate(Turns):
    """Turns that are given when it opens."""

    def __init__(self) -> None:
        super().__init__(1)
        self.open = trio.Event()

    async def next(self) -> None:
        await self.open.wait()


@pytest.mark.parametrize(
    "path", ["/statistics", "/metrics", "/live", "/live/events", "/live/trace.json", "/no"]
)
async def test_every_request_takes_a_turn(path: str, autojump_clock: MockClock) -> None:
    """G10: also those that are rejected. A probe beside them does not wait."""
    turns = AdminTurns(never_busy)
    turns.others = gate = Gate()
    async with in_memory(guarded(admin, turns=turns)) as world:
        for host, expected in (("localhost", 200), ("rebound.example", 421)):
            gate.open = trio.Event()
            client = world.connect()
            await client.send(ask(path, host))
            with trio.move_on_after(1) as waiting:
                await client.answer()
            assert waiting.cancelled_caught
            assert (await world.connect().ask(ask("/livez", "localhost")))[0] == 200
            gate.open.set()
            assert (await client.answer())[0] == expected


def ask(path: str, host: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("ascii")
