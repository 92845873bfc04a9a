"""A server with a bystander: what must be as before, whatever happened to others."""

from __future__ import annotations

from typing import Final

from tests.faults.peers import Client
from tests.faults.server import Server
from tests.faults.situations import Situation
from tests.faults.stage import ALL, LIMITS

POOL_EMPTY_AFTER_S: Final = 36.0  # keep-alive expiry and one round of the sweeper
DRAINED_AFTER_S: Final = 31.0 + 5.0  # the longest timeout, and the listeners' grace


class Bench:
    """Compares with how things were when only the bystander was there."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.bystander = server.client()
        self._asked_at = 0.0
        self._usual: dict[str, int] = {}

    async def prepare(self) -> None:
        assert await self._ask(self.bystander) == [200]
        await self._pass_time(POOL_EMPTY_AFTER_S)
        self._usual = self.server.leftovers()

    async def check(self, situation: Situation, *, may_have_bugs: bool, may_leak: bool) -> list[str]:
        """What is wrong once all others have left: G7, G10, G11."""
        server = self.server
        server.upstream.recover()
        server.refusal = None
        wrong = (
            [] if situation.drains else await self._check_served("plain" if may_leak else situation.listener)
        )
        left = await self._left_behind(situation.drains)
        if not may_leak:
            wrong += left
        elif left:
            self._usual = self.server.leftovers()
        bugs, server.bugs[:] = list(server.bugs), []
        if bugs and not may_have_bugs:
            wrong.append(f"a bug was reported: {bugs}")
        return wrong

    async def _check_served(self, listener: str) -> list[str]:
        wrong = []
        self.bystander.turn()
        was_idle_s = self.server.clock.current_time() - self._asked_at
        if self.bystander.closed_by_server and was_idle_s >= LIMITS.idle_timeout_s:
            self.bystander.close()
            self.bystander = self.server.client()
        fresh = self.server.client(listener)
        await self.server.settle(fresh)
        for name, client in (("the bystander", self.bystander), ("a fresh client", fresh)):
            statuses = await self._ask(client)
            if statuses != [200]:
                wrong.append(f"{name} got {statuses}")
        fresh.close()
        return wrong

    async def _left_behind(self, is_drained: bool) -> list[str]:
        await self._pass_time(DRAINED_AFTER_S if is_drained else POOL_EMPTY_AFTER_S)
        now = self.server.leftovers()
        if is_drained:
            return [f"{what}: {now[what]}, after the drain" for what in self.server.MUST_BE_0 if now[what]]
        left = [f"{what}: {now[what]}, was {was}" for what, was in self._usual.items() if now[what] > was]
        # A leak that was allowed may be collected later, so there may be less than before.
        self._usual = {what: min(now[what], was) for what, was in self._usual.items()}
        return left

    async def _ask(self, client: Client) -> list[int]:
        client.received.clear()
        client.send(ALL)
        await self.server.settle(client)
        self._asked_at = self.server.clock.current_time()
        return client.statuses

    async def _pass_time(self, seconds: float) -> None:
        self.server.clock.move(seconds)
        await self.server.settle()
