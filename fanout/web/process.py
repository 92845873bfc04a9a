"""One server process, from settings to exit: what can be wrong is found before anything starts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import click
import trio

import fanout
from fanout.config import Bind, Settings
from fanout.observe.log import configure_logging
from fanout.web.descriptors import reserve_descriptors
from fanout.web.listeners import open_listeners
from fanout.web.service import Service, open_transport
from fanout.web.signals import stop_on_signals

Companion = Callable[[], Awaitable[None]]


def run_process(
    settings: Settings, *, beside: Companion | None = None, also_ready: Mapping[str, str] | None = None
) -> None:
    """Serve until a signal has drained the service.

    beside: runs along with the service, and is cancelled after it. also_ready: more ready lines.

    Raises `SettingsError` or `ListenError`, each one clear line, before anything is served.
    """
    reserve_descriptors(settings)
    transport = open_transport(settings)
    public = open_listeners(settings.bind, "FANOUT_BIND")
    admin = open_listeners(settings.admin_bind, "FANOUT_ADMIN_BIND")
    configure_logging(settings.log_level, settings.log_format)

    async def run() -> None:
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            await nursery.start(stop_on_signals, stop, nursery.cancel_scope)
            if beside is not None:
                nursery.start_soon(beside)
            async with trio.open_nursery() as serving:
                await serving.start(Service(settings, transport).run, public, admin, stop)
                _say_ready(_url(public[0].getsockname()), _url(admin[0].getsockname()), also_ready or {})
            nursery.cancel_scope.cancel(reason="the service has ended")

    trio.run(run)


def _url(address: tuple[str, int]) -> str:
    return f"http://{Bind(address[0], address[1])}"


def _say_ready(public: str, admin: str, more: Mapping[str, str]) -> None:
    """One write, so that whoever waits for it reads all of it."""
    lines = {
        "api": f"{public}/api/first?timeout=1000",
        "docs": f"{public}/docs",
        "admin": f"{admin}/statistics",
    }
    rows = [f"  {name:<9} {url}" for name, url in {**lines, **more}.items()]
    click.echo("\n".join([f"fanout {fanout.__version__} is ready", *rows]))
