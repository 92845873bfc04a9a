"""Bugs are loud.

An unexpected exception becomes one 500 for the client and one report with its traceback in the log. Exactly
one: a bug that is reported three times makes the log hard to read, and a bug that is not reported is never
fixed.

In a single task this is easy. In a race there are two more ways for an exception to get lost. The first is
the cancelled sibling: call 1 wins, call 0 is cancelled, and its clean-up raises. No task waits for the result
of a call that has lost. The second is the exception group. A call that has a nursery of its own can end with
a group that holds a bug *and* a `Cancelled`. Trio's scope takes its own `Cancelled` out of the group; code
that looks at the group, sees a cancellation and stops there has swallowed the bug. So each call reports its
bug where it happens, as an event, before any group propagates. A group is split, and both halves are kept.

The same holds when no client is left. A bug in a call of a client that has disconnected has no answer, and
still has its report. And a bug outside of any call, in the application itself, is caught by the guard of
the connection: a 500, a report, and the connection is closed.

The experiment needs bugs, and no known request causes one in the shipped server. So the experiment runs the
real application, race and connection driver in virtual time, with scripted calls that raise, and passes the
reports to the real log.

Not covered: a call that is cancelled before it reaches its bug. `KeyboardInterrupt` is not caught. A log
that is stuck drops a line and counts it; the count of bugs is exact.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from math import inf

import trio
import trio.testing
from loguru import logger

from fanout.api.problems import render
from fanout.lab.experiment import Experiment
from fanout.lab.report import Report
from fanout.lab.setup import Setup
from fanout.lab.timeline import Lane
from fanout.observe.log import LogObserver, configure_logging, configured_logs
from fanout.race.events import BugFound, CallEnded
from fanout.race.outcome import Crash, Failure, Success
from fanout.race.timings import CallTimings
from fanout.server.asgi import Receive, Scope, Send
from fanout.server.driver import Driver
from fanout.server.limits import Limits
from fanout.server.serve import Connections
from fanout.testing.scenario import LeftBehind, Replay, run_scenario
from fanout.testing.scripted import ScriptedCall, answers, crashes
from fanout.testing.world.adapters import ClientTransport
from fanout.testing.world.answers import AnswerReader
from fanout.testing.world.network import Network

FAST_MS, LATER_MS = 50, 100
WINDOW_BYTES = 65536


class Bug(Exception):
    """A scripted one."""


class CallWithNursery(ScriptedCall):
    """Cancelled, it ends with a group: one of its tasks with a bug, the other one with `Cancelled`."""

    async def __call__(self, timings: CallTimings) -> Success | Failure:
        self.started += 1
        self.running += 1
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                nursery.start_soon(self._clean_up_badly)
        finally:
            self.running -= 1
        return Failure("unreachable")

    async def _clean_up_badly(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise Bug("in the clean-up of a task")


async def run(setup: Setup, report: Report) -> None:
    report.extend(await setup.virtual(in_virtual_time))


def in_virtual_time() -> Report:
    report = Report(["virtual time: the real application, race and connection driver, and calls that raise"])
    bugs: list[BugFound] = []

    def see(
        what: str, calls: Sequence[ScriptedCall], status: int | None, disconnects_ms: float | None = None
    ) -> None:
        try:
            replay = run_scenario("/api/first", calls, hang_up_after_ms=disconnects_ms)
        except LeftBehind as left:
            report.see("virtual time", f"{what}: {left}", False)
            return
        found = [event for event in replay.events if isinstance(event, BugFound)]
        bugs.extend(found)
        got = (
            "no answer"
            if replay.status is None
            else f"{replay.status} {replay.json.get('reason', '')}".strip()
        )
        text = f"{what}: {got}, {_reports(len(found))}"
        is_loud = replay.status == status and len(found) == 1
        report.see(
            "virtual time", text, is_loud and (status is None or replay.json.get("reason") == "internal")
        )
        report.lanes.extend(_lanes(what, replay))

    careless = ScriptedCall(inf, Failure("unreachable"), cleanup_error=Bug("in the clean-up"))
    see("a call raises", [crashes(FAST_MS, Bug("in a call")), answers(LATER_MS)], 500)
    see("a loser's clean-up raises", [answers(FAST_MS), careless], 500)
    see(
        "the same next to a Cancelled, in one group",
        [answers(FAST_MS), CallWithNursery(inf, Failure(""))],
        500,
    )
    see(
        "a call raises as its client disconnects", [answers(LATER_MS), careless], None, disconnects_ms=FAST_MS
    )

    clock = trio.testing.MockClock(autojump_threshold=0)
    statuses, reports = trio.run(_app_that_raises, clock=clock)
    bugs += [BugFound("unread", "a connection", bug, 0) for bug in reports]
    text = f"the application raises: {' '.join(map(str, statuses))}, then closed, {_reports(len(reports))}"
    report.see("virtual time", text, statuses == [500] and len(reports) == 1)
    lines = _logged(bugs)
    tracebacks = sum("Traceback" in line.get("traceback", "") for line in lines)
    report.see(
        "log", f"{len(lines)} lines for 5 bugs, {tracebacks} with a traceback", len(lines) == tracebacks == 5
    )
    return report


def _reports(count: int) -> str:
    return "1 report" if count == 1 else f"{count} reports"


def _lanes(what: str, replay: Replay) -> list[Lane]:
    """The calls that met a bug."""
    ended = [event for event in replay.events if isinstance(event, CallEnded)]
    return [
        Lane(what, 0, event.record.elapsed_s * 1000, "bug", f"call {event.record.call}")
        for event in ended
        if isinstance(event.record.outcome, Crash)
    ]


async def _app_that_raises() -> tuple[list[int], list[BaseException]]:
    """The statuses of all answers until the connection was closed, and the driver's reports."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.lowlevel.checkpoint()
        raise Bug("in the application")

    reports: list[BaseException] = []
    driver = Driver(Limits(), on_crash=reports.append, render=render)
    network = Network()
    client, server = network.pair(latency_s=0, window_bytes=(WINDOW_BYTES, WINDOW_BYTES), segment_bytes=0)
    transport = ClientTransport(server, 1, lambda data: None, lambda data, waits: None)
    reader = AnswerReader()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.run)
        nursery.start_soon(driver.run)
        nursery.start_soon(Connections(app, driver, {}).hold, transport)
        client.write(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n")
        while True:
            await client.readable()
            data = client.read(WINDOW_BYTES)
            if not data:
                break
            reader.feed(data, trio.current_time())
        client.close()
        nursery.cancel_scope.cancel()
    return [answer.status for answer in reader.answers], reports


def _logged(bugs: Sequence[BugFound]) -> list[dict[str, str]]:
    """The lines that the server's log writes for them."""
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    observer = LogObserver()
    for bug in bugs:
        observer.notify(bug)
    logs = configured_logs()
    assert logs is not None
    logs.writer.close()
    logger.remove()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


EXPERIMENT = Experiment(
    id="G11",
    title="bugs are loud",
    claim="a bug is one 500 and one report, whatever is cancelled",
    code="fanout/race/race.py Race._end_with_group",
    test="tests/race/test_race.py::test_a_group_of_a_bug_and_a_cancellation_keeps_both",
    breakages=("bug_lost_in_group", "crash_not_reported"),
    run=run,
    article=__doc__ or "",
    is_virtual=True,
)
