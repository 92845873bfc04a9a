"""W3C Trace Context: reading `traceparent` and `tracestate`, and writing them. Values in, values out.

Rule 1: what is not exactly right is as if it had not been sent. A caller's garbage is neither an error nor
        a log line.
Rule 2: `tracestate` is the caller's: it is passed on unchanged or, where it is not valid, not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

SAMPLED: Final = 0x01
RANDOM: Final = 0x02  # Level 2 of the standard: the trace id is random in at least its last 56 bits
MAX_STATE_CHARACTERS: Final = 512  # the standard's: as much should be passed on; more may be cut
MAX_STATE_MEMBERS: Final = 32

_TRACEPARENT: Final = re.compile(
    rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL
)
_KEY: Final = r"[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}"
_VALUE: Final = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER: Final = re.compile(f"({_KEY})=({_VALUE})")


class TraceContext(NamedTuple):
    """One span's place in a trace: what its holder tells the next program. Ids are never 0.

    state: a valid `tracestate`, or empty.
    """

    trace_id: int
    span_id: int
    flags: int
    state: str = ""

    @property
    def sampled(self) -> bool:
        return bool(self.flags & SAMPLED)


def read_context(headers: Iterable[tuple[bytes, bytes]]) -> TraceContext | None:
    """What a request's headers (names in lower case) say of the trace it is part of, if anything."""
    parents = []
    states = []
    for name, value in headers:
        if name == b"traceparent":
            parents.append(value)
        elif name == b"tracestate":
            states.append(value)
    if len(parents) != 1:
        return None
    match = _TRACEPARENT.fullmatch(parents[0].strip(b" \t"))
    if match is None:
        return None
    version, trace, span, flags, more = match.groups()
    # A later version may say more behind the flags, version 00 may not; ff is no version.
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    trace_id, span_id = int(trace, 16), int(span, 16)
    if not trace_id or not span_id:
        return None
    state = _read_state(states) if states else ""
    return TraceContext(trace_id, span_id, int(flags, 16) & (SAMPLED | RANDOM), state)


def traceparent(trace_id: int, span_id: int, flags: int) -> bytes:
    """The header's value, in version 00."""
    return b"00-%032x-%016x-%02x" % (trace_id, span_id, flags)


def state_members(state: str) -> list[tuple[str, str]]:
    """The keys and values of a valid `tracestate`, in order."""
    return [(key, value) for key, _, value in (member.partition("=") for member in state.split(",")) if key]


def _read_state(values: list[bytes]) -> str:
    members = [member.strip(" \t") for member in b",".join(values).decode("latin-1").split(",")]
    members = [member for member in members if member]
    keys = {member.partition("=")[0] for member in members}
    valid = all(_MEMBER.fullmatch(member) for member in members)
    if not valid or len(keys) < len(members) or len(members) > MAX_STATE_MEMBERS:
        return ""
    while len(state := ",".join(members)) > MAX_STATE_CHARACTERS:
        members.pop()  # the standard's order: the oldest are last
    return state
