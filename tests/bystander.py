"""A bystander: a steady client on a healthy path, a process of its own, next to whatever attacks the server.

A test that claims "this delays nobody" asserts it of this client. It sends on schedule, whether or not
earlier answers have come, so a stall of the server delays every request that is due within it.

    with bystander(url, timeout_ms=300, pids=[server.pid]) as seen:
        ...attack...
    seen.assert_unharmed()

Rule 1: the machine's own delay does not count against the server. The kernel says how long the bystander and
the processes in `pids` waited for a processor (`schedstat`). A control that only wakes up on time measures
what the kernel does not see, such as a virtual machine that stood still.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import pytest
import trio

from tests.bystander_process import NO_ANSWER, Machine, Plan, Request
from tests.lacking import reason

DEADLINE_MS: Final = 100.0  # if the machine takes more of an answer, it may make a deadline (a 500) of it
BUSY_SHARE: Final = 0.1  # a quiet machine: below 0.03
_ROOT: Final = Path(__file__).parent.parent


@dataclass(slots=True)
class Seen:
    """What the bystander saw, complete when its block has ended.

    began_at: by the monotonic clock. machines_share: of the time, what the processes waited.
    """

    plan: Plan
    pid: int
    began_at: float = 0.0
    machines_share: float = 0.0
    requests: list[Request] = field(default_factory=list)

    @property
    def answered(self) -> list[Request]:
        return [request for request in self.requests if request.status != NO_ANSWER]

    @property
    def rejected(self) -> int:
        return sum(request.status == 503 for request in self.requests)

    @property
    def late(self) -> list[Request]:
        """Requests whose answer was late, after the machine's own delay is subtracted."""
        return [each for each in self.requests if each.took_ms - each.machine_ms > self.plan.timeout_ms]

    @property
    def longest_ms(self) -> float:
        return max((request.took_ms for request in self.requests), default=0.0)

    def statuses(self) -> dict[int, int]:
        found = [request.status for request in self.requests]
        return {status: found.count(status) for status in sorted(set(found))}

    def figures(self) -> dict[str, object]:
        """For a report: numbers only."""
        worst = max(self.requests, key=lambda each: each.took_ms, default=Request(0, 0, 0, 0))
        return {
            "sent": len(self.requests),
            "on_time": len(self.requests) - len(self.late),
            "late": len(self.late),
            "rejected": self.rejected,
            "no_answer": len(self.requests) - len(self.answered),
            "longest_ms": round(worst.took_ms, 1),
            "of_that_machine_ms": round(worst.machine_ms, 1),
            "machines_share": round(self.machines_share, 3),
        }

    def assert_unharmed(self, *, statuses: Sequence[int] = (200,), at_least: int = 1) -> None:
        """Every answer has one of `statuses` and is on time. at_least: of so many requests."""
        assert len(self.requests) >= at_least, f"the bystander sent only {len(self.requests)} requests"
        harmed = [
            each for each in self.requests if each.status not in statuses and not self._is_machines(each)
        ]
        if harmed or self.late:
            raise AssertionError(self._complaint(harmed))

    def _is_machines(self, request: Request) -> bool:
        """Whether its status is the machine's doing: a deadline, or a rejection for want of a processor."""
        return is_machines(request) or (request.status == 503 and self.machines_share > BUSY_SHARE)

    def _complaint(self, harmed: list[Request]) -> str:
        lines = [f"the bystander was harmed: {self.figures()}, statuses {self.statuses()}"]
        for request in [*self.late, *harmed][:5]:
            lines.append(
                f"  at {request.due_s:.2f} s: status {request.status} after {request.took_ms:.0f} ms "
                f"with timeout={self.plan.timeout_ms}; {request.machine_ms:.0f} ms of it is the machine's "
                "own delay, the rest is the server's"
            )
        return "\n".join(lines)


def is_machines(request: Request) -> bool:
    """Whether its answer is a 500 for the machine's delay: in time, and with the deadline for its reason."""
    return request.status == 500 and request.machine_ms > DEADLINE_MS


@contextmanager
def bystander(
    url: str,
    *,
    timeout_ms: int = 300,
    every_s: float = 0.05,
    target: str = "/api/first",
    fresh: bool = False,
    pids: Sequence[int] = (),
    http2: bool = False,
    prefix: Sequence[str] = (),
) -> Iterator[Seen]:
    """Ask for `target` every `every_s` while the block runs; a first answer came before it begins.

    pids: the server's and the upstream's, whose wait for a processor is not their fault. http2: over
    TLS. prefix: a command that runs it, such as `ip netns exec NAME`. For a server in this very thread use
    `bystander_of_this_thread`.
    """
    plan = Plan(url, timeout_ms, every_s, target, fresh, http2, [*pids])
    process = _start(plan, prefix)
    seen = Seen(plan, process.pid)
    try:
        _wait_until_ready(process)
        yield seen
        _finish(process, seen)
    finally:
        _end(process)


@asynccontextmanager
async def bystander_of_this_thread(
    url: str, *, timeout_ms: int = 300, every_s: float = 0.05, target: str = "/", pids: Sequence[int] = ()
) -> AsyncIterator[Seen]:
    """The same for a server that runs in this thread: it can answer while the bystander starts and ends.
    What this thread waits for a processor is the machine's delay, too.

    As the server does, it keeps the garbage collector from looking at what the tests before have left: that
    stops the event loop for a third of a second.
    """
    plan = Plan(
        url, timeout_ms, every_s, target, fresh=False, http2=False, pids=[threading.get_native_id(), *pids]
    )
    process = _start(plan, ())
    seen = Seen(plan, process.pid)
    gc.collect()
    gc.freeze()
    try:
        await trio.to_thread.run_sync(_wait_until_ready, process, abandon_on_cancel=True)
        yield seen
        await trio.to_thread.run_sync(_finish, process, seen, abandon_on_cancel=True)
    finally:
        gc.unfreeze()
        _end(process)


@contextmanager
def machine_of(pids: Sequence[int]) -> Iterator[Machine]:
    """Record, while the block runs, how long the machine kept this process and `pids` from running.

    Ask it for `delay_ms` after the block, by the monotonic clock. Trio's is another one.
    """
    machine = Machine([os.getpid(), *pids, *(child for pid in pids for child in _children_of(pid))])
    thread = threading.Thread(target=machine.control)
    thread.start()
    try:
        yield machine
    finally:
        machine.is_over.set()
        thread.join()


def assert_in_time(late_s: float, *, machines_share: float, took_s: float) -> None:
    """That nothing is late, without the machine's own delay. To be asserted last: a busy machine skips it.

    machines_share: of the `took_s` in all, what the processes waited. It explains no more than that.
    """
    if machines_share > BUSY_SHARE and 0 < late_s <= machines_share * took_s:
        pytest.skip(reason("a quiet machine", "make test, while nothing else runs"))
    assert late_s <= 0, f"{late_s:.3f} s late, and the machine was quiet ({machines_share:.0%})"


def _children_of(pid: int) -> list[int]:
    """Of the main thread of a process: the workers of a server."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _start(plan: Plan, prefix: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "tests.bystander_process", json.dumps(asdict(plan))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,  # Ctrl-C is for the test, which ends it
        cwd=_ROOT,
    )


def _wait_until_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == "ready\n", f"the bystander has no answer to begin with: {line!r}"


def _finish(process: subprocess.Popen[str], seen: Seen) -> None:
    output, _ = process.communicate()  # the end of its input ends it
    seen.began_at, seen.machines_share, requests = json.loads(output)
    seen.requests.extend(Request(*each) for each in requests)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
