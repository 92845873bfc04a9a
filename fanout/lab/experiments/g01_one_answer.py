"""Each request gets one answer.

Every request whose head was read gets exactly one complete answer, or its connection is closed because its
client has disconnected. Two answers to one request would be worse than none: on a connection that is used
again, the second one is taken for the answer to the next request.

So the experiment sends what clients send, right and wrong, each on a connection of its own: good requests,
unknown paths and methods, a bad timeout, a body, bytes that are not HTTP, a head that is too large, three
requests in one packet, and requests that break off. The last request on each connection asks the server to
close it. The client therefore sees everything that the server writes, to the last byte, and can count. An
answer counts when it is complete: its head, and as many bytes of body as its Content-Length says.

The server keeps a count of its own. The number of heads that it has read must be the number of answers that
it has written, plus the number of clients that disconnected before theirs.

A malformed head is not a request that was read. It gets one 4xx, and the connection is closed, because
where the next request begins is unknown. Nothing that comes after a request with `Connection: close` or
with a body is answered.

Not covered: a head whose last byte comes in the very event-loop iteration in which its time ends, a client
that does not take its answer within 10 s (it gets a reset, so that it cannot mistake a part for the whole),
a second signal, and `kill -9`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import trio

from fanout.lab.client import Client
from fanout.lab.experiment import Experiment
from fanout.lab.report import Report
from fanout.lab.setup import Server, Setup, eventually
from fanout.lab.timeline import Lane
from fanout.testing.world.answers import AnswerReader, BadAnswer

_HEAD = b"GET %b HTTP/1.1\r\nHost: lab\r\n"
FIRST, ALL = b"/api/first?timeout=20000", b"/api/all?timeout=20000"  # also on a machine that is busy
_LAST = b"Connection: close\r\n\r\n"


def get(target: bytes, *, is_last: bool = True) -> bytes:
    return _HEAD % target + (_LAST if is_last else b"\r\n")


@dataclass(frozen=True, slots=True)
class Sent:
    """Bytes on a connection of their own, and the statuses of the answers that they must get.

    disconnects: the client sends FIN after them. heads: how many are complete and well-formed.
    """

    name: str
    data: bytes
    statuses: tuple[int, ...]
    heads: int = 1
    disconnects: bool = False


SENT = (
    Sent("first", get(FIRST), (200,)),
    Sent("all", get(ALL), (200,)),
    Sent("no such path", get(b"/nothing"), (404,)),
    Sent("POST", get(b"/api/first").replace(b"GET", b"POST"), (405,)),
    Sent("timeout=1s", get(b"/api/first?timeout=1s"), (400,)),
    Sent("with a body", get(b"/api/first").replace(_LAST, b"Content-Length: 2\r\n\r\nhi"), (413,)),
    Sent("no HTTP", b"\x16\x03\x01 hello\r\n\r\n", (400,), heads=0),
    Sent("a head of 20 KB", _HEAD % b"/" + b"X-Pad: " + b"x" * 20_000 + b"\r\n\r\n", (431,), heads=0),
    Sent(
        "three at once",
        get(FIRST, is_last=False) + get(b"/nothing", is_last=False) + get(ALL),
        (200, 404, 200),
        heads=3,
    ),
    Sent("half a head, FIN", get(b"/api/first")[:20], (), heads=0, disconnects=True),
    Sent("a request, FIN", get(FIRST), (), disconnects=True),
)


async def run(setup: Setup, report: Report) -> None:
    server = await setup.server()
    await server.upstream.behave(0, delay_ms=50)
    await server.upstream.behave(1, delay_ms=100)
    report.done.append(f"{len(SENT)} connections: {', '.join(sent.name for sent in SENT)}")
    before = await server.statistics()
    began_at = trio.current_time()
    right = 0
    for sent in SENT:
        at_ms = (trio.current_time() - began_at) * 1000
        statuses, is_complete = await _got(server, sent)
        to_ms = (trio.current_time() - began_at) * 1000
        is_right = statuses == list(sent.statuses) and is_complete
        right += is_right
        note = " ".join(map(str, statuses)) or "no answer"
        report.lanes.append(Lane(sent.name, at_ms, to_ms, "done" if is_right else "failure", note))
        if not is_right:
            wanted = f"{len(sent.statuses)} answers {' '.join(map(str, sent.statuses))}"
            report.see(
                "client", f"{sent.name}: {note}{'' if is_complete else ', in part'}, not {wanted}", False
            )
    answers = sum(len(sent.statuses) for sent in SENT)
    report.see(
        "client",
        f"{answers} answers, each complete and the only one, on {right} of {len(SENT)} connections",
        right == len(SENT),
    )
    await _see_account(server, before, report)
    await server.see_leaks(report)


async def _got(server: Server, sent: Sent) -> tuple[list[int], bool]:
    """The statuses of all that came until the end, and whether all of it were complete answers."""
    reader = AnswerReader()
    async with await Client.to(server.url) as client:
        await client.send_bytes(sent.data)
        if sent.disconnects:
            client.finish()
        rest = await client.receive_end()
        try:
            if rest:
                reader.feed(rest, trio.current_time())
        except BadAnswer:
            return [answer.status for answer in reader.answers], False
    return [answer.status for answer in reader.answers], rest is not None and reader.begun_at is None


async def _see_account(server: Server, before: dict[str, Any], report: Report) -> None:
    """The server's own counts of heads read and answers written, since `before`."""

    async def counted() -> tuple[int, int, int]:
        now = await server.statistics()
        answers = [sum(at["requests"]["answers"].values()) for at in (before, now)]
        left = [at["requests"]["clients_disconnected"] for at in (before, now)]
        heads = [at["connections"]["requests"] for at in (before, now)]
        return heads[1] - heads[0], answers[1] - answers[0], left[1] - left[0]

    async def is_balanced() -> bool:
        heads, answers, left = await counted()
        return heads == answers + left

    is_even = await eventually(is_balanced)
    heads, answers, left = await counted()
    wanted = sum(sent.heads for sent in SENT)
    text = f"{heads} heads read, {answers} answers written, {left} client disconnected before its answer"
    report.see("server", text, is_even and heads == wanted and left == 1)


EXPERIMENT = Experiment(
    id="G1",
    title="one answer",
    claim="each request gets exactly one complete answer",
    code="fanout/server/http1_request.py Request",
    test="tests/server/test_http1.py::test_pipelined_requests_are_answered_in_order_one_at_a_time",
    breakages=(),
    run=run,
    article=__doc__ or "",
)
