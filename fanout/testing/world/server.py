"""The server of a simulation run: `process/composition` with the default settings, without sockets."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Final

import trio
import trio.testing

from fanout.api.handlers import Endpoints
from fanout.config import Settings, load
from fanout.observe.leak_check import LeakCheck
from fanout.observe.observers import Observers
from fanout.process.composition import PublicServer, make_transport
from fanout.race.admission import Admission
from fanout.race.events import Observer
from fanout.race.race import Call
from fanout.server.serve import begin_drain
from fanout.testing.world.judge_answers import ID_PREFIX
from fanout.testing.world.plan import Plan
from fanout.testing.world.scheduler import VirtualLoopWatch
from fanout.testing.world.upstreams import URL, Upstreams
from fanout.upstream.transport import PoolTransport

_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the usual one takes 20 ms to make
_NOON: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)


@cache
def settings_of(
    calls: int, reserve_ms: int, max_in_flight: int, lame_duck_ms: int, min_call_ms: int
) -> Settings:
    """The default settings, except those that a plan draws."""
    flags = {
        "reserve_ms": reserve_ms,
        "max_in_flight": max_in_flight,
        "lame_duck_ms": lame_duck_ms,
        "min_call_ms": min_call_ms,
    }
    upstreams = ",".join([URL] * calls)
    return load({}, {"upstreams": upstreams} | {name: str(value) for name, value in flags.items()}).settings


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
        endpoints: Endpoints | None,
    ) -> None:
        settings = settings_of(
            plan.calls, plan.reserve_ms, plan.max_in_flight, plan.lame_duck_ms, plan.min_call_ms
        )
        self.transport = make_transport(settings, _NO_TLS, dial=upstreams.dial, look_up=upstreams.look_up)
        self.admission = Admission(settings.max_in_flight)
        self.leak_check = LeakCheck(lambda: self.admission.in_flight, self.transport.connections_in_use)
        self.instruments: list[trio.abc.Instrument] = [self.leak_check]
        watch = VirtualLoopWatch(clock)
        if plan.has_stalls:  # without stalls, every iteration takes no time
            self.instruments.append(watch)
        self._public = PublicServer(
            settings,
            [make_call(self.transport, index) for index in range(len(settings.calls))],
            self.admission,
            Observers([observer]),
            watch=watch,
            leak_check=self.leak_check,
            max_connections=plan.max_connections,
            id_prefix=ID_PREFIX,
            wall_clock=lambda: _NOON,
            endpoints=endpoints,
        )
        self.app, self.driver = self._public.app, self._public.driver

    async def shut_down(self, connections: trio.Nursery, begins: Callable[[], None]) -> None:
        """The same as the service on SIGTERM. begins: called when the drain of these connections begins."""
        drain = trio.Event()

        def begin() -> None:
            begins()
            drain.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._drain, drain, connections)
            await self._public.shut_down(begin, _say)

    async def _drain(self, drain: trio.Event, connections: trio.Nursery) -> None:
        await drain.wait()
        begin_drain(self.driver, connections, self._public.grace_s)


async def _say(step: str) -> None:
    await trio.lowlevel.checkpoint()
