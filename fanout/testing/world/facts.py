"""What happened, as clients, the network and the upstream saw it. Nothing here was said by fanout itself.

Times are seconds of virtual time. The facts are filled in while a world runs and judged when it has ended.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final

from fanout.testing.world.answers import Answer, AnswerReader
from fanout.testing.world.plan import CallScript, ClientScript, Dialling, DialScript, RequestScript

# The time reserve, as docs/guarantees.md states it.
RESERVE_PER_REQUEST_MS: Final = 0.03  # in flight
MAX_RESERVE_OF_REQUESTS_MS: Final = 150.0


@dataclass(slots=True, eq=False)
class WireFacts:
    """One connection to the upstream. `calls`: those whose requests it carried, in order.

    opened_by: the call that it was opened for. It may have sent nothing over it.
    """

    number: int
    how: Dialling
    connected_at: float
    opened_by: CallFacts | None = None
    calls: list[CallFacts] = field(default_factory=list)

    def before(self, call: CallFacts) -> CallFacts | None:
        """The call whose request it carried before that one's."""
        place = self.calls.index(call)
        return self.calls[place - 1] if place else None


@dataclass(slots=True, eq=False)
class Attempt:
    """One try of a call to get an answer: over a reused wire, or after dialling.

    dials: when each began and what it met. sent_at: when the request was written. time_left_ms: what its
    deadline header says; `None` if there is none.
    ended_at: when FIN or RST had come over the wire, if it had when the call ended.
    closed_at: when fanout closed the wire, if it had then. heard_bytes: how much of an answer had come.
    """

    dials: list[tuple[float, DialScript]] = field(default_factory=list)
    wire: WireFacts | None = None
    reused: bool = False
    sent_at: float | None = None
    time_left_ms: int | None = None
    ended_at: float | None = None
    closed_at: float | None = None
    heard_bytes: int = 0


@dataclass(slots=True, eq=False)
class CallFacts:
    """One upstream call: its script and its attempts. delay_ms: that it asked the upstream for.

    ended_at: when fanout let go of it. outcome: what it made of it then: `success`, the word for a failure,
    `cancelled`, `crashed`, or `too_late`: it ended without having sent its request.

    arrivals: when the upstream had read its request, once an attempt that came through.
    answered: whether the upstream had written a complete response to the last of them.
    """

    request: RequestFacts
    index: int
    script: CallScript
    started_at: float
    delay_ms: int
    attempts: list[Attempt] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    answered: bool = False
    outcome: str = "cancelled"
    ended_at: float | None = None
    bad: list[str] = field(default_factory=list)

    @property
    def tag(self) -> str:
        return f"w{self.request.script.id}.{self.index}"


@dataclass(slots=True, eq=False)
class RequestFacts:
    """One request that was sent, wholly or in part.

    head_end: the place of the byte behind it, counted from the first byte on its connection. stream: its
        number, over HTTP/2.
    entered_at: when the application was given it. was_full: as many as may be were in flight then.
    answered_at: when the application began to answer, or raised.
    in_flight: how many were in flight then, this one included: those whose answer had not begun.
    deadline_at: when the deadline of its race was made to come, if before its time.
    first_byte: when its answer began, the admission permits taken, the requests unanswered, the upstream
        connections in use, and the calls running.
    """

    script: RequestScript
    connection: ConnectionFacts
    sent_at: float
    head_end: int
    stream: int = 0
    entered_at: float | None = None
    answered_at: float | None = None
    was_full: bool = False
    in_flight: int = 0
    deadline_at: float | None = None
    first_byte: tuple[int, int, int, int] | None = None
    calls: dict[int, CallFacts] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)

    @property
    def left_at(self) -> float | None:
        """When the server could know that its client does not want it any more."""
        return self.connection.left_at_of(self)

    @property
    def more_reserve_ms(self) -> float:
        """The part of the time reserve that comes from the requests in flight."""
        return min(MAX_RESERVE_OF_REQUESTS_MS, RESERVE_PER_REQUEST_MS * self.in_flight)


@dataclass(slots=True, eq=False)
class ConnectionFacts:
    """One client's connection. `reads`: how many bytes the server had read, and when.

    left_at: when the client's FIN or RST had come to the server. closed_at: when the server closed.
    open: how many connections the server had open with it. too_many: as many as may be were open before it.
    """

    number: int
    client: ClientScript
    opened_at: float
    requests: list[RequestFacts] = field(default_factory=list)
    reader: AnswerReader = field(default_factory=AnswerReader)
    read_places: list[int] = field(default_factory=list)
    read_times: list[float] = field(default_factory=list)
    left_at: float | None = None
    closed_at: float | None = None
    open: int = 0
    too_many: bool = False
    bad: list[str] = field(default_factory=list)

    @property
    def answers(self) -> list[Answer]:
        """Those that were begun, in order."""
        return self.reader.answers

    @property
    def completed(self) -> list[Answer]:
        """Those that were written to their end, in the order of their ends."""
        return self.reader.answers[: self.reader.complete]

    def answer_to(self, request: RequestFacts) -> Answer | None:
        """The answers are in the order of the requests."""
        place = self.requests.index(request)
        return self.reader.answers[place] if place < len(self.reader.answers) else None

    def left_at_of(self, request: RequestFacts) -> float | None:
        """When the client of the request had left."""
        return self.left_at

    def asked_for(self, place: int) -> RequestFacts | None:
        """The request of an answer, by its place among them."""
        return self.requests[place] if place < len(self.requests) else None

    def wrote(self, data: bytes, at: float, *, waits: bool) -> None:
        """What there was room for of a write, and whether the rest waits. Raises `BadAnswer`."""
        if data or waits:
            self.reader.feed(data, at)

    def read(self, data: bytes, at: float) -> None:
        self.read_places.append(len(data) + (self.read_places[-1] if self.read_places else 0))
        self.read_times.append(at)

    def read_at(self, place: int) -> float | None:
        """When the server had read everything before `place`, if it has."""
        index = bisect_left(self.read_places, place)
        return self.read_times[index] if index < len(self.read_times) else None
