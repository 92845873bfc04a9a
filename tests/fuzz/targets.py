"""What is fuzzed: how an input is made, who reads it, and what is a difference.

Each target compares fanout with itself first: the same bytes in other pieces must be read alike.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random
from typing import Final, NamedTuple, Protocol

from tests.fuzz import http2, ours
from tests.fuzz.entries import ANSWERS, ENTRIES, REQUESTS, Entry
from tests.fuzz.grammar import Grammar, pieces_of
from tests.fuzz.http2_grammar import Http2Grammar
from tests.fuzz.http2_rules import outcomes
from tests.fuzz.pool import two_calls
from tests.fuzz.reading import CLOSES, REJECTS, Reading, agreed, difference
from tests.fuzz.witnesses import WITNESSES, Witness

FANOUT: Final = "fanout"
_MAX_REPAIRS: Final = 40  # of one input
_CUT: Final = ""  # no entry: the messages that both read alike are cut off
_BYTE_BY_BYTE: Final = 0.1  # of the inputs: it takes much longer


class Difference(NamedTuple):
    """who: the witness, or `fanout`. what: in a few words, the same for the same mistake."""

    who: str
    what: str


class Look(NamedTuple):
    """What one input has shown. behaviour: the same for inputs that show nothing new."""

    differences: list[Difference]
    behaviour: tuple[object, ...]


class Target(Protocol):
    name: str
    files: tuple[str, ...]  # whose coverage counts
    used: Counter[str]  # entries, how often each has explained a difference

    def generate(self, chance: Random) -> bytes: ...

    def mutate(self, data: bytes, other: bytes, chance: Random) -> bytes: ...

    async def look(self, data: bytes, chance: Random, *, every_cut: bool = False) -> Look: ...


def _cuts(data: bytes, chance: Random, every_cut: bool) -> Iterator[list[bytes]]:
    """In pieces at random; now and then byte by byte. every_cut: also in two pieces, in a hundred ways."""
    yield pieces_of(data, chance)
    if every_cut or chance.random() < _BYTE_BY_BYTE:
        yield [data[at : at + 1] for at in range(len(data))]
    if every_cut:
        yield from ([data[:at], data[at:]] for at in range(1, len(data), 1 + len(data) // 100))


class _Http1:
    """A target that compares readings."""

    of: str
    witnesses: tuple[Witness, ...] = WITNESSES

    def __init__(self) -> None:
        self.used: Counter[str] = Counter()

    async def ours(self, pieces: Sequence[bytes]) -> Reading:
        raise NotImplementedError

    def theirs(self, witness: Witness, data: bytes) -> Reading:
        raise NotImplementedError

    def mutate(self, data: bytes, other: bytes, chance: Random) -> bytes:
        return Grammar(chance).mutated(data, other)

    async def also(self, data: bytes, whole: Reading) -> str | None:
        """What else is wrong, of this target alone."""
        return None

    async def look(self, data: bytes, chance: Random, *, every_cut: bool = False) -> Look:
        if not data:
            return Look([], ())
        whole, crash = await self._try(data, [data])
        if whole is None:
            return Look([Difference(FANOUT, crash)], (crash,))
        found = []
        for pieces in _cuts(data, chance, every_cut):
            cut, crash = await self._try(data, pieces)
            if cut is not None and cut._replace(status=0) == whole._replace(status=0):
                wrong = await self.also(data, cut)  # the first mistake that was read decides the status
                found += [Difference(FANOUT, f"in pieces: {wrong}")] * (wrong is not None)
            else:
                what = crash or difference(whole, cut or whole) or "another status"
                found.append(Difference(FANOUT, f"in pieces: {what}"))
                break
        wrong = await self.also(data, whole)
        if wrong is not None:
            found.append(Difference(FANOUT, wrong))
        readings = []
        for witness in self.witnesses:
            theirs = self.theirs(witness, data)
            readings.append((len(theirs.messages), theirs.end))
            differs = difference(whole, theirs)
            if differs is not None and not await self._is_known(witness, data):
                found.append(Difference(witness.name, differs))
        return Look(found, (whole.end, whole.status, len(whole.messages), *readings))

    async def _try(self, data: bytes, pieces: Sequence[bytes]) -> tuple[Reading | None, str]:
        try:
            return await self.ours(pieces), ""
        except Exception as error:  # noqa: BLE001 - whatever it raises is what is looked for
            return None, f"raises {type(error).__name__}"

    async def _is_known(self, witness: Witness, data: bytes) -> bool:
        """Whether entries explain the difference: repaired, step by step, there is none.

        What both read alike is cut off before each step, so the entries see the message that is disputed.
        """
        steps: list[str] = []
        for _ in range(_MAX_REPAIRS):
            whole, _ = await self._try(data, [data])
            if whole is None:
                return False
            theirs = self.theirs(witness, data)
            what = difference(whole, theirs)
            if what is None:
                self.used.update(filter(None, steps))
                return any(steps)
            same = agreed(whole, theirs)
            end = await self._end_of(same, data) if same else 0
            if end:
                data = data[end:]
                steps.append(_CUT)
                continue
            entry = next((each for each in ENTRIES if self._fits(each, witness, what, data)), None)
            if entry is None:
                return False
            data = entry.pattern.sub(entry.repair, data, count=1)
            steps.append(entry.key)
        return False

    def _fits(self, entry: Entry, witness: Witness, what: str, data: bytes) -> bool:
        is_about = entry.of == self.of and witness.name in entry.witnesses and what in entry.what
        return is_about and entry.pattern.sub(entry.repair, data, count=1) != data

    async def _end_of(self, messages: int, data: bytes) -> int:
        """Where the last of so many messages ends."""
        low, high = 0, len(data)
        while low < high:
            middle = (low + high) // 2
            part, _ = await self._try(data, [data[:middle]])
            if part is not None and len(part.messages) >= messages:
                high = middle
            else:
                low = middle + 1
        return low


# A status other than 400 says something about the request. Each is held to what must then be in the input.
_STATUSES: Final = {
    414: re.compile(rb"(?s:(?!\r\n).){%d}" % ours.LIMITS.max_target_bytes),
    417: re.compile(rb"(?s:.*(?i:expect))"),
    431: re.compile(rb"(?s:.{%d})|(?:[^\n]*\n){%d}" % (ours.LIMITS.max_head_bytes, ours.LIMITS.max_fields)),
    501: re.compile(
        rb"(?!(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|TRACE|QUERY) )[!-~]+ |[!-~]{33}|(?s:.*(?i:encoding))"
    ),
    505: re.compile(rb"[^\n]*HTTP/(?!1\.[01])[0-9]\.[0-9]\r\n"),
}


class Head(_Http1):
    """The first head of a connection."""

    name: str = "head"
    of = REQUESTS
    # Our own grammar, without the second opinion of llhttp: it must not need that.
    witnesses: tuple[Witness, ...] = (*WITNESSES, Witness("grammar", ours.head_alone, WITNESSES[0].answer))
    files: tuple[str, ...] = ("fanout/server/head.py", "fanout/server/http1_reader.py")

    def generate(self, chance: Random) -> bytes:
        return Grammar(chance).head()

    async def ours(self, pieces: Sequence[bytes]) -> Reading:
        return await ours.head(pieces)

    def theirs(self, witness: Witness, data: bytes) -> Reading:
        if witness.name == "grammar":
            return witness.requests(data)
        lines = data.lstrip(b"\r\n")
        rest = len(lines.partition(b"\r\n\r\n")[2])
        reading = witness.requests(data[: len(data) - rest])
        if reading.end == REJECTS and not reading.messages:
            return Reading((), None, REJECTS)
        for head in reading.heads():
            return Reading((head._replace(body=b"", keeps=None),), None, CLOSES)
        return Reading((), None, reading.end)

    async def also(self, data: bytes, whole: Reading) -> str | None:
        if whole.end == REJECTS:
            rule = _STATUSES.get(whole.status)
            if rule is not None and not (rule.match(data) or rule.match(data.lstrip(b"\r\n"))):
                return f"answers {whole.status} for no reason"
        return None


class Stream(_Http1):
    """Requests with their bodies on one connection."""

    name: str = "stream"
    of = REQUESTS
    files: tuple[str, ...] = (
        "fanout/server/head.py", "fanout/server/http1_reader.py", "fanout/server/http1.py",
        "fanout/server/http1_request.py",
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._server = ours.Server()

    def generate(self, chance: Random) -> bytes:
        return Grammar(chance).stream()

    async def ours(self, pieces: Sequence[bytes]) -> Reading:
        reading = await self._server.requests(pieces)
        if self._server.crashes:
            raise self._server.crashes.pop()
        return reading

    def theirs(self, witness: Witness, data: bytes) -> Reading:
        return witness.requests(data)

    async def also(self, data: bytes, whole: Reading) -> str | None:
        """A request that is shed without being read must be all that has come."""
        is_more = len(whole.messages) > 1 or whole.begun is not None
        if is_more and await self._server.sheds_whole(data):
            return "sheds one request for what is more than one"
        return None


class Answer(_Http1):
    """What an upstream sends. The first line of an input says to which method."""

    name: str = "answer"
    of = ANSWERS
    files: tuple[str, ...] = ("fanout/upstream/answer.py", "fanout/upstream/chunks.py")
    _pool_every: Final = 8  # inputs: the pool takes much longer than its parser

    def generate(self, chance: Random) -> bytes:
        return chance.choice((b"GET\r\n", b"GET\r\n", b"GET\r\n", b"HEAD\r\n")) + Grammar(chance).answer()

    def mutate(self, data: bytes, other: bytes, chance: Random) -> bytes:
        method, end, answer = data.partition(b"\r\n")
        return method + end + Grammar(chance).mutated(answer, other.partition(b"\r\n")[2])

    async def ours(self, pieces: Sequence[bytes]) -> Reading:
        method, _, _ = b"".join(pieces).partition(b"\r\n")
        left = len(method) + 2
        cut = []
        for piece in pieces:
            cut.append(piece[left:])
            left = max(0, left - len(piece))
        return ours.answer(_method(method), [piece for piece in cut if piece])

    async def also(self, data: bytes, whole: Reading) -> str | None:
        """The pool's books, whatever comes."""
        if len(data) % self._pool_every:
            return None
        method, _, answer = data.partition(b"\r\n")
        half = len(answer) // 2
        try:
            await two_calls(_method(method), [piece for piece in (answer[:half], answer[half:]) if piece])
        except Exception as error:  # noqa: BLE001 - whatever it raises is what is looked for
            return f"the pool raises {type(error).__name__}"
        return None

    async def look(self, data: bytes, chance: Random, *, every_cut: bool = False) -> Look:
        if not data.startswith((b"GET\r\n", b"HEAD\r\n")):
            return Look([], ())
        return await super().look(data, chance, every_cut=every_cut)

    def theirs(self, witness: Witness, data: bytes) -> Reading:
        method, _, answer = data.partition(b"\r\n")
        return witness.answer(_method(method), answer)


def _method(line: bytes) -> str:
    return "HEAD" if line == b"HEAD" else "GET"


class Http2Head:
    """The head of a request over HTTP/2."""

    name: str = "http2_head"
    files: tuple[str, ...] = ("fanout/server/http2_head.py", "fanout/server/head.py")

    def __init__(self) -> None:
        self.used: Counter[str] = Counter()

    def generate(self, chance: Random) -> bytes:
        return Http2Grammar(chance).head()

    def mutate(self, data: bytes, other: bytes, chance: Random) -> bytes:
        return Http2Grammar(chance).mutated(data, other)

    async def look(self, data: bytes, chance: Random, *, every_cut: bool = False) -> Look:
        request = http2.head_of(data)
        if request is None:
            return Look([], ())
        allowed, broken = outcomes(request)
        self.used.update(rule.what for rule in broken)
        try:
            found = [Difference(*each) for each in http2.look_at_head(request)]
        except Exception as error:  # noqa: BLE001 - whatever it raises is what is looked for
            found = [Difference(FANOUT, f"raises {type(error).__name__}")]
        return Look(found, (*sorted(allowed), *(rule.what for rule in broken)))


class Http2:
    """All that a client sends over HTTP/2 on one connection."""

    name: str = "http2"
    files: tuple[str, ...] = (
        "fanout/server/http2.py",
        "fanout/server/http2_head.py",
        "fanout/server/frames.py",
    )

    def __init__(self) -> None:
        self.used: Counter[str] = Counter()
        self._server = http2.Http2Server()

    def generate(self, chance: Random) -> bytes:
        return Http2Grammar(chance).conversation()

    def mutate(self, data: bytes, other: bytes, chance: Random) -> bytes:
        return Http2Grammar(chance).mutated(data, other)

    async def look(self, data: bytes, chance: Random, *, every_cut: bool = False) -> Look:
        plan = http2.plan_of(data)
        found = []
        behaviour: list[object] = [plan.is_clean]
        for pieces in ([data], *_cuts(data, chance, every_cut)):
            try:
                answers = await self._server.answers(pieces)
                what = http2.look_at_answers(plan, answers, self._server.served)
                behaviour.append((answers.goodbye, *sorted(Counter(answers.status.values()).items())))
            except Exception as error:  # noqa: BLE001 - as above
                what = f"raises {type(error).__name__}"
            if self._server.crashes:
                what = f"crashes with {type(self._server.crashes.pop()).__name__}"
                self._server.crashes.clear()
            if what is not None:
                found.append(Difference(FANOUT, what if len(pieces) == 1 else f"in pieces: {what}"))
        return Look(found, tuple(behaviour))


def targets(only: str = "") -> Iterator[Target]:
    """The one with the name `only`, or else those whose name begins with it."""
    every = (Head, Stream, Answer, Http2Head, Http2)
    yield from [each() for each in every if each.name == only] or [
        each() for each in every if each.name.startswith(only)
    ]
