"""What happened on a client's HTTP/2 connection, where each request has a stream of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from fanout.testing.world.answers import Answer
from fanout.testing.world.facts import ConnectionFacts, RequestFacts
from fanout.testing.world.oracle import INSTANT_S
from fanout.testing.world.streams import StreamsReader

ENHANCE_YOUR_CALM = 0xB


@dataclass(slots=True, eq=False)
class StreamsFacts(ConnectionFacts):
    """One client's HTTP/2 connection. waits: from when to when the server had to wait for room to write."""

    streams: StreamsReader = field(default_factory=StreamsReader)
    waits: list[tuple[float, float]] = field(default_factory=list)

    @property
    def answers(self) -> list[Answer]:
        return self.streams.answers

    @property
    def completed(self) -> list[Answer]:
        return self.streams.completed

    def answer_to(self, request: RequestFacts) -> Answer | None:
        """Also one of the status 0: its stream was reset instead."""
        stream = self.streams.streams.get(request.stream)
        return None if stream is None else stream.answer

    def asked_for(self, place: int) -> RequestFacts | None:
        stream = self.streams.stream_of(place)
        return next((request for request in self.requests if request.stream == stream), None)

    def left_at_of(self, request: RequestFacts) -> float | None:
        """Frames are read, and not looked at, while the server waits for room to write."""
        stream = self.streams.streams.get(request.stream)
        by_frames = [self.streams.left_at, None if stream is None else stream.left_at]
        calls = [] if request.answered_at is not None else request.calls.values()
        stops = [call.ended_at for call in calls if call.outcome == "cancelled"]
        moments = [self._looked_at(at, stops) for at in by_frames if at is not None]
        if self.left_at is not None:
            moments.append(self.left_at)
        if self.given_up_at is not None:
            moments.append(self.given_up_at)
        goaway = self.streams.goaway
        if goaway is not None and goaway.error == ENHANCE_YOUR_CALM:
            moments.append(goaway.at)
        return min(moments, default=None)

    @property
    def given_up_at(self) -> float | None:
        """When the server closed it while it waited for room to write: for every request, its client left."""
        return self.closed_at if self.waits and self.waits[-1][1] == inf else None

    def head_read_at(self, request: RequestFacts) -> float | None:
        """When the server had read the head, if it has, and was still to look at it."""
        stream = self.streams.streams.get(request.stream)
        return None if stream is None or self.is_excluded(request) else stream.read_at

    def is_excluded(self, request: RequestFacts) -> bool:
        """GOAWAY says that it was not begun."""
        goaway = self.streams.goaway
        return goaway is not None and request.stream > goaway.last

    def arrived_at(self, request: RequestFacts) -> float | None:
        """When the server looked at the head."""
        read_at, answer = self.head_read_at(request), self.answer_to(request)
        if read_at is None:
            return None
        if request.entered_at is None and answer is not None:
            return self._looked_at(read_at, [answer.first_at])
        return self._looked_at(read_at, [request.entered_at])

    def _looked_at(self, read_at: float, signs: list[float | None]) -> float:
        """When the server looked at what it had read: at the first sign of it, or as soon as it could."""
        free_from = self.free_from(read_at)
        return min((at for at in signs if at is not None and read_at <= at <= free_from), default=free_from)

    def free_from(self, moment: float) -> float:
        """When the server need not wait for room to write any more, if it had to at this moment."""
        for began, ended in self.waits:
            if began - INSTANT_S <= moment <= ended:
                moment = ended if ended < inf or self.closed_at is None else self.closed_at
        return moment

    def busy_until(self, moment: float) -> float:
        """When no request of it was running any more, and no write was waiting, if there was one then."""
        while True:
            later = [end for began, end in self._works() if began <= moment + INSTANT_S < end]
            if not later:
                return moment
            moment = max(later)

    def _works(self) -> list[tuple[float, float]]:
        works = list(self.waits)
        for request in self.requests:
            if request.entered_at is not None:
                answer = self.answer_to(request)
                ends = [None if answer is None else answer.last_at, request.left_at, self.closed_at]
                stream = self.streams.streams.get(request.stream)
                ends.append(None if stream is None else stream.reset_at)
                works.append((request.entered_at, min((at for at in ends if at is not None), default=inf)))
        return works

    def goes_with(self, answer: Answer, slack_s: float) -> bool:
        """Whether the connection ends as soon as none of its requests is running, by GOAWAY or otherwise."""
        if answer.last_at is None:
            return True
        goaway = self.streams.goaway
        ends = [None if goaway is None else goaway.at, self.left_at, self.streams.left_at, self.closed_at]
        latest = self.busy_until(answer.last_at) + slack_s + INSTANT_S
        return any(at is not None and at <= latest for at in ends)

    def wrote(self, data: bytes, at: float, *, waits: bool) -> None:
        is_waiting = bool(self.waits) and self.waits[-1][1] == inf
        if waits and not is_waiting:
            self.waits.append((at, inf))
        elif is_waiting and not waits:
            self.waits[-1] = self.waits[-1][0], at
        begun = len(self.answers)
        try:
            self.streams.feed(data, at)
        finally:
            for place in range(begun, len(self.answers)):
                request = self.asked_for(place)
                if request is not None and request.answered_at is not None:
                    self.answers[place].first_at = request.answered_at

    def read(self, data: bytes, at: float) -> None:
        self.streams.take(data, at)
