"""What must hold of a run, as lines that say what did not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from tests.bystander import Seen, is_machines
from tests.chaos.clients import Told

AFTERMATH_S: Final = 10.0  # a retransmission may wait this long after a link that was silent for 6 s
RESTART_S: Final = 1.5  # until a killed worker's replacement serves
MAX_GROWTH_MIB: Final = 20.0
BUSY_SHARE: Final = 0.02  # of the time, a server waited for a processor: then late answers are the machine's


@dataclass(frozen=True, slots=True)
class Window:
    """A time, by the monotonic clock, in which a fault may end connections or keep them from answering."""

    begins_at: float
    ends_at: float

    def touches(self, begins_at: float, ends_at: float) -> bool:
        return self.begins_at < ends_at and begins_at < self.ends_at


@dataclass(frozen=True, slots=True)
class Sample:
    """Of a server's processes together."""

    resident_mib: float
    descriptors: int


def broken_by_clients(told: Told, windows: Sequence[Window]) -> Iterator[str]:
    """G1. An answer may be lost only with a connection that lived while something cut it."""
    for why in told.broken:
        yield f"G1 a wrong answer: {why}"
    for lost in told.lost:
        if not any(window.touches(lost.opened_at, lost.lost_at) for window in windows):
            took_s = lost.lost_at - lost.sent_at
            yield f"G1 an answer was lost without a cause: {lost.why}, {took_s:.2f} s after its request"


def broken_for_bystander(seen: Seen, windows: Sequence[Window]) -> Iterator[str]:
    """G2, G10. On a path that nothing was done to, except in those windows."""
    for each in seen.requests:
        begins_at = seen.began_at + each.due_s
        if any(window.touches(begins_at, begins_at + each.took_ms / 1000) for window in windows):
            continue
        if each in seen.late or (each.status != 200 and not is_machines(each)):
            yield f"G10 the bystander, {each.due_s:.2f} s after its start: {each}"


def is_quiet(statistics: Any, *, idle_too: bool) -> bool:
    """Nothing runs. idle_too: no connection is open, either.

    A client that vanished in a silence left its connection here: its reset was lost, and nothing repeats
    a reset. The server's idle timeout ends such a connection.
    """
    return (
        statistics is not None
        and statistics["admission"]["in_flight"] == 0
        and _open(statistics, idle_too=idle_too) == 0
        and all(origin["in_use"] == origin["connecting"] == 0 for origin in statistics["upstream"]["origins"])
    )


def _open(statistics: Any, *, idle_too: bool) -> int:
    connections = statistics["connections"]
    return int(connections["open"] - (0 if idle_too else connections["waiting"]))


def broken_at_rest(statistics: Any, *, idle_too: bool, may_be_late: bool) -> Iterator[str]:
    """G2, G3, G6, G7, G11, of a process without clients, by what it counted since its start.

    may_be_late: it was stopped, or had to wait for a processor. What was due then is late, and counted.
    """
    if statistics is None:
        yield "G10 the admin listener does not answer"
        return
    if statistics["admission"]["in_flight"]:
        yield f"G3 permits are not given back: {statistics['admission']}"
    if _open(statistics, idle_too=idle_too):
        yield f"G10 connections are left: {statistics['connections']}"
    if statistics["connections"]["crashes"]:
        yield f"G11 connections crashed: {statistics['connections']}"
    for name in ("leaked_tasks", "leaked_connections", "leaked_permits", "tasks_alive"):
        if statistics["leak_check"][name]:
            yield f"G3 the leak check found {name}: {statistics['leak_check']}"
    for name, count in statistics["requests"]["guarantees_broken"].items():
        if count and not (name == "late_answers" and may_be_late):
            yield f"{'G2' if name == 'late_answers' else 'G11'} {name}: {count}"
    for origin in statistics["upstream"]["origins"]:
        if origin["in_use"] or origin["open"] != origin["idle"]:
            yield f"G7 upstream connections are left in use: {origin}"
        if origin["opened"] != origin["open"] + sum(origin["closed"].values()):
            yield f"G7 upstream connections are lost: {origin}"


def broken_by_growth(samples: Sequence[Sample]) -> Iterator[str]:
    """G10. The last third of the run against the second; the first warms up."""
    third = len(samples) // 3
    if not third:
        return
    earlier, later = (
        median(sample.resident_mib for sample in part)
        for part in (samples[third : 2 * third], samples[-third:])
    )
    if later - earlier > MAX_GROWTH_MIB:
        yield f"G10 memory grows: {earlier:.1f} MiB in the second third, {later:.1f} MiB in the last"


def broken_at_the_end(exit_code: int, took_s: float, allowed_s: float, errors: bytes) -> Iterator[str]:
    """G9, G11."""
    if exit_code:
        yield f"G9 exit code {exit_code} after SIGTERM"
    if took_s > allowed_s:
        yield f"G9 the end took {took_s:.1f} s, allowed were {allowed_s:.1f}"
    if b"Traceback" in errors:
        yield "G11 a traceback was logged: " + errors[errors.index(b"Traceback") :][:2000].decode(
            errors="replace"
        )
