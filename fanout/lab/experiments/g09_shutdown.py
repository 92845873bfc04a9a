"""A graceful shutdown keeps what was admitted.

Deployments end servers all day, with SIGTERM. Each request that was admitted before the signal still gets its
answer. New ones are rejected, so that the client tries another instance. And the process exits by itself,
within the longest remaining deadline plus one second: an orchestrator that has waited long enough sends
SIGKILL, and then answers are lost.

The last part is the difficult one, because it must not depend on the clients. So the experiment includes
clients that would keep a server alive: a client that holds an idle connection, one that has sent half a head,
and one that sends requests and never reads an answer. During the shutdown every wait for a client is bounded
by half a second.

Five requests are in flight when the signal comes; their upstream takes a second. Another request comes
later, over a connection that was opened before: the listener is closed, but that connection is not. It is
answered 503, or, if it takes longer than half a second to come, 408; in no case does it reach the upstream.
The exit code is 0.

No check here depends on a millisecond. The five answers, the rejection and the exit code are facts, and the
bound for the exit is the deadline of the requests, which is far longer than their calls.

Not covered: a second signal and `kill -9`, which end the process at once. Connections that wait in the
kernel's queue and were not accepted are closed. A client that reads its answer so slowly that half a second
is not enough loses it.
"""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import suppress
from http import HTTPStatus

import trio

from fanout.lab.client import Answer, Client, ask
from fanout.lab.experiment import Experiment
from fanout.lab.report import Report
from fanout.lab.setup import CannotRun, Server, Setup, eventually
from fanout.lab.timeline import Lane
from fanout.testing.world.answers import AnswerReader

REQUESTS = 5
DELAYS_MS = (1000, 4000, 16_000)  # longer than it takes to begin them all; the next one if it was not
TIMEOUT_MS = 25_000
MARGIN_MS = 1000


async def run(setup: Setup, report: Report) -> None:
    for delay_ms in DELAYS_MS:
        if await _shut_down(await setup.own_server(), report, delay_ms):
            return
    raise CannotRun(f"this machine does not begin {REQUESTS} requests in {DELAYS_MS[-1]} ms")


async def _shut_down(server: Server, report: Report, delay_ms: int) -> bool:
    """Whether no answer came before the signal. If one did, the experiment has shown nothing."""
    upstream = server.upstream
    for call in (0, 1):
        await upstream.behave(call, delay_ms=delay_ms)
    idle, half, unread, late = [await Client.to(server.url) for _ in range(4)]
    await half.send_bytes(b"GET /api/first HTTP/1.1\r\nHo")
    await unread.send_bytes(b"GET /openapi.json HTTP/1.1\r\nHost: lab\r\n\r\n" * 100)
    await late.send_bytes(b"GET /nothing HTTP/1.1\r\nHost: lab\r\n\r\nGET")  # so it is not idle
    began_at = trio.current_time()
    answers: list[Answer] = []

    async def request() -> None:
        answers.append(await server.first(TIMEOUT_MS))

    def since_ms() -> float:
        return (trio.current_time() - began_at) * 1000

    async def are_in_flight() -> bool:
        return len(await upstream.calls()) == 2 * REQUESTS

    async def is_draining() -> bool:
        return (await ask(server.admin_url, "/readyz")).status != HTTPStatus.OK

    async with trio.open_nursery() as nursery:
        for _ in range(REQUESTS):
            nursery.start_soon(request)
        if not await eventually(are_in_flight) or answers:
            nursery.cancel_scope.cancel()
            await trio.sleep_forever()  # until it is cancelled, which is now
        report.done.append(
            f"{REQUESTS} requests whose calls take {delay_ms} ms, an idle client, half a head, a client that "
            "never reads, then SIGTERM"
        )
        server.program.process.send_signal(signal.SIGTERM)
        signal_ms = since_ms()
        was_noticed = await eventually(is_draining)
        with suppress(trio.BrokenResourceError):
            await late.send_bytes(b" /api/first HTTP/1.1\r\nHost: lab\r\n\r\n")
        said = await late.receive_end()
        rejected_ms = since_ms()
        was_answered = len(answers)
    if nursery.cancel_scope.cancelled_caught:
        return False
    code = await _exit_code(server)
    exit_ms = since_ms()
    new = await ask(server.url, "/api/first")
    calls = await upstream.calls()
    for client in (idle, half, unread, late):
        client.disconnect()

    counts = Counter(str(answer.status) if answer.status else "cut off" for answer in answers)
    report.lanes += [
        Lane(f"request {n + 1}", 0, answer.took_ms, "success" if answer.status == 200 else "failure")
        for n, answer in enumerate(answers)
    ]
    report.lanes.append(Lane("a new request", signal_ms, rejected_ms, "done", "rejected"))
    report.lanes.append(Lane("SIGTERM to exit", signal_ms, exit_ms, "done", f"exit code {code}"))
    text = ", ".join(f"{count} x {what}" for what, count in counts.items())
    report.see("client", f"in flight: {text}", counts == {"200": REQUESTS})
    statuses = _statuses(said)
    text = f"after SIGTERM, on an old connection: {' '.join(map(str, statuses)) or 'nothing'}, then closed"
    is_rejected = said is not None and statuses in ([404, 503], [404, 408], [404]) and was_noticed
    report.see("client", text, is_rejected and not was_answered)
    report.see("client", f"a new connection: {new.missing or new.status}", new.status == 0)
    report.see("wire", f"{len(calls)} calls were made", len(calls) == 2 * REQUESTS)
    within_ms = TIMEOUT_MS + MARGIN_MS
    took_ms = exit_ms - signal_ms
    report.see(
        "server",
        f"exit code {code} {took_ms:.0f} ms after SIGTERM, due within {within_ms}",
        code == 0 and took_ms < within_ms,
    )
    return True


async def _exit_code(server: Server) -> int | None:
    """`None` if it does not end."""
    process = server.program.process

    async def has_ended() -> bool:
        await trio.lowlevel.checkpoint()
        return process.poll() is not None

    await eventually(has_ended, within_s=TIMEOUT_MS / 1000 + 5)
    return process.returncode


def _statuses(said: bytes | None) -> list[int]:
    """Of all answers on a connection."""
    reader = AnswerReader()
    reader.feed(said or b"", 0)
    return [answer.status for answer in reader.answers]


EXPERIMENT = Experiment(
    id="G9",
    title="graceful shutdown",
    claim="SIGTERM cuts no request that was admitted",
    code="fanout/server/driver.py Driver.drain",
    test="tests/blackbox/test_front_door.py::test_sigterm_cuts_no_admitted_request",
    breakages=("drain_closes_early",),
    run=run,
    article=__doc__ or "",
)
