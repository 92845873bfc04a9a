"""The public application on a real socket, over scripted calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import trio

from fanout.api.app import make_app
from fanout.api.exchange import Exchanges
from fanout.api.handlers import Races
from fanout.api.problems import render
from fanout.config import Bind
from fanout.observe.leak_check import LeakCheck
from fanout.race.admission import Admission
from fanout.race.events import EVENTS, Event, RequestEnded
from fanout.server.driver import Driver
from fanout.server.limits import Limits
from fanout.server.listeners import open_listeners
from fanout.server.serve import serve
from fanout.testing import ScriptedCall

TOLD_WITHIN_S = 10  # generous: what is waited for is about to happen


class Server:
    """A running server, and the observer of all that it does. `url` has no path."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.events: list[Event] = []
        self.crashes: list[BaseException] = []
        self._news = trio.Event()

    interests = EVENTS

    def notify(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()
        self._news = trio.Event()

    async def told(self, kind: type[Event], times: int = 1) -> None:
        """Wait until so many events of this kind have happened."""
        with trio.fail_after(TOLD_WITHIN_S):
            while sum(isinstance(event, kind) for event in self.events) < times:
                await self._news.wait()

    async def ended(self, reason: str) -> None:
        """Wait until a request has ended for this reason."""
        with trio.fail_after(TOLD_WITHIN_S):
            while reason not in [event.reason for event in self.events if isinstance(event, RequestEnded)]:
                await self._news.wait()


@asynccontextmanager
async def serving(calls: Sequence[ScriptedCall]) -> AsyncIterator[Server]:
    """Serve until the block ends."""
    listeners = open_listeners(Bind("127.0.0.1", 0), "FANOUT_BIND")
    server = Server(f"http://127.0.0.1:{listeners[0].getsockname()[1]}")
    races = Races(calls, server, default_timeout_ms=1000, max_timeout_ms=30_000, reserve_ms=lambda: 20)
    admission = Admission(10)
    leak_check = LeakCheck(lambda: admission.in_flight)
    app = Exchanges(make_app(races), admission, server, id_prefix="test", leak_check=leak_check)
    driver = Driver(Limits(), on_crash=server.crashes.append, render=render)
    trio.lowlevel.add_instrument(leak_check)
    async with trio.open_nursery() as nursery:
        run = partial(serve, app, driver, listeners, shutdown=trio.sleep_forever, grace_s=1)
        await nursery.start(run)
        yield server
        nursery.cancel_scope.cancel(reason="the test is done with the server")
    trio.lowlevel.remove_instrument(leak_check)
    counted = leak_check.statistics()
    assert (counted.tasks_alive, counted.leaked_tasks, counted.leaked_permits) == (0, 0, 0)
    assert server.crashes == []
