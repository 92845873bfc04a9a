"""The server as `process/service` composes it, without listeners, TLS and signals."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

import trio
import trio.testing

from fanout.api.app import make_app
from fanout.api.exchange import Exchanges
from fanout.api.handlers import Races
from fanout.api.load_shedding import LoadShedder
from fanout.api.problems import render
from fanout.observe.leak_check import LeakCheck
from fanout.observe.observers import Observers
from fanout.race.admission import Admission
from fanout.race.events import Observer
from fanout.race.race import Call
from fanout.server.driver import Driver
from fanout.server.limits import Limits
from fanout.testing.world.plan import Plan
from fanout.testing.world.scheduler import VirtualLoopWatch
from fanout.testing.world.upstreams import URL, Upstreams
from fanout.upstream.call import MAX_PAYLOAD_BYTES
from fanout.upstream.transport import PoolTransport

CALLS: Final = 2
DEFAULT_TIMEOUT_MS: Final = 1000
MAX_TIMEOUT_MS: Final = 30_000
MAX_LOOP_LAG_MS: Final = 50
_NOON: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Server:
    """The parts that a world needs to see. instruments: to be installed while it runs."""

    def __init__(
        self,
        plan: Plan,
        clock: trio.testing.MockClock,
        upstreams: Upstreams,
        observer: Observer,
        *,
        make_call: Callable[[PoolTransport, int], Call],
        on_crash: Callable[[BaseException], None],
    ) -> None:
        self.transport = PoolTransport(
            max_connections=plan.max_in_flight * CALLS,
            origins=[URL],
            max_body_bytes=MAX_PAYLOAD_BYTES,
            dial=upstreams.dial,
            look_up=upstreams.look_up,
        )
        self.admission = Admission(plan.max_in_flight)
        self.leak_check = LeakCheck(lambda: self.admission.in_flight, self.transport.connections_in_use)
        self.instruments: list[trio.abc.Instrument] = [self.leak_check]
        watch = VirtualLoopWatch(clock)
        if plan.has_stalls:  # else every pass takes no time at all, and the watch would say so
            self.instruments.append(watch)
        load_shedder = LoadShedder(
            watch, max_loop_lag_ms=MAX_LOOP_LAG_MS, reserve_ms=plan.reserve_ms, id_prefix="world"
        )
        observers = Observers([observer])
        races = Races(
            calls=[make_call(self.transport, n) for n in range(CALLS)],
            observer=observers,
            default_timeout_ms=DEFAULT_TIMEOUT_MS,
            max_timeout_ms=MAX_TIMEOUT_MS,
            reserve_ms=load_shedder.reserve_ms,
        )
        self.app = Exchanges(
            make_app(races), self.admission, observers, id_prefix="world", leak_check=self.leak_check
        )
        self.driver = Driver(
            Limits(max_connections=plan.max_connections),
            on_crash=on_crash,
            shed=load_shedder.shed,
            render=render,
            wall_clock=lambda: _NOON,
        )

    def enter_lame_duck(self) -> None:
        self.driver.enter_lame_duck()

    async def drain(self) -> None:
        """What the service and hypercorn's worker do on SIGTERM, each in a task of its own."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_soon, partial(setattr, self.app, "draining", True))
            nursery.start_soon(_soon, self.driver.drain)


async def _soon(act: Callable[[], None]) -> None:
    act()
    await trio.lowlevel.checkpoint()
