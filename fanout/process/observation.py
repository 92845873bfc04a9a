"""All that watches one process: the observers of its requests, and the instruments of its loop.

One set of facts, the core's events, many views: counts, receipts, and of each receipt a log line, metrics,
spans and the live page. All but bugs is done in batches (`batches`), so that a request pays little for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio

from fanout.admin.live.app import Live
from fanout.admin.live.controls import Controls
from fanout.admin.metrics import request_metrics
from fanout.admin.turns import AdminTurns
from fanout.api.exchange import not_traced
from fanout.config import Settings
from fanout.loop.sockets import sockets
from fanout.observe.leak_check import LeakCheck
from fanout.observe.log import LogObserver, configured_logs
from fanout.observe.loop import LoopWatch
from fanout.observe.observers import BatchedObserver, Observers, Receipts
from fanout.observe.request_log import RequestLog
from fanout.observe.tracing_settings import TracingSettings
from fanout.process.resources import open_tracing
from fanout.race.admission import Admission
from fanout.race.events import BugFound
from fanout.upstream.connect import why_unreachable
from fanout.upstream.transport import PoolTransport


class Observation:
    """`observer` receives every event. `watch` and `leak_check` work while `installed`.

    Run `batches.run` next to the server. After `await batches.caught_up()` every count is complete.
    """

    def __init__(
        self,
        settings: Settings,
        admission: Admission,
        transport: PoolTransport,
        statistics: Callable[[], Any],
        about: Callable[[], dict[str, Any]],
        tracing: TracingSettings | None,
        controls: Controls | None,
    ) -> None:
        """statistics, about: the service's, for the live page."""
        self.watch = LoopWatch(time.perf_counter, time.thread_time)  # noqa: TID251 - Trio's own clock
        self.leak_check = None
        if settings.leak_check == "on":
            self.leak_check = LeakCheck(lambda: admission.in_flight, transport.connections_in_use)
        self.metrics = request_metrics(settings)
        self.tracing = open_tracing(tracing, settings)
        self.begin_trace = not_traced if self.tracing is None else self.tracing.begin
        self.logs = configured_logs()
        self.turns = AdminTurns(lambda: self.watch.is_behind(settings.max_loop_lag_ms / 2000))
        self.live = Live(
            statistics,
            lambda: self.receipts.latest,
            controls,
            self._tell_the_page,
            caught_up=lambda turn: self.batches.caught_up(turn),
            about=about,
            turn=self.turns.others.next,
            feed_turn=self.turns.feed.next,
        )
        traces = [] if self.tracing is None else [self.tracing.consume]
        lines = (
            []
            if self.logs is None
            else [RequestLog(self.logs, settings.log_requests, settings.upstream_names)]
        )
        self.receipts = Receipts(consumers=[self.metrics, self.live.feed.consume, *traces, *lines])
        self.batches = BatchedObserver([self.metrics, LogObserver(), self.receipts])
        self.observer = Observers([self.batches])

    @contextmanager
    def installed(self) -> Iterator[None]:
        """The instruments are installed, in the current run of Trio."""
        ours = sockets()
        ours.on_crash = self._on_crash
        ours.watch_iterations(self.watch)
        if self.leak_check is not None:
            trio.lowlevel.add_instrument(self.leak_check)
        try:
            yield
        finally:
            self.batches.catch_up()  # also when all ends at once, by a second signal or a crash
            ours.watch_iterations(None)
            if self.leak_check is not None:
                trio.lowlevel.remove_instrument(self.leak_check)

    def _on_crash(self, bug: BaseException) -> None:
        self.observer.notify(BugFound("unread", "a socket's callback", bug, trio.current_time()))

    def _tell_the_page(self, is_watched: bool) -> None:
        if is_watched:
            self.observer.join(self.live.feed)
        else:
            self.observer.leave(self.live.feed)

    async def end(self) -> None:
        """The last answer has been sent: tell the viewers, and send what spans are left. Bounded."""
        await self.batches.caught_up()
        await self.live.feed.end()
        if self.tracing is not None:
            await self.tracing.close()

    async def check_collector(self) -> None:
        """Report a collector that cannot be reached at once, and not when the first spans are sent to it."""
        await trio.lowlevel.checkpoint()
        if self.tracing is not None and self.tracing.collector is not None:
            why = await why_unreachable(self.tracing.collector)
            if why is not None:
                self.tracing.collector_fails(why)
