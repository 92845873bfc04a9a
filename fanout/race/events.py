"""What observers are told: frozen facts, in the past tense. Adapters tell the stories.

Times are Trio clock seconds. Every event names the request it belongs to. `RequestEnded` repeats, in one
fact, all that the others told as it happened; who can wait asks for that one alone, and they are not made.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, get_args

from fanout.race.budget import Budget
from fanout.race.ledger import CallRecord
from fanout.race.timings import Trace
from fanout.race.verdict import Verdict


@dataclass(frozen=True, slots=True)
class RaceStarted:
    request_id: str
    strategy: str
    calls: int
    budget: Budget
    at: float


@dataclass(frozen=True, slots=True)
class CallStarted:
    request_id: str
    call: int
    at: float


@dataclass(frozen=True, slots=True)
class CallEnded:
    """arrived_at: of its request, for clients may give two requests the same id."""

    request_id: str
    record: CallRecord
    at: float
    arrived_at: float


class RaceRecord(NamedTuple):
    """All that is known of one race, once it is over.

    verdict: `None` when the request was cancelled before there was one. calls: in call order.
    settled_at: when the strategy was settled, and with that what was left of the calls cancelled.
    """

    strategy: str
    budget: Budget
    verdict: Verdict | None
    calls: tuple[CallRecord, ...]
    settled_at: float | None


@dataclass(frozen=True, slots=True)
class RaceEnded:
    """The nursery is closed: no task of the race is left."""

    request_id: str
    race: RaceRecord
    at: float


@dataclass(frozen=True, slots=True)
class BugFound:
    """An unexpected exception, told where it happened, so that no cancelled group can lose it (G11)."""

    request_id: str
    where: str
    exception: BaseException
    at: float


@dataclass(frozen=True, slots=True)
class TaskLeft:
    """A call has ended, and a task that it started has not. Only a call through asyncio can leave one.

    place: what the task runs, and where it waits, see `fanout.upstream.asyncio_call.place_of`.
    """

    request_id: str
    call: int
    place: str
    at: float


@dataclass(frozen=True, slots=True)
class LeftTaskEnded:
    """A task that was left has ended by itself, `after_s` seconds after its call."""

    request_id: str
    call: int
    place: str
    after_s: float
    at: float


class RequestEnded(NamedTuple):
    """The last event of every request but those refused unread: all of it in one fact.

    `request_id` may be the client's choice, so two requests can share one: do not use it as a key.
    trace: what the tracer gave to the request; `None` when it is not traced.
    status: `None` when the client left before the answer.
    reason: `client_disconnected`, or that of a problem; `None` when the race's verdict, or that there was no
        race, says all.
    late_by_s: how late the last byte of the answer was handed to the connection. More than 0 breaks G2.
    client_left_at: when the server learnt that the client had left, before it was answered.
    race: `None` when none was run.
    method, raw_path, client: as the client sent them, and its address and port; for the log alone.
    """

    request_id: str
    trace: Trace | None
    arrived_at: float
    status: int | None
    reason: str | None
    late_by_s: float
    client_left_at: float | None
    race: RaceRecord | None
    at: float
    method: str = ""
    raw_path: bytes = b""
    client: tuple[str, int] | None = None


Event = RaceStarted | CallStarted | CallEnded | RaceEnded | BugFound | TaskLeft | LeftTaskEnded | RequestEnded


EVENTS: Final = frozenset(get_args(Event))  # every kind


class Observer(Protocol):
    """Receives events, in order, synchronously. It must neither block nor raise.

    interests: the kinds it wants, see `EVENTS`; no other is made for it. They may change from event to event.
    """

    @property
    def interests(self) -> Container[type[Event]]: ...

    def notify(self, event: Event) -> None: ...
