"""Launches requests on connections and keeps the accounts.

Rule 1: a launch never waits. It takes the connection used last (LIFO: a small warm set), or opens another.
Rule 2: only the cap on connections can hold a request back. That breaks the schedule and is counted.
Rule 3: nobody is waited for for ever: an answer is missing `give_up_ms` after its timeout.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from .connection import Connection
from .histogram import Latencies
from .outcome import Outcome
from .plan import LoadPlan
from .shot import Draw, Leave, Shot
from .tally import Tally
from .wire import Wire

SLACK_MS = 5.0  # a send this late is off schedule
_SWEEP_S = 0.1


class Generator:
    """The connections of one run. Everything but `sweep` and `quiet` is synchronous."""

    def __init__(
        self, plan: LoadPlan, nursery: trio.Nursery, new_wire: Callable[[], Wire], started_at: float
    ) -> None:
        self.plan = plan
        self.allowance_ms = plan.allowance_ms
        self.keep_alive = plan.keep_alive
        self.tally = Tally(started_at + plan.warmup_s)
        self.warmup_tally = Tally(started_at)
        self.lateness = Latencies()
        self.late_launches = 0
        self.launched = 0
        self.held_back = 0
        self.opened = 0
        self.open_peak = 0
        self._nursery = nursery
        self._new_wire = new_wire
        self._draw = Draw(plan)
        self._idle: dict[Connection, None] = {}  # ordered: the last one in is the first one out
        self._busy: set[Connection] = set()
        self._open = 0
        self._held: deque[tuple[Shot, Leave | None, float]] = deque()
        self._quiet: trio.Event | None = None

    @property
    def in_flight(self) -> int:
        """Requests launched or held back, and not settled."""
        return len(self._busy) + len(self._held)

    def launch(self, intended_at: float) -> None:
        """Send the next request of the draw."""
        self.launched += 1
        self._send(self._draw.shot(), self._draw.leave(), intended_at)

    def _send(self, shot: Shot, leave: Leave | None, intended_at: float) -> None:
        if self._idle:
            connection, _ = self._idle.popitem()
        elif self._open < self.plan.max_connections:
            connection = self._opened()
        else:
            self.held_back += 1
            self._held.append((shot, leave, intended_at))
            return
        self._carry(connection, shot, leave, intended_at)

    def _opened(self) -> Connection:
        self._open += 1
        self.opened += 1
        self.open_peak = max(self.open_peak, self._open)
        connection = Connection(self._new_wire(), self)
        self._nursery.start_soon(connection.run)
        return connection

    def _carry(self, connection: Connection, shot: Shot, leave: Leave | None, intended_at: float) -> None:
        now = trio.current_time()
        late_s = now - intended_at
        self.lateness.record(late_s)
        if late_s * 1000 > SLACK_MS:
            self.late_launches += 1
        self._busy.add(connection)
        connection.carry(shot, intended_at, now)
        if leave is not None:
            self._nursery.start_soon(_leave, connection, connection.carried, leave)

    def settled(
        self, connection: Connection, outcome: Outcome, answered_at: float | None, status: int, reason: str
    ) -> None:
        """Count the outcome (see `Owner`)."""
        assert connection.shot is not None
        self._busy.discard(connection)
        self._tally_of(connection).record(
            connection.shot.endpoint.name,
            outcome,
            connection.intended_at,
            connection.written_at,
            answered_at,
            status,
            reason,
        )
        self._tell_quiet()

    def spoke_unasked(self, connection: Connection) -> None:
        """Count an answer that nobody asked for (see `Owner`)."""
        self._tally_of(connection).unasked_answers += 1

    def idle(self, connection: Connection) -> None:
        """Take the connection back, for a request held back or for later (see `Owner`)."""
        if self._held:
            shot, leave, intended_at = self._held.popleft()
            self._carry(connection, shot, leave, intended_at)
        else:
            self._idle[connection] = None

    def gone(self, connection: Connection) -> None:
        """Forget the connection; its place goes to a request held back (see `Owner`)."""
        self._open -= 1
        self._idle.pop(connection, None)
        if self._held:
            shot, leave, intended_at = self._held.popleft()
            self._carry(self._opened(), shot, leave, intended_at)

    async def sweep(self) -> None:
        """Give up, for ever, on requests whose time and the patience after it have passed."""
        while True:
            await trio.sleep(_SWEEP_S)
            now = trio.current_time()
            for connection in list(self._busy):
                shot = connection.shot
                if shot is None:
                    continue
                limit_ms = shot.timeout_ms + self.allowance_ms + self.plan.give_up_ms
                if (now - connection.written_at) * 1000 > limit_ms:
                    outcome = Outcome.MISSING if connection.connected else Outcome.NOT_CONNECTED
                    connection.end(outcome, "" if connection.connected else "ETIMEDOUT")

    async def quiet(self) -> None:
        """Return when nothing is in flight. To be called after the last launch."""
        self._quiet = trio.Event()
        self._tell_quiet()
        await self._quiet.wait()

    def abandon(self) -> None:
        """Cut what is still in flight, so that every launched request has its outcome."""
        self._nursery.cancel_scope.cancel(reason="the run is over")
        for shot, _, intended_at in self._held:
            tally = self.tally if intended_at >= self.tally.started_at else self.warmup_tally
            tally.record(shot.endpoint.name, Outcome.ABANDONED, intended_at, intended_at, None, 0, "")
        self._held.clear()
        for connection in list(self._busy):
            connection.end(Outcome.ABANDONED)

    def _tally_of(self, connection: Connection) -> Tally:
        return self.tally if connection.intended_at >= self.tally.started_at else self.warmup_tally

    def _tell_quiet(self) -> None:
        if self._quiet is not None and not self._busy and not self._held:
            self._quiet.set()


async def _leave(connection: Connection, request_number: int, leave: Leave) -> None:
    """Hang up on that one request, unless its answer comes sooner."""
    await trio.sleep(leave.after_s)
    if connection.carried == request_number and connection.shot is not None:
        connection.end(Outcome.LEFT, reset=leave.reset)
