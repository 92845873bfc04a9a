"""The service: everything one process owns, opened around the server and closed after it.

Nothing here lives in Quart's lifespan, which cuts clean-up short and hides crashes.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Any

import trio
from loguru import logger
from prometheus_client import Metric

import fanout
from fanout.admin.app import make_admin
from fanout.admin.guard import AdminGuard
from fanout.admin.live.controls import Controls
from fanout.admin.live.feed import MAX_VIEWERS
from fanout.admin.metrics import families
from fanout.admin.statistics import ServiceStatistics
from fanout.api.handlers import Endpoints
from fanout.api.problems import render
from fanout.config import Settings, mask_url
from fanout.observe.tracing_settings import TracingSettings
from fanout.process.composition import GRACE_MARGIN_S, PublicServer
from fanout.process.descriptors import connections_allowed
from fanout.process.observation import Observation
from fanout.process.resources import certificate_of
from fanout.race.admission import Admission
from fanout.race.events import Observer
from fanout.race.race import Call
from fanout.server.driver import Driver
from fanout.server.limits import Limits
from fanout.server.serve import serve
from fanout.upstream.call import UpstreamCall
from fanout.upstream.connect import why_unreachable
from fanout.upstream.transport import PoolTransport

ADMIN_GRACE_S = 1  # admin answers take milliseconds
ADMIN_SEND_BUFFER_BYTES = 128 * 1024  # the most that a client that does not read can hold; by default 4 MiB
ADMIN_CONNECTIONS = MAX_VIEWERS + 30  # within the spare descriptors; probes and scrapers get through

# Given the URL of each call, and the service's observer: what gives one `Call` for each, while it is open.
OpenCalls = Callable[[Sequence[str], Observer], AbstractAsyncContextManager[Sequence[Call]]]


def longest_shutdown_s(settings: Settings) -> float:
    """The longest time from the first signal until a serving process begins to exit."""
    return (settings.lame_duck_ms + settings.max_timeout_ms) / 1000 + GRACE_MARGIN_S + ADMIN_GRACE_S


class Service:
    """One server process: its upstream connections, its applications, its state. Run it once."""

    def __init__(
        self,
        settings: Settings,
        transport: PoolTransport,
        tracing: TracingSettings | None = None,
        controls: Controls | None = None,
        restarts: int = 0,
        admin_ports: Sequence[int] = (),
        open_calls: OpenCalls | None = None,
        endpoints: Endpoints | None = None,
    ) -> None:
        """controls: of the demo, for the live page. restarts: how often it was replaced.
        admin_ports: those of all workers. open_calls, endpoints: see `run_process`."""
        self._settings = settings
        self._restarts = restarts
        self._transport = transport
        self._admission = Admission(settings.max_in_flight)
        self._observation = observation = Observation(
            settings, self._admission, transport, self.statistics, self.about, tracing, controls
        )
        self._open_calls = open_calls
        self._calls: list[Call] = [UpstreamCall(transport, url) for url in settings.calls]
        self._public = PublicServer(
            settings,
            self._calls,
            self._admission,
            observation.observer,
            watch=observation.watch,
            leak_check=observation.leak_check,
            max_connections=connections_allowed(settings),
            id_prefix=secrets.token_hex(4),
            begin_trace=observation.begin_trace,
            endpoints=endpoints,
        )
        self._admin_driver = Driver(
            Limits(max_connections=ADMIN_CONNECTIONS, evict_busy=True),
            on_crash=self._public.report_crash,
            render=render,
        )
        turns = observation.turns
        admin = make_admin(
            settings,
            self.is_ready,
            self.statistics,
            self._families,
            observation.batches.caught_up,
            turns.others.next,
            {} if controls is None else controls.pages,
        )
        self._admin = AdminGuard(observation.live.around(admin), settings.admin_names, turns)
        self._admin_ports = admin_ports
        self._listeners: tuple[socket.socket, socket.socket] | None = None  # public and admin, once it runs
        self._started_at: float | None = None

    async def run(
        self,
        public: Sequence[socket.socket],
        admin: Sequence[socket.socket],
        stop: trio.Event,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `stop` is set; then shut down gracefully.

        For `lame_duck_ms` it serves as before, but is not ready, and each answer closes its connection. Then
        it drains: it answers the admitted requests, and rejects new ones.

        `task_status.started()` is called when both listeners answer.
        """
        drain, admin_stop = trio.Event(), trio.Event()
        self._listeners = public[0], admin[0]
        for listener in admin:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ADMIN_SEND_BUFFER_BYTES)
        live = self._observation.live.feed
        with self._observation.installed():
            async with self._transport, self._opened_calls() as calls, trio.open_nursery() as background:
                if len(calls) != len(self._calls):
                    raise ValueError(f"open_calls gave {len(calls)} calls for {len(self._calls)} URLs")
                self._calls[:] = calls
                await background.start(self._transport.run)
                background.start_soon(live.run, name="tell the live page")
                background.start_soon(self._observation.batches.run, name="tell of requests that have ended")
                for url in self._settings.upstreams:
                    background.start_soon(_warn_if_unreachable, url)
                background.start_soon(self._observation.check_collector)
                await background.start(
                    partial(
                        serve,
                        self._admin,
                        self._admin_driver,
                        admin,
                        shutdown=admin_stop.wait,
                        grace_s=ADMIN_GRACE_S,
                    )
                )
                async with trio.open_nursery() as nursery:
                    await nursery.start(
                        partial(
                            serve,
                            self._public.app,
                            self._public.driver,
                            public,
                            certificate=certificate_of(self._settings),
                            shutdown=drain.wait,
                            grace_s=self._public.grace_s,
                        )
                    )
                    self._started_at = trio.current_time()
                    task_status.started()
                    await stop.wait()
                    await self._public.shut_down(drain.set, self._say)
                await self._observation.end()
                admin_stop.set()
                background.cancel_scope.cancel(reason="the service has drained")
        logger.info("stopped")

    def _opened_calls(self) -> AbstractAsyncContextManager[Sequence[Call]]:
        if self._open_calls is None:
            return nullcontext(self._calls)
        return self._open_calls(self._settings.calls, self._observation.observer)

    async def _say(self, step: str) -> None:
        logger.info("{}", step)
        await self._observation.live.feed.publish(with_sample=True)

    def is_ready(self) -> bool:
        return self._started_at is not None and not self._public.is_shutting_down

    def statistics(self) -> ServiceStatistics:
        started_at = trio.current_time() if self._started_at is None else self._started_at
        observed = self._observation
        return ServiceStatistics(
            version=fanout.__version__,
            uptime_s=round(trio.current_time() - started_at, 3),
            draining=self._public.is_shutting_down,
            restarts=self._restarts,
            admission=self._admission.statistics(),
            requests=observed.metrics.statistics(),
            overload=self._public.load_shedder.statistics(),
            connections=self._public.driver.statistics(),
            loop=observed.watch.statistics(),
            upstream=self._transport.statistics(),
            traces=None if observed.tracing is None else observed.tracing.statistics(),
            leak_check=None if observed.leak_check is None else observed.leak_check.statistics(),
            logs=None if observed.logs is None else observed.logs.writer.statistics(),
        )

    def about(self) -> dict[str, Any]:
        """What the live page shows of this server, and links to. Made of JSON's own types."""
        upstreams = [mask_url(url) for url in self._settings.calls]
        if self._listeners is None:
            return {"upstreams": upstreams}
        public, admin = (listener.getsockname()[:2] for listener in self._listeners)
        scheme = "http" if self._settings.tls_cert is None else "https"
        return {
            "upstreams": upstreams,
            "api": {"scheme": scheme, "host": public[0], "port": public[1]},
            "admin_port": admin[1],
            "admin_ports": list(self._admin_ports) or [admin[1]],
        }

    def _families(self) -> Iterator[Metric]:
        pool_limit = self._settings.max_in_flight * len(self._settings.calls)
        return families(self._observation.metrics, self.statistics(), pool_limit=pool_limit)


async def _warn_if_unreachable(url: str) -> None:
    why = await why_unreachable(url)
    if why is not None:
        logger.warning(
            "the upstream {} cannot be reached: {}. Start it or set FANOUT_UPSTREAMS; "
            "`fanout upstream` runs a simulated one",
            mask_url(url),
            why,
        )
