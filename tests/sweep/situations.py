"""The situations that one request is swept in. Each says what happens, and what its answers must be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Final, Literal

import trio

from tests.sweep.stack import LITERAL, NAME, RESERVE_MS, Client, Stack
from tests.sweep.upstream import (
    Play,
    breaks,
    drips,
    fails,
    hangs,
    is_gone,
    succeeds,
)


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a call, and when: seconds after the request."""

    end: Literal["succeeds", "fails", "hangs"]
    after_s: float


Endpoint = Literal["first", "all"]
ENDPOINTS: tuple[Endpoint, Endpoint] = ("first", "all")


def get(target: str, fields: str = "") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: sweep\r\n{fields}\r\n".encode("ascii")


def oracle(endpoint: Endpoint, fates: Sequence[Fate]) -> tuple[int, float]:
    """G4 and G5: the status, and when it is known; `inf`: at the deadline."""
    successes = [fate.after_s for fate in fates if fate.end == "succeeds"]
    last_s = max(fate.after_s for fate in fates)
    if endpoint == "first" and successes:
        return 200, min(successes)
    return 200 if successes and last_s < inf else 500, last_s


async def wait_for_answer(client: Client, request: bytes, stack: Stack) -> None:
    client.send(request)
    await client.read(1)


async def warm_up(client: Client, stack: Stack) -> None:
    """One request on this connection: the next one finds it kept alive, and the pool warm."""
    client.send(get("/api/all"))
    await client.read(1)
    assert client.answers.pop().status == 200


async def nothing(client: Client, stack: Stack) -> None:
    await trio.lowlevel.checkpoint()


async def connect_slowly(client: Client, stack: Stack) -> None:
    await trio.lowlevel.checkpoint()
    stack.upstream.dial_s = 0.1


OK, BAD = partial(Fate, "succeeds"), partial(Fate, "fails")
NEVER: Final = Fate("hangs", inf)


@dataclass(frozen=True, slots=True)
class Situation:
    """fates: what becomes of each call. plays: what the upstream does for it, request by request.

    before: what happened before the swept request. during: what its client does; at the end it closes.
    answers: how many there are, all of the same kind.
    """

    name: str
    fates: tuple[Fate, Fate]
    plays: tuple[list[Play], list[Play]]
    before: Callable[[Client, Stack], Awaitable[None]] = nothing
    during: Callable[[Client, bytes, Stack], Awaitable[None]] = wait_for_answer
    answers: int = 1
    instead: int | None = None  # the status, when there is no race
    target: str = "/api/{endpoint}?timeout={timeout_ms}"
    fields: str = ""
    is_read_slowly: bool = False  # the client sets the pace
    drains: bool = False
    timeout_ms: int = 1000
    max_in_flight: int = 4
    keepalive_expiry_s: float = 30
    url: str = LITERAL

    def statuses(self, endpoint: Endpoint, lost: int | None = None) -> list[int]:
        """What the client gets, when this call is lost."""
        fates = list(self.fates)
        if lost is not None:
            fates[lost] = BAD(0)
        return [self.instead or oracle(endpoint, fates)[0]] * self.answers

    def answered_s(self, endpoint: Endpoint) -> float:
        """When the first answer comes, undisturbed: seconds after the request, to a few hundredths."""
        if self.instead is not None:
            return 0
        _, known_s = oracle(endpoint, self.fates)
        return min(known_s, (self.timeout_ms - RESERVE_MS) / 1000)

    def request(self, endpoint: Endpoint) -> bytes:
        return get(self.target.format(endpoint=endpoint, timeout_ms=self.timeout_ms), self.fields)


async def read_slowly(client: Client, request: bytes, stack: Stack) -> None:
    client.send(request)
    await client.read(1, every_s=0.01)


async def pipeline(client: Client, request: bytes, stack: Stack) -> None:
    client.send(request + request)
    await client.read(2)


async def send_in_pieces(client: Client, request: bytes, stack: Stack) -> None:
    for piece in (request[:3], request[3:-2], request[-2:]):
        client.send(piece)
        await trio.sleep(0.003)
    await client.read(1)


async def hang_up(client: Client, request: bytes, stack: Stack, how: str) -> None:
    client.send(request)
    await trio.sleep(0.05)
    client.close(how)


async def leave(client: Client, request: bytes, stack: Stack) -> None:
    await hang_up(client, request, stack, "fin")


async def vanish(client: Client, request: bytes, stack: Stack) -> None:
    await hang_up(client, request, stack, "rst")


async def drain(client: Client, request: bytes, stack: Stack) -> None:
    client.send(request)
    await trio.sleep(0.05)
    stack.drain()
    await client.read(1)


async def fill(client: Client, stack: Stack) -> None:
    """Another client's request takes the only token."""
    other = await stack.connect()
    other.send(get("/api/first"))
    stack.others.append(other)
    await trio.sleep(0.02)


async def refuse_unread(client: Client, request: bytes, stack: Stack) -> None:
    """As the overload control does before a request is parsed."""
    stack.refusal = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
    client.send(request)
    await client.read(1)
    stack.refusal = None


async def refuse_first_address(client: Client, stack: Stack) -> None:
    """Connecting is a race of two addresses, inside each call."""
    await trio.lowlevel.checkpoint()
    stack.upstream.refused.add("192.0.2.1")


Calls = tuple[tuple[Fate, Fate], tuple[list[Play], list[Play]]]
TWO: Final[Calls] = (
    (OK(0.1), OK(0.2)),
    ([succeeds(0.1)], [succeeds(0.2)]),
)  # not the point
NONE: Final[Calls] = ((OK(0), OK(0)), ([], []))  # where there are none
S = Situation
SITUATIONS: Final = (
    S("both succeed", *TWO),
    S("both succeed in one pass", (OK(0.1), OK(0.1)), ([succeeds(0.1)], [succeeds(0.1)])),
    S("one fails, then the other succeeds", (BAD(0.05), OK(0.2)), ([fails(0.05)], [succeeds(0.2)])),
    S("both fail", (BAD(0.05), BAD(0.1)), ([fails(0.05)], [breaks(0.1)])),
    S("one succeeds, the other hangs", (OK(0.1), NEVER), ([succeeds(0.1)], [hangs])),
    S("both hang until the deadline", (NEVER, NEVER), ([hangs], [hangs]), timeout_ms=300),
    S("the budget is spent before it starts", (NEVER, NEVER), ([hangs], [hangs]), timeout_ms=RESERVE_MS),
    S("answers drip", (OK(0.13), OK(0.16)), ([drips(0.05, 0.02)], [drips(0.08, 0.02)])),
    S("an answer drips past the deadline", (BAD(0), NEVER), ([fails(0)], [drips(0.1, 1)]), timeout_ms=300),
    S("second request, warm", *TWO, before=warm_up),
    S("expired connections", *TWO, before=warm_up, keepalive_expiry_s=0),
    S(
        "dead connections, retried",
        (OK(0.11), OK(0.21)),
        ([is_gone, succeeds(0.1)], [is_gone, succeeds(0.2)]),
        before=warm_up,
    ),
    S(
        "warm connections that break in an answer",
        (BAD(0.1), BAD(0.2)),
        ([breaks(0.1)], [breaks(0.2)]),
        before=warm_up,
    ),
    S("two addresses", *TWO, before=refuse_first_address, url=NAME),
    S("head in pieces", *TWO, during=send_in_pieces),
    S("pipelined", TWO[0], ([succeeds(0.1)] * 2, [succeeds(0.2)] * 2), during=pipeline, answers=2),
    S("last request", *TWO, fields="Connection: close\r\n"),
    S(
        "a large answer, read slowly",
        TWO[0],
        ([succeeds(0.1, 60_000)], [succeeds(0.2, 60_000)]),
        during=read_slowly,
        is_read_slowly=True,
    ),
    S("client hangs up", *TWO, during=leave, answers=0),
    S("client resets", *TWO, during=vanish, answers=0),
    S("client hangs up while connecting", *TWO, before=connect_slowly, during=leave, answers=0, url=NAME),
    S("invalid timeout", *NONE, target="/api/{endpoint}?timeout=0", instead=400),
    S("a body", *NONE, fields="Content-Length: 3\r\n", instead=413),
    S("refused: no token", *NONE, before=fill, instead=503, max_in_flight=1),
    S("refused before parsing", *NONE, during=refuse_unread, instead=503),
    S("drain in the middle", *TWO, during=drain, drains=True),
)
