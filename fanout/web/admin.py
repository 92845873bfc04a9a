"""The admin application: is it alive, is it ready, what is it doing. Never asks the upstream."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from prometheus_client import Metric
from quart import request
from quart_trio import QuartTrio

from fanout.observe.metrics_exposition import expose

Headers = dict[str, str]
NO_STORE: Headers = {"Cache-Control": "no-store"}


def make_admin(
    is_ready: Callable[[], bool],
    statistics: Callable[[], Any],
    metrics: Callable[[], Iterable[Metric]],
    caught_up: Callable[[], Awaitable[None]],
) -> QuartTrio:
    """The admin app.

    is_ready: started and not draining.
    statistics: an immutable snapshot, a (nested) dataclass.
    metrics: what `/metrics` says, a family at a time.
    caught_up: returns when both know of every request that has ended.
    """
    admin = QuartTrio("fanout.admin", static_folder=None)

    @admin.get("/livez")
    async def livez() -> tuple[str, int, Headers]:
        return "alive\n", 200, NO_STORE  # that this runs at all says that the loop turns

    @admin.get("/readyz")
    async def readyz() -> tuple[str, int, Headers]:
        return ("ready\n", 200, NO_STORE) if is_ready() else ("not ready\n", 503, NO_STORE)

    @admin.get("/statistics")
    async def show_statistics() -> tuple[dict[str, Any], int, Headers]:
        await caught_up()
        return dataclasses.asdict(statistics()), 200, NO_STORE

    @admin.get("/metrics")
    async def show_metrics() -> tuple[bytes, int, Headers]:
        await caught_up()
        exposition = await expose(metrics(), request.headers.get("Accept", ""))
        # Two formats under one address: a cache must not mix them up, so it is told to keep neither.
        return exposition.body, 200, {**NO_STORE, "Content-Type": exposition.content_type, "Vary": "Accept"}

    return admin
