"""What one parser makes of the bytes of one connection, and the first difference between two of them."""

from __future__ import annotations

from itertools import takewhile, zip_longest
from typing import Final, NamedTuple

Fields = tuple[tuple[bytes, bytes], ...]

WAITS: Final = "waits"  # for a message, or for the rest of a head
WAITS_FOR_BODY: Final = "waits for a body"
REJECTS: Final = "rejects"
CLOSES: Final = "closes"  # nothing more is read
_BOUNDS: Final = (413, 414, 431)  # what is too large for us may be anything to others


class Message(NamedTuple):
    """A request or an answer.

    start: method, path, query and version, or status and version. fields: names in lower case, values without
    space around them. keeps: the connection may be used for another message; `None`: the parser does not say.
    """

    start: tuple[bytes, ...]
    fields: Fields
    body: bytes
    keeps: bool | None


class Reading(NamedTuple):
    """messages: the complete ones, in their order. begun: the one whose head alone is complete.

    status: of the answer with which our server rejects the rest; 0 for every other parser.
    """

    messages: tuple[Message, ...]
    begun: Message | None
    end: str
    status: int = 0

    def heads(self) -> list[Message]:
        return [*self.messages, *([] if self.begun is None else [self.begun])]


def normal_fields(fields: list[tuple[bytes, bytes]]) -> Fields:
    """A transfer coding is in lower case as well: its name has no case."""
    pairs = ((name.lower(), value.strip(b" \t")) for name, value in fields)
    return tuple((name, value.lower() if name == b"transfer-encoding" else value) for name, value in pairs)


def difference(ours: Reading, theirs: Reading) -> str | None:
    """The first difference in a few words, which say what `theirs` does; `None` if there is none.

    Nothing is compared behind a message that is the last one for us, so to read less is no difference. To
    close where the other parser goes on is one.
    """
    for mine, other in zip_longest(ours.messages, theirs.messages):
        if mine is None:
            return None if ours.end == CLOSES or ours.status in _BOUNDS else _takes(ours)
        if other is None:
            return _ends_early(theirs, mine)
        found = _other_message(mine, other)
        if found is not None:
            return found
    if ours.begun is not None and theirs.begun is not None:
        found = _other_head(ours.begun, theirs.begun)
        if found is not None:
            return found
    if ours.end in (theirs.end, CLOSES) or ours.status in _BOUNDS:
        return None
    if ours.end == REJECTS:
        if theirs.end == WAITS_FOR_BODY and ours.begun is None:
            return _takes(ours)
        return f"{theirs.end} where fanout answers {ours.status}"
    return f"{theirs.end} while fanout {ours.end}"


def agreed(ours: Reading, theirs: Reading) -> int:
    """How many messages both have read alike, from the first one on."""
    pairs = zip(ours.messages, theirs.messages, strict=False)
    return sum(1 for _ in takewhile(lambda pair: _other_message(*pair) is None, pairs))


def _takes(ours: Reading) -> str:
    if ours.end == REJECTS:
        return f"takes what fanout answers with {ours.status}"
    return f"takes more while fanout {ours.end}"


def _ends_early(theirs: Reading, mine: Message) -> str:
    found = None if theirs.begun is None else _other_head(mine, theirs.begun)
    return f"{theirs.end} where fanout has a message" if found is None else found


def _other_head(mine: Message, other: Message) -> str | None:
    if mine.start != other.start:
        return "reads another start"
    return None if mine.fields == other.fields else "reads other fields"


def _other_message(mine: Message, other: Message) -> str | None:
    found = _other_head(mine, other)
    if found is not None:
        return found
    if mine.body != other.body:
        return "reads another body"
    if other.keeps is None or mine.keeps == other.keeps:
        return None
    return "keeps what fanout closes" if other.keeps else "closes what fanout keeps"
