"""Garbage collection is Python's own: what stays is left out, and no pause delays anybody."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import pytest
import trio

from fanout.process.run import GC_THRESHOLD, freeze_what_stays
from fanout.testing.program import Program

IDLE_CLIENTS = 215
DISCONNECTS_PER_S = 200
SECONDS = float(os.environ.get("FANOUT_TEST_SECONDS", "2"))  # the long form: 60
# In processor time, which busy neighbours change less.
MAX_PAUSE_MS = 50

# `fanout`, which says at its end how long each collection took that came when it was ready.
NOTING_COLLECTIONS = """
import atexit, gc, json, sys, time
pauses_ms, began_at = [], 0.0
def note(phase, info):
    global began_at
    if phase == "start":
        began_at = time.thread_time()
    elif gc.get_freeze_count():
        pauses_ms.append((time.thread_time() - began_at) * 1000)
def say():
    found = {"pauses_ms": pauses_ms, "frozen": gc.get_freeze_count(), "threshold": gc.get_threshold()[0]}
    print("collections", json.dumps(found), file=sys.stderr)
gc.callbacks.append(note)
atexit.register(say)
from fanout.__main__ import main
main()
"""


@contextmanager
def as_frozen() -> Iterator[list[int]]:
    """Of each collection: how many objects it has freed. What is set for the process is undone afterwards."""
    threshold = gc.get_threshold()
    freed: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "stop":
            freed.append(info["collected"])

    gc.collect()
    freeze_what_stays()
    gc.callbacks.append(note)
    try:
        yield freed
    finally:
        gc.callbacks.remove(note)
        gc.set_threshold(*threshold)
        gc.unfreeze()


def test_what_is_alive_at_the_start_is_left_out_and_a_leak_of_cycles_is_collected() -> None:
    """G10. By Python, in a loop without a pause as well: memory has a bound, whatever leaks."""
    with as_frozen() as freed:
        assert gc.get_freeze_count() > 1000
        assert gc.isenabled()
        for _ in range(GC_THRESHOLD + 1000):
            _make_cycle()
    assert len(freed) == 1
    assert GC_THRESHOLD // 2 < freed[0] <= GC_THRESHOLD + 1000


def test_what_comes_and_goes_is_no_reason_to_collect() -> None:
    """G10. Of a request, nothing is left for the collector."""
    with as_frozen() as freed:
        for _ in range(100):
            kept = [[number] for number in range(GC_THRESHOLD // 10)]
            kept.clear()
    assert freed == []


@pytest.mark.timeout(60 + 2 * SECONDS)
async def test_a_stream_of_disconnects_beside_idle_clients_brings_no_long_collection() -> None:
    """G10. 200 clients a second disconnect while their request runs, for seconds, beside 215 idle clients."""
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            listener = (await nursery.start(partial(trio.serve_tcp, _silent, 0, host="127.0.0.1")))[0]
            upstream = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/api/work"
            program = _started("--upstream", upstream, "--log-requests", "none")
            stack.callback(program.kill)
            await trio.to_thread.run_sync(program.wait_until_ready)
            port = int(program.urls["api"].rpartition(":")[2])
            idle = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(IDLE_CLIENTS)]
            began_at = trio.current_time()
            async with trio.open_nursery() as clients:
                for number in range(round(SECONDS * DISCONNECTS_PER_S)):
                    await trio.sleep_until(began_at + number / DISCONNECTS_PER_S)
                    clients.start_soon(_disconnects, port)
            for stream in idle:
                await stream.aclose()
            assert await trio.to_thread.run_sync(program.stop) == 0
            nursery.cancel_scope.cancel()
    (line,) = [line for line in program.errors.decode().splitlines() if line.startswith("collections ")]
    found = json.loads(line.removeprefix("collections "))
    assert found["threshold"] == GC_THRESHOLD
    assert found["frozen"] > 10_000
    assert max(found["pauses_ms"], default=0) < MAX_PAUSE_MS, found


def _make_cycle() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)


def _started(*arguments: str) -> Program:
    command = [sys.executable, "-c", NOTING_COLLECTIONS, "serve", "--bind", "127.0.0.1:0"]
    command += ["--admin-bind", "127.0.0.1:0", *arguments]
    return Program(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))


async def _silent(stream: trio.SocketStream) -> None:
    """An upstream that never answers."""
    with suppress(trio.BrokenResourceError):
        while await stream.receive_some():
            pass


async def _disconnects(port: int) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"GET /api/first?timeout=10000 HTTP/1.1\r\nHost: a\r\n\r\n")
        await trio.sleep(0.05)
