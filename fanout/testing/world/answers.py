"""The answers on one connection, read from the bytes that the server has written, as they are written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

_END = b"\r\n\r\n"


@dataclass(slots=True)
class Answer:
    """One answer. Times are of the writes that began it and that ended it; `None`: none has yet.

    A write begins an answer even when its client has no room for a byte of it: the server was on time.
    end: the place of the byte behind it, counted from the first byte on the connection.

    Over HTTP/2: head_at: when its head was written, which may be later if the connection has no room.
    room_at: since when the windows have room for the rest; when it is complete: for its last part.
    was_held: it had to wait for a window. reset: the error with which the server has reset the stream instead
    of an answer, whose `status` is 0 then.
    """

    status: int
    fields: dict[str, str]
    first_at: float
    body: bytes = b""
    last_at: float | None = None
    end: int = 0
    head_at: float | None = None
    room_at: float | None = None
    was_held: bool = False
    reset: int | None = None

    @property
    def closes(self) -> bool:
        return self.fields.get("connection", "").lower() == "close"

    @property
    def request_id(self) -> str:
        return self.fields.get("x-request-id", "")

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        """The problem's, empty for an answer that is none, or is not complete."""
        if (
            self.fields.get("content-type") != "application/problem+json"
            or not self.body
            or self.last_at is None
        ):
            return ""
        return str(self.json["reason"])


class BadAnswer(Exception):
    """The server wrote what is no HTTP/1.1 answer with a length."""


class AnswerReader:
    """Feed it what the server writes. `to_head`: whether the n-th answer is one to HEAD, and has no body."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.to_head: set[int] = set()
        self._rest = b""
        self._begun_at: float | None = None
        self._open: Answer | None = None
        self._left = 0
        self._seen = 0

    @property
    def begun_at(self) -> float | None:
        """When the answer that is not complete was begun, if there is one."""
        return self._begun_at

    @property
    def complete(self) -> int:
        """How many answers were written to their end."""
        return len(self.answers) - (self._open is not None)

    def feed(self, data: bytes, now: float) -> None:
        """One write: what there was room for, perhaps nothing. Raises `BadAnswer`."""
        self._begin(now)
        while data:
            if self._open is None:
                data = self._feed_head(data, self._begin(now))
            if self._open is not None:
                data = self._feed_body(self._open, data, now)

    def _begin(self, now: float) -> float:
        """When the answer that is being written was begun: now, if none was."""
        if self._begun_at is None:
            self._begun_at = now
        return self._begun_at

    def _feed_head(self, data: bytes, begun_at: float) -> bytes:
        whole = self._rest + data
        head, end, rest = whole.partition(_END)
        if not end:
            self._rest = whole
            return b""
        self._rest = b""
        line, *lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in lines)}
        version, _, status = line.partition(" ")
        if version != "HTTP/1.1" or not status[:3].isdecimal() or "content-length" not in fields:
            raise BadAnswer(repr(head))
        answer = Answer(int(status[:3]), fields, begun_at)
        self._left = 0 if len(self.answers) in self.to_head else int(fields["content-length"])
        self._seen += len(head) + len(_END)
        self._open = answer
        self.answers.append(answer)
        return rest

    def _feed_body(self, answer: Answer, data: bytes, now: float) -> bytes:
        body, rest = data[: self._left], data[self._left :]
        answer.body += body
        self._left -= len(body)
        self._seen += len(body)
        if not self._left:
            answer.last_at, answer.end = now, self._seen
            self._open = self._begun_at = None
        return rest
