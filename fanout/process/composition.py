"""The public server, composed from the settings: for the service, and for the simulation.

Rule: no part of it is composed anywhere else. Whatever cannot be the same in virtual time is a parameter, and
      docs/guarantees.md lists the parameters.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

import trio

from fanout.api.app import make_app
from fanout.api.exchange import Exchanges, not_traced
from fanout.api.handlers import Endpoints, Races
from fanout.api.load_shedding import LoadShedder
from fanout.api.problems import render
from fanout.config import Settings
from fanout.observe.leak_check import LeakCheck
from fanout.observe.loop import LoopWatch
from fanout.race.admission import Admission
from fanout.race.events import BugFound, Observer
from fanout.race.race import Call
from fanout.race.timings import Trace
from fanout.server.answer import utc_now
from fanout.server.asgi import Scope
from fanout.server.driver import Driver
from fanout.server.limits import Limits
from fanout.upstream.call import MAX_PAYLOAD_BYTES
from fanout.upstream.connect import Dial, dial
from fanout.upstream.resolver import LookUp, look_up_in_thread
from fanout.upstream.transport import PoolTransport

GRACE_MARGIN_S = 1  # how long a drain may take beyond the longest deadline (G9)


def make_transport(
    settings: Settings,
    ssl_context: ssl.SSLContext,
    *,
    dial: Dial = dial,
    look_up: LookUp = look_up_in_thread,
) -> PoolTransport:
    """A pool of upstream connections, large enough for the calls of `max_in_flight` requests."""
    return PoolTransport(
        max_connections=settings.max_in_flight * len(settings.calls),
        origins=settings.upstreams,
        max_body_bytes=MAX_PAYLOAD_BYTES,
        ssl_context=ssl_context,
        dial=dial,
        look_up=look_up,
    )


class PublicServer:
    """`app` and `driver` are for `fanout.server.serve`. `grace_s`: how long its drain may take."""

    def __init__(
        self,
        settings: Settings,
        calls: Sequence[Call],
        admission: Admission,
        observer: Observer,
        *,
        watch: LoopWatch,
        leak_check: LeakCheck | None,
        max_connections: int,
        id_prefix: str,
        begin_trace: Callable[[Scope, Mapping[bytes, bytes]], Trace | None] = not_traced,
        wall_clock: Callable[[], datetime] = utc_now,
        endpoints: Endpoints | None = None,
    ) -> None:
        """calls: may be filled until the first client connects. id_prefix: for requests without an id.
        endpoints: more than the API's own."""
        self._observer = observer
        self._admission = admission
        self._lame_duck_ms = settings.lame_duck_ms
        self.load_shedder = LoadShedder(
            watch,
            max_loop_lag_ms=settings.max_loop_lag_ms,
            reserve_ms=settings.reserve_ms,
            id_prefix=id_prefix,
            in_flight=lambda: admission.in_flight,
        )
        races = Races(
            calls=calls,
            observer=observer,
            default_timeout_ms=settings.default_timeout_ms,
            max_timeout_ms=settings.max_timeout_ms,
            reserve_ms=self.load_shedder.reserve_ms,
            deadline_header=settings.deadline_header,
            min_call_ms=settings.min_call_ms,
        )
        self.app = Exchanges(
            make_app(races, endpoints),
            admission,
            observer,
            id_prefix=id_prefix,
            begin_trace=begin_trace,
            leak_check=leak_check,
        )
        self.driver = Driver(
            Limits(max_connections=max_connections),
            on_crash=self.report_crash,
            shed=self.load_shedder.shed,
            render=render,
            wall_clock=wall_clock,
        )
        self.grace_s = settings.max_timeout_ms / 1000 + GRACE_MARGIN_S
        self.is_shutting_down = False

    async def shut_down(self, drain: Callable[[], None], say: Callable[[str], Awaitable[None]]) -> None:
        """From SIGTERM to the drain. For `lame_duck_ms` it serves on, and each answer closes its connection.

        Then it rejects new requests, and calls `drain`, which begins the drain of the connections. `say` is
        awaited at both steps.
        """
        self.is_shutting_down = True
        if self._lame_duck_ms:
            ends_at = trio.current_time() + self._lame_duck_ms / 1000
            self.driver.enter_lame_duck()
            await say(f"not ready any more: requests are served for {self._lame_duck_ms} ms")
            await trio.sleep_until(ends_at)
        self.app.draining = True
        drain()
        await say(f"draining: {self._admission.in_flight} requests in flight")

    def report_crash(self, bug: BaseException) -> None:
        """For `Driver`: an exception that has ended a connection."""
        self._observer.notify(BugFound("unread", "a connection", bug, trio.current_time()))
