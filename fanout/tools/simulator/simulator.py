"""The simulated upstream: slow, unreliable, and an exact witness of what its clients do."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Sequence

import trio

from fanout.tools.simulator.accepting import accept_all
from fanout.tools.simulator.connection import Connection, OnCrash
from fanout.tools.simulator.overrides import Overrides, check_slot_name
from fanout.tools.simulator.settings import SimulatorSettings
from fanout.tools.simulator.state import SimulatorStatistics, State
from fanout.tools.simulator.wire import Stream
from fanout.tools.simulator.witness import CallRecord


def report_crash(bug: BaseException) -> None:
    """One line on standard error."""
    sys.stderr.write(f"simulator: a connection crashed: {bug!r}\n")


class Simulator:
    """One simulated upstream. It may serve several sets of listeners, with and without TLS, at once."""

    def __init__(
        self, settings: SimulatorSettings | None = None, *, on_crash: OnCrash = report_crash
    ) -> None:
        """on_crash: told of every bug that ended a connection, synchronously. It must not raise."""
        self._state = State(settings or SimulatorSettings())
        self._on_crash = on_crash

    @property
    def settings(self) -> SimulatorSettings:
        return self._state.settings

    def apply(self, settings: SimulatorSettings) -> None:
        """Replace the settings. Calls that have begun keep theirs; the n of the next draw goes on."""
        self._state.apply(settings)

    def set_slot(self, name: str, overrides: Overrides) -> None:
        """What `PUT /slots/name` does."""
        self._state.set_slot(check_slot_name(name), overrides)

    def calls(self, *, since: int = 0, tag: str | None = None, slot: str | None = None) -> list[CallRecord]:
        """What `GET /calls` shows: the live records, oldest first. Read them, do not change them."""
        return list(self._state.witness.records(since=since, tag=tag, slot=slot))

    def statistics(self) -> SimulatorStatistics:
        return self._state.statistics()

    async def serve(
        self,
        listeners: Sequence[trio.abc.Listener[Stream]],
        *,
        ssl_context: ssl.SSLContext | None = None,
        connection_faults: bool = True,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled; then every connection is closed at once. Takes over the listeners.

        ssl_context: speak TLS. connection_faults: False keeps these listeners free of them, so that
        settings can be changed when no other connection gets through.
        Raises a group with the `OSError` if a listener breaks.
        """

        async def serve_one(stream: Stream) -> None:
            await self.serve_stream(stream, ssl_context=ssl_context, connection_faults=connection_faults)

        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(accept_all, listener, serve_one, nursery)
            task_status.started()

    async def serve_stream(
        self,
        stream: Stream,
        *,
        ssl_context: ssl.SSLContext | None = None,
        connection_faults: bool = True,
    ) -> None:
        """Serve one connection to its end, and close it. For streams that are not sockets see `wire.py`."""
        fault = self._state.draw_connection_fault(tls=ssl_context is not None) if connection_faults else None
        await Connection(self._state, stream, self._on_crash).run(ssl_context, fault)
