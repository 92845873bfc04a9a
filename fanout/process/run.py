"""One server process, from settings to exit: what can be wrong is found before anything starts."""

from __future__ import annotations

import gc
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

import click
import trio
from loguru import logger

import fanout
from fanout.admin.live.controls import Controls
from fanout.config import Bind, Settings
from fanout.observe.log import configure_logging
from fanout.observe.tracing_settings import TracingSettings
from fanout.process.descriptors import make_room_for_descriptors, reserve_descriptors
from fanout.process.exits import DONE
from fanout.process.resources import certificate_of, open_transport, tracing_settings
from fanout.process.service import Service
from fanout.process.signals import stop_on_signals
from fanout.process.streams import OutputError
from fanout.server.listeners import open_listeners
from fanout.upstream.transport import PoolTransport

Companion = Callable[[], Awaitable[None]]
# Python collects when this many more objects were made than freed. It looks at about as many, which stops the
# event loop for 1 us each. A server at all its limits holds fewer, so a collection means that cycles leak.
GC_THRESHOLD: Final = 1_000_000


def run_process(
    settings: Settings, *, controls: Controls | None = None, also_ready: Mapping[str, str] | None = None
) -> int:
    """Serve, in this process, until a signal has drained the service. Returns the exit code.

    controls: of the demo: it runs along with the service, and is cancelled after it, and the live page has
        them. also_ready: more ready lines.

    Raises `SettingsError` or `ListenError`, each one clear line, before anything is served.
    """
    reserve_descriptors(settings)
    transport = open_transport(settings)
    certificate = certificate_of(settings)
    tracing = tracing_settings()
    public = open_listeners(settings.bind, "FANOUT_BIND")
    admin = open_listeners(settings.admin_bind, "FANOUT_ADMIN_BIND")
    configure_logging(settings.log_level, settings.log_format, secrets=settings.secrets)

    is_tls = certificate is not None

    async def run() -> None:
        await serve_until_stopped(
            settings,
            transport,
            public,
            admin,
            trio.Event(),
            say_ready=partial(say_ready, public[0], is_tls, [admin[0]], also_ready),
            beside=None if controls is None else partial(controls.run, public[0], is_tls),
            tracing=tracing,
            controls=controls,
        )

    trio.run(run)
    return DONE


async def serve_until_stopped(
    settings: Settings,
    transport: PoolTransport,
    public: Sequence[socket.socket],
    admin: Sequence[socket.socket],
    stop: trio.Event,
    *,
    say_ready: Callable[[], None],
    beside: Companion | None = None,
    tracing: TracingSettings | None = None,
    controls: Controls | None = None,
    restarts: int = 0,
    admin_ports: Sequence[int] = (),
) -> None:
    """What every serving process does: run the service until `stop`, or a signal, has drained it.

    say_ready: called once, when both listeners answer. beside: runs along with the service, and is cancelled
        after it. tracing: `None` for no traces. controls: for the live page. restarts: how
        often this worker has been replaced. admin_ports: those of all workers, for the live page's links.
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
            service = Service(settings, transport, tracing, controls, restarts, admin_ports)
            gc.collect()  # takes 100 ms, so before the first client
            await serving.start(service.run, public, admin, stop)
            freeze_what_stays()
            say_ready()
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


def say_ready(
    public: socket.socket,
    is_tls: bool,
    admins: Sequence[socket.socket],
    also_ready: Mapping[str, str] | None = None,
) -> None:
    """Print the ready lines in one write, so that a program that waits for them reads all of them.

    A server that cannot print them is ready anyway.
    """
    base = _url(public, "https" if is_tls else "http")
    lines = {"api": f"{base}/api/first?timeout=1000", "docs": f"{base}/docs"}
    for index, admin in enumerate(admins):
        lines[f"admin-{index}" if index else "admin"] = f"{_url(admin)}/statistics"
    lines["live"] = f"{_url(admins[0])}/live"
    rows = [f"  {name:<9} {url}" for name, url in {**lines, **(also_ready or {})}.items()]
    try:
        click.echo("\n".join([f"fanout {fanout.__version__} is ready", *rows]))
    except OutputError as error:
        logger.warning("the ready lines are lost: {}", error)


def _url(listener: socket.socket, scheme: str = "http") -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://{Bind(host, port)}"
