"""Upstreams that hang in each phase of a call: the URLs of the conformance suite's behaviours."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from typing import Final

import trio

from fanout.tools.simulator import Overrides, Simulator, SimulatorSettings

_ANSWERS: Final = {
    "answers": Overrides(delay_ms=7, fault="none"),
    "fails": Overrides(delay_ms=0, fault="status", status=503),
    "hangs": Overrides(delay_ms=0, fault="hang_before_head"),
    "hangs_in_head": Overrides(delay_ms=0, fault="hang_mid_head"),
    "hangs_in_body": Overrides(delay_ms=0, fault="hang_mid_body"),
}


@asynccontextmanager
async def hanging_urls(nursery: trio.Nursery) -> AsyncIterator[Mapping[str, str]]:
    """By behaviour. The simulated upstream runs in `nursery`; the others are sockets that nobody serves."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    simulator = Simulator(SimulatorSettings(faults={}))
    for slot, overrides in _ANSWERS.items():
        simulator.set_slot(slot, overrides)
    await nursery.start(simulator.serve, [listener])
    with ExitStack() as sockets:
        # Connections are established by the kernel, so a handshake begins, and nobody answers.
        silent = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=16))
        # A full backlog: what connects waits for an answer to its SYN.
        full = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        sockets.enter_context(socket.create_connection(full.getsockname()))
        yield {
            **{slot: f"http://127.0.0.1:{port}/api/work?slot={slot}" for slot in _ANSWERS},
            "hangs_in_handshake": f"https://127.0.0.1:{silent.getsockname()[1]}/",
            "hangs_connecting": f"http://127.0.0.1:{full.getsockname()[1]}/",
        }
