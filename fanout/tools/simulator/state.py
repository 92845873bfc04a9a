"""What all connections of one simulator share: settings, slots, the witness, and counts of connections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from fanout.tools.simulator.connection_faults import CONNECTION_FAULTS, ConnectionFault
from fanout.tools.simulator.draws import Draws
from fanout.tools.simulator.fault import failure, whole
from fanout.tools.simulator.faults import FAULTS
from fanout.tools.simulator.overrides import NO_FAULT, Overrides, overrides_from_query
from fanout.tools.simulator.requests import Request
from fanout.tools.simulator.script import Answered, Ask, Script, Send
from fanout.tools.simulator.settings import SimulatorSettings
from fanout.tools.simulator.witness import CallRecord, Witness

DEFAULT_DRIP_MS: Final = 1_000
MAX_SLOTS: Final = 1_000

ConnectionEnd = Literal[
    "client_fin",
    "client_rst",
    "client_tls_error",
    "server_close",
    "server_cut",
    "server_reset",
    "server_stopped",
    "crashed",
]


@dataclass(frozen=True, slots=True)
class SimulatorStatistics:
    """A snapshot. Calls are counted since they were last forgotten, connections since the start."""

    calls: int
    calls_open: int
    calls_answered: int
    calls_faulted: int
    calls_client_closed: int
    connections_accepted: int
    connections_open: int
    connections_ended: Mapping[ConnectionEnd, int]
    connections_faulted: Mapping[str, int]


class State:
    """One simulator's memory. Everything here is synchronous."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.slots: dict[str, Overrides] = {}
        self.witness = Witness()
        self._draws = Draws(settings)
        self._deadline_field = settings.deadline_header.lower().encode("ascii")
        self._accepted = 0
        self._drawn_connections = 0
        self._ended: Counter[ConnectionEnd] = Counter()
        self._faulted: Counter[str] = Counter()

    def apply(self, settings: SimulatorSettings) -> None:
        """From now on, calls and connections are drawn by these settings. The n of the next draw stays."""
        self.settings = settings
        self._draws = Draws(settings)
        self._deadline_field = settings.deadline_header.lower().encode("ascii")

    def set_slot(self, name: str, overrides: Overrides) -> None:
        """From now on, calls with `?slot=name` use these. `ValueError` if there are too many slots."""
        if name not in self.slots and len(self.slots) >= MAX_SLOTS:
            raise ValueError(f"there are {MAX_SLOTS} slots already; DELETE one")
        self.slots[name] = overrides

    def begin_call(self, request: Request, connection: int, nth: int) -> tuple[CallRecord, Script]:
        """A new call: its open record and its script. `ValueError` if its query is wrong: then it is none."""
        overrides, slot = _NO_QUERY
        if request.query:
            overrides, slot = overrides_from_query(request.query)
            if slot in self.slots:
                overrides = overrides.over(self.slots[slot])
        draw = self._draws.call(self.witness.next_id)
        name = draw.fault if overrides.fault is None else overrides.fault
        fault = None if name is None or name == NO_FAULT else FAULTS[name]
        delay_ms = draw.delay_ms if overrides.delay_ms is None else overrides.delay_ms
        time_left_ms = _whole(request.fields.get(self._deadline_field, b""))
        if self.settings.heeds_deadline and time_left_ms is not None and time_left_ms < delay_ms:
            fault, delay_ms = out_of_time, time_left_ms
        record = self.witness.begin(
            connection=connection,
            nth=nth,
            path=request.path,
            slot=slot,
            tag=overrides.tag,
            fault=None if fault is None else fault.name,
            delay_ms=delay_ms,
            time_left_ms=time_left_ms,
        )
        ask = Ask(
            call=record.id,
            delay_ms=delay_ms,
            status=draw.status if overrides.status is None else overrides.status,
            drip_ms=DEFAULT_DRIP_MS if overrides.drip_ms is None else overrides.drip_ms,
            tag=overrides.tag,
            closing=request.closing,
        )
        script = fault.script(ask) if fault else Script(200, (Send(ask.response(ask.body)), Answered()))
        return record, script

    def connection_accepted(self) -> int:
        """Count a connection and return its number."""
        self._accepted += 1
        return self._accepted

    def draw_connection_fault(self, *, tls: bool) -> ConnectionFault | None:
        """What chance does to the next connection. Handshake faults spare plain ones."""
        self._drawn_connections += 1
        name = self._draws.connection(self._drawn_connections)
        fault = None if name is None else CONNECTION_FAULTS[name]
        if fault is None or (fault.in_handshake and not tls):
            return None
        self._faulted[fault.name] += 1
        return fault

    def connection_ended(self, end: ConnectionEnd) -> None:
        self._ended[end] += 1

    def connections(self) -> dict[str, Any]:
        """Connections as JSON."""
        return {
            "accepted": self._accepted,
            "open": self._accepted - self._ended.total(),
            "closed": self._ended.total(),
            "ended": dict(self._ended),
            "faults": dict(self._faulted),
        }

    def statistics(self) -> SimulatorStatistics:
        calls, connections = self.witness.totals(), self.connections()
        return SimulatorStatistics(
            calls=calls["calls"],
            calls_open=calls["open"],
            calls_answered=calls["answered"],
            calls_faulted=calls["faulted"],
            calls_client_closed=calls["client_closed"],
            connections_accepted=connections["accepted"],
            connections_open=connections["open"],
            connections_ended=connections["ended"],
            connections_faulted=connections["faults"],
        )


@failure("bad_status")
def out_of_time(ask: Ask) -> Script:
    """504, when the time that the client had left is over. Not drawn, so it is in no table."""
    return whole(ask.response(b'{"error": "out of time"}', status=504), 504)


def _whole(value: bytes) -> int | None:
    """The number of these digits; `None` if they are none, or too many."""
    return int(value) if value.isdigit() and len(value) <= 12 else None


_NO_QUERY: Final[tuple[Overrides, str | None]] = (Overrides(), None)
