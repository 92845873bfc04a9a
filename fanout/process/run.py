"""One server process, from settings to exit: what can be wrong is found before anything starts."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

import trio
from loguru import logger

from fanout.admin.live.controls import Controls
from fanout.api.handlers import Endpoints
from fanout.config import Settings
from fanout.observe.log import configure_logging, log_what_python_reports
from fanout.process.descriptors import make_room_for_descriptors, reserve_descriptors
from fanout.process.exits import DONE
from fanout.process.ready import say_ready, server_urls
from fanout.process.resources import certificate_of, open_transport, tracing_settings
from fanout.process.sd_notify import KeepInformed, service_manager
from fanout.process.service import OpenCalls, Service, longest_shutdown_s
from fanout.process.signals import stop_on_signals
from fanout.server.listeners import open_listeners

Companion = Callable[[], Awaitable[None]]
WhenReady = Callable[[Mapping[str, str]], Awaitable[None]]
# Python collects when this many more objects were made than freed. It looks at about as many, which stops the
# event loop for 1 us each. A server at all its limits holds fewer, so a collection means that cycles leak.
GC_THRESHOLD: Final = 1_000_000


def run_process(
    settings: Settings,
    *,
    warnings: Sequence[str] = (),
    controls: Controls | None = None,
    also_ready: Mapping[str, str] | None = None,
    hints: Sequence[str] = (),
    when_ready: WhenReady | None = None,
    open_calls: OpenCalls | None = None,
    endpoints: Endpoints | None = None,
) -> int:
    """Serve, in this process, until a signal has drained the service. Returns the exit code.

    warnings: of the settings, for the log.
    controls: of the demo: it runs along with the service, and is cancelled after it, and the live page has
        them. also_ready: more URLs for the ready lines. hints: what stands below them; a name of a URL, in
        braces, stands for it. when_ready: called with all URLs; cancelled with the service.
    open_calls: for a server whose calls are not fanout's over HTTP. It is called once, with the URL of each
        call (`Settings.calls`) and the service's observer, and returns an async context manager. That yields
        one `fanout.race.race.Call` for each URL, and is open around the service: from before the first client
        until after the last answer. The URLs then name the calls in logs and metrics, and mean
        what `open_calls` makes of them. `examples/asyncio_upstream.py` is such a server.
    endpoints: for a server with strategies of its own, served in addition to the API. It is called once, with
        what all races have in common, and returns a blueprint. `examples/strategies` is such a server.

    Raises `SettingsError` or `ListenError`, each one clear line, before anything is served.
    """
    reserve_descriptors(settings)
    transport = open_transport(settings)
    certificate = certificate_of(settings)
    tracing = tracing_settings()
    public = open_listeners(settings.bind, "FANOUT_BIND")
    admin = open_listeners(settings.admin_bind, "FANOUT_ADMIN_BIND")
    start_logging(settings, warnings)
    urls = server_urls(settings, public[0], [admin[0]]) | dict(also_ready or {})
    hints = [hint.format_map(urls) for hint in hints]
    manager = service_manager(os.environ)
    is_tls = certificate is not None

    serve = partial(
        serve_until_stopped,
        settings,
        partial(Service, settings, transport, tracing, controls, open_calls=open_calls, endpoints=endpoints),
        public,
        admin,
        trio.Event(),
        say_ready=partial(print_ready, settings, urls, hints),
        beside=None if controls is None else partial(controls.run, public[0], is_tls),
        when_ready=None if when_ready is None else partial(when_ready, urls),
        keep_informed=partial(manager.keep_informed, urls["api"], longest_shutdown_s(settings)),
    )
    trio.run(serve)
    return DONE


def start_logging(settings: Settings, warnings: Sequence[str] = ()) -> None:
    """From here on, whatever this process has to say is in the log."""
    configure_logging(settings.log_level, settings.log_format, secrets=settings.secrets)
    log_what_python_reports()
    for warning in warnings:
        logger.warning("{}", warning)


def print_ready(settings: Settings, urls: Mapping[str, str], hints: Sequence[str] = ()) -> None:
    why_not = say_ready("fanout", urls, settings.log_format, hints=hints)
    if why_not is not None:
        logger.warning("{}", why_not)


async def serve_until_stopped(
    settings: Settings,
    make_service: Callable[[], Service],
    public: Sequence[socket.socket],
    admin: Sequence[socket.socket],
    stop: trio.Event,
    *,
    say_ready: Callable[[], None],
    beside: Companion | None = None,
    when_ready: Companion | None = None,
    keep_informed: KeepInformed | None = None,
) -> None:
    """What every serving process does: run the service until `stop`, or a signal, has drained it.

    make_service: called in the run of Trio. say_ready: called once, when both listeners answer. beside: runs
        along with the service, and is cancelled after it. when_ready: the same, but starts when the service
        is ready. keep_informed: the same as when_ready, and gets the event of the first signal.
    """
    # An event of their own: when `stop` came from elsewhere, the first signal is still the first.
    signalled = trio.Event()
    make_room_for_descriptors(settings)
    async with trio.open_nursery() as nursery:
        await nursery.start(stop_on_signals, signalled, nursery.cancel_scope)
        nursery.start_soon(_stop_after, signalled, stop)
        if beside is not None:
            nursery.start_soon(beside)
        async with trio.open_nursery() as serving:
            service = make_service()
            gc.collect()  # takes 100 ms, so before the first client
            await serving.start(service.run, public, admin, stop)
            freeze_what_stays()
            say_ready()
            if when_ready is not None:
                nursery.start_soon(when_ready)
            if keep_informed is not None:
                nursery.start_soon(keep_informed, signalled)
        nursery.cancel_scope.cancel(reason="the service has ended")


def freeze_what_stays() -> None:
    """Make Python's garbage collector skip all objects that are alive now, and run less often.

    No request leaves cycles behind, so there is nothing to find (`tests/garbage` holds that).
    """
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)


async def _stop_after(signalled: trio.Event, stop: trio.Event) -> None:
    await signalled.wait()
    stop.set()
