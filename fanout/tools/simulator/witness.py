"""The witness: one record for every call, of what was seen on the wire.

Rule 1: a call ends once, in the moment it ends. A second ending is a bug and raises.
Rule 2: counting is O(1). Only the records are bounded: the oldest fall out, the totals keep them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import trio

MAX_RECORDS: Final = 20_000
MAX_PATH: Final = 200

End = Literal["answered", "faulted", "client_closed"]
Departure = Literal["fin", "rst", "tls_error"]


@dataclass(slots=True, eq=False)
class CallRecord:
    """One call. It is filled in as the call goes on; `None` means "not yet", or "never".

    id: the n of its draw; ids rise by one a call. nth: its place on the connection, from 1.
    path: its first 200 characters. tag, slot: as the request named them.
    fault: `None` for a plain right answer.
    time_left_ms: what the client had left, as its request says in the deadline header; `None` if it is no
        number of milliseconds.
    status: as the answer's first bytes say it, from the moment they are written; `None` if they say none.
    started_at: unix seconds, when the request had been read. All `_ms` count from there, on Trio's clock.
    answered_ms: when the last byte of a complete response, right or wrong, was handed to the kernel.
    end: `answered`; `faulted` when the simulator did something else to its end; `client_closed` when the
        client was gone before; `open` until then.
    client_closed_how: what was seen: `fin` (also a half-close, and close_notify under TLS), `rst`, or
        `tls_error`, when the client broke the TLS protocol or said that we did.
    """

    id: int
    connection: int
    nth: int
    path: str
    slot: str | None
    tag: str | None
    fault: str | None
    delay_ms: int
    started_at: float
    clock_start: float
    time_left_ms: int | None = None
    status: int | None = None
    end: End | Literal["open"] = "open"
    answered_ms: float | None = None
    client_closed_ms: float | None = None
    client_closed_how: Departure | None = None

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _SHOWN}


_SHOWN: Final = tuple(name for name in CallRecord.__slots__ if name != "clock_start")


class Witness:
    """All calls since the start, or since they were last forgotten."""

    def __init__(self) -> None:
        self._records: deque[CallRecord] = deque(maxlen=MAX_RECORDS)
        self._last_id = 0
        self._ends: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._open = 0

    @property
    def next_id(self) -> int:
        return self._last_id + 1

    def begin(
        self,
        *,
        connection: int,
        nth: int,
        path: str,
        slot: str | None,
        tag: str | None,
        fault: str | None,
        delay_ms: int,
        time_left_ms: int | None = None,
    ) -> CallRecord:
        """A request has been read: its call takes the next id and is open."""
        self._last_id += 1
        record = CallRecord(
            id=self._last_id,
            connection=connection,
            nth=nth,
            path=path[:MAX_PATH],
            slot=slot,
            tag=tag,
            fault=fault,
            delay_ms=delay_ms,
            started_at=datetime.now(UTC).timestamp(),  # for people and logs; nothing is measured with it
            clock_start=trio.current_time(),
            time_left_ms=time_left_ms,
        )
        self._records.append(record)
        self._open += 1
        if fault is not None:
            self._faults[fault] += 1
        return record

    def answered(self, record: CallRecord) -> None:
        self._end(record, "answered")
        record.answered_ms = _ms_until(record, trio.current_time())

    def faulted(self, record: CallRecord) -> None:
        self._end(record, "faulted")

    def client_closed(self, record: CallRecord, how: Departure, at: float) -> None:
        """`at`: when that was seen, on Trio's clock."""
        self._end(record, "client_closed")
        record.client_closed_ms = _ms_until(record, at)
        record.client_closed_how = how

    def _end(self, record: CallRecord, end: End) -> None:
        if record.end != "open":
            raise RuntimeError(f"call {record.id} ended twice: {record.end}, then {end}")
        record.end = end
        self._ends[end] += 1
        self._open -= 1

    def records(
        self, *, since: int = 0, tag: str | None = None, slot: str | None = None
    ) -> Iterator[CallRecord]:
        """The records kept, oldest first, with ids above `since` and with that tag or slot, if given."""
        for record in tuple(self._records):
            if (
                record.id > since
                and (tag is None or record.tag == tag)
                and (slot is None or record.slot == slot)
            ):
                yield record

    def totals(self) -> dict[str, Any]:
        """How many calls ended how, and faults by name. These count calls whose records fell out, too."""
        ends = {end: self._ends[end] for end in ("answered", "faulted", "client_closed")}
        calls = self._open + sum(ends.values())
        return {"calls": calls, "open": self._open, **ends, "faults": dict(self._faults)}

    def forget(self) -> None:
        """Drop the records and totals of ended calls. Open ones stay; ids go on."""
        kept = [record for record in self._records if record.end == "open"]
        self._records.clear()
        self._records.extend(kept)
        self._ends.clear()
        self._faults = Counter(record.fault for record in kept if record.fault is not None)


def _ms_until(record: CallRecord, at: float) -> float:
    return round((at - record.clock_start) * 1000, 3)
