"""The admin application: is it alive, is it ready, what is it doing. Never asks the upstream."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from quart_trio import QuartTrio

Headers = dict[str, str]
NO_STORE: Headers = {"Cache-Control": "no-store"}


def make_admin(is_ready: Callable[[], bool], statistics: Callable[[], Any]) -> QuartTrio:
    """The admin app.

    is_ready: started and not draining.
    statistics: an immutable snapshot, a (nested) dataclass.
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
        return dataclasses.asdict(statistics()), 200, NO_STORE

    return admin
