"""The demo: the simulated upstream next to the server, what to try with it, and clients for the live page.

Rule 1: clients use real connections to the public listener, so what the page shows is what clients get.
Rule 2: what the page can start is bounded in number and in time.
"""

from __future__ import annotations

import socket
import webbrowser
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import trio
from loguru import logger

from fanout.tools.demo_clients import Clients, clients_of
from fanout.tools.simulator.settings import SimulatorSettings, check_names, check_whole
from fanout.tools.simulator.simulator import Simulator

ENDPOINTS: Final = ("first", "all")
MAX_COUNT: Final = 2_000
MAX_OVER_MS: Final = 10_000
MAX_WAITING: Final = 2 * MAX_COUNT  # of all orders that are being sent
ANSWER_MARGIN_S: Final = 5  # a client waits this much longer than its timeout


TRY: Final = (  # `{api}`: see `fanout.process.ready`
    "",
    "Three things to try, and to watch at {live}",
    "  a race: the loser is cancelled            curl '{api}'",
    "  a disconnect: both calls are cancelled    curl --max-time 0.09 '{api}'",
    "  an upstream that fails, then a race       "
    """curl -X PUT {settings} -d '{{"faults": {{"status": 1}}}}'""",
    "",
    "Every guarantee as an experiment, and a race to step through: {admin}lab",
)


async def open_live_page(urls: Mapping[str, str]) -> None:
    """Open it in the browser of this machine. A browser may take a while, and there may be none."""
    has_opened = False
    with suppress(RuntimeError):  # `can't start new thread`
        has_opened = await trio.to_thread.run_sync(webbrowser.open, urls["live"], abandon_on_cancel=True)
    await trio.lowlevel.checkpoint()
    if not has_opened:
        logger.warning("no browser can be opened here: open {} yourself", urls["live"])


@dataclass(frozen=True, slots=True)
class Order:
    """Requests to send, evenly spread over a time. Checked when made: a wrong value is a `ValueError`.

    hang_up_after_ms: the clients leave then, answered or not.
    """

    endpoint: str = "first"
    timeout_ms: int = 1000
    count: int = 1
    over_ms: int = 0
    hang_up_after_ms: int | None = None

    def __post_init__(self) -> None:
        if self.endpoint not in ENDPOINTS:
            raise ValueError(f"endpoint must be one of: {', '.join(ENDPOINTS)}")
        check_whole("timeout_ms", self.timeout_ms, 1, 30_000)
        check_whole("count", self.count, 1, MAX_COUNT)
        check_whole("over_ms", self.over_ms, 0, MAX_OVER_MS)
        if self.hang_up_after_ms is not None:
            check_whole("hang_up_after_ms", self.hang_up_after_ms, 0, 30_000)


class Demo:
    """`run` is the companion of the server; the rest is `fanout.admin.live.controls.Controls`."""

    def __init__(
        self,
        settings: SimulatorSettings,
        listener: socket.socket,
        pages: Mapping[str, tuple[str, bytes]] | None = None,
    ) -> None:
        """pages: see `Controls`."""
        self.pages: Mapping[str, tuple[str, bytes]] = pages or {}
        self._simulator = Simulator(settings)
        self._listener = listener
        self._nursery: trio.Nursery | None = None
        self._clients = 0

    async def run(self, public: socket.socket, is_tls: bool) -> None:
        """Serve the upstream, and send clients to the listener `public`, until cancelled."""
        self._make_clients = clients_of(public, is_tls)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self._simulator.serve([trio.SocketListener(trio.socket.from_stdlib_socket(self._listener))])

    def upstream(self) -> dict[str, Any]:
        settings = self._simulator.settings
        return {
            "min_delay_ms": settings.min_delay_ms,
            "max_delay_ms": settings.max_delay_ms,
            "faults": dict(settings.faults),
        }

    def change_upstream(self, changes: object) -> dict[str, Any]:
        checked = check_names("the upstream", changes, ("min_delay_ms", "max_delay_ms", "faults"))
        self._simulator.apply(self._simulator.settings.changed(checked))
        return self.upstream()

    def fire(self, order: object) -> dict[str, Any]:
        names = ("endpoint", "timeout_ms", "count", "over_ms", "hang_up_after_ms")
        checked = Order(**check_names("the order", order, names))
        if self._nursery is None:
            raise ValueError("the demo has not started yet")
        if self._clients + checked.count > MAX_WAITING:
            raise ValueError("the requests of before are still being sent: wait a moment")
        self._clients += checked.count
        self._nursery.start_soon(self._send_all, checked, self._make_clients, name="the live page's clients")
        return {"count": checked.count}

    async def _send_all(self, order: Order, make_clients: Callable[..., Clients]) -> None:
        wait_ms = order.hang_up_after_ms
        clients = make_clients(
            target=f"/api/{order.endpoint}?timeout={order.timeout_ms}",
            count=order.count,
            over_s=order.over_ms / 1000,
            stay_s=order.timeout_ms / 1000 + ANSWER_MARGIN_S if wait_ms is None else wait_ms / 1000,
        )
        try:
            await clients.run()
        finally:
            self._clients -= order.count
