"""The asyncio bridge in real servers: the one of `examples/`, and one whose SDK ignores its cancellation."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fanout.testing import Program
from tests.blackbox.conftest import World, request
from tests.blackbox.test_receipts import line_of
from tests.lacking import needs_bridge

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/asyncio_upstream.py"
CARELESS = Path(__file__).with_name("careless_sdk.py")
SEEN_WITHIN_S = 5
TO_FREE_PORTS = {"FANOUT_BIND": "127.0.0.1:0", "FANOUT_ADMIN_BIND": "127.0.0.1:0"}


@contextmanager
def running(script: Path, environment: Mapping[str, str]) -> Iterator[Program]:
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **TO_FREE_PORTS, **environment},
    )
    program = Program(process)
    try:
        program.wait_until_ready()
        yield program
    finally:
        if process.poll() is None:
            program.kill()


@pytest.fixture(scope="module")
def example(world: World) -> Iterator[World]:
    """As `world`, with the example as the server."""
    url = world.simulator.urls["upstream"] + "/api/work?slot="
    with running(EXAMPLE, {"FANOUT_UPSTREAMS": f"{url}a,{url}b"}) as program:
        yield World(program, world.simulator)


@pytest.fixture(scope="module")
def careless() -> Iterator[Program]:
    with running(
        CARELESS, {"FANOUT_UPSTREAMS": "http://127.0.0.1:9/answers,http://127.0.0.1:9/ignores"}
    ) as it:
        yield it


def until(condition: Callable[[], bool]) -> None:
    gives_up_at = time.monotonic() + SEEN_WITHIN_S
    while not condition():
        assert time.monotonic() < gives_up_at
        time.sleep(0.01)


def check_that_nothing_is_left(server: World) -> None:
    until(
        lambda: server.statistics()["requests"]["tasks_left_alive"] == 0
    )  # a busy machine may need the grace
    found = server.statistics()
    assert found["leak_check"]["leaked_tasks"] == 0
    assert found["leak_check"]["tasks_spawned"] > 0
    assert found["requests"]["guarantees_broken"]["bugs"] == 0
    assert found["admission"]["in_flight"] == 0


@needs_bridge
def test_the_example_answers_with_the_winner_and_the_loser_is_gone(example: World) -> None:
    """G4: the upstream sees the loser's socket close."""
    example.set_slots({"delay_ms": 20}, {"delay_ms": 900})
    since = example.calls()[-1]["id"] if example.calls() else 0
    reply = example.get("/api/first?timeout=2000")
    assert (reply.status, reply.json["time"], reply.outcomes) == (200, 20, ["won", "cancelled"])
    until(lambda: "client_closed" in [call["end"] for call in example.calls(since=since)])
    assert len(example.get("/api/all?timeout=2000").json) == 2
    check_that_nothing_is_left(example)


@needs_bridge
def test_the_example_answers_at_the_deadline(example: World) -> None:
    """G2: the reserve is longer than the grace, and well-behaved code does not need it."""
    example.set_slots({"fault": "hang_mid_body"}, {"fault": "hang_before_head"})
    reply = example.get("/api/first?timeout=200")
    assert (reply.status, reply.reason) == (500, "deadline")
    assert [call["outcome"] for call in reply.json["calls"]] == ["cancelled", "cancelled"]
    assert reply.json["elapsed_ms"] < 200
    check_that_nothing_is_left(example)


@needs_bridge
def test_the_example_cancels_its_calls_when_the_client_disconnects(example: World) -> None:
    """G6: as with calls over HTTP, both upstream sockets close."""
    example.set_slots({"delay_ms": 5000}, {"delay_ms": 5000})
    left_before = example.statistics()["requests"]["clients_disconnected"]
    api = urlsplit(example.fanout.urls["api"])
    with socket.create_connection((api.hostname, api.port)) as client:
        client.sendall(b"GET /api/all?timeout=20000 HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: _waiting(example) == 2)
    until(lambda: _waiting(example) == 0)
    until(lambda: example.statistics()["requests"]["clients_disconnected"] == left_before + 1)
    check_that_nothing_is_left(example)


def _waiting(server: World) -> int:
    """How many calls the upstream has not answered, with a client that is still there."""
    return sum(call["end"] == "open" for call in server.calls())


@needs_bridge
def test_errors_of_the_examples_client_are_failures(example: World) -> None:
    example.set_slots(
        {"fault": "status", "status": 503, "delay_ms": 0}, {"fault": "fin_mid_body", "delay_ms": 0}
    )
    reply = example.get("/api/all?timeout=2000")
    assert (reply.status, reply.reason) == (500, "no_success")
    assert [(call["outcome"], call["error"]) for call in reply.json["calls"]] == [
        ("failed", "bad_status"),
        ("failed", "broken"),
    ]


@needs_bridge
def test_what_a_careless_sdk_leaves_is_in_every_view_and_no_answer_waits_for_it(careless: Program) -> None:
    """The trade. That an answer waits for exactly the grace is shown in virtual time."""
    server = World(careless, careless)
    reply = server.get("/api/first?timeout=400", X_Request_Id="left-1")
    assert (reply.status, reply.outcomes) == (200, ["won", "cancelled"])
    deadline = server.get("/api/all?timeout=200", X_Request_Id="left-2", X_Fanout_Receipt="1")
    assert (deadline.status, deadline.reason) == (500, "deadline")
    assert "left" not in deadline.json["receipt"]["calls"][1]  # places in the code are for operators
    assert deadline.json["elapsed_ms"] < 1000  # of the 1180 that it would take to wait for the SDK
    found = server.statistics()
    (place,) = found["requests"]["tasks_left"]
    assert re.fullmatch(r"ignores_its_cancellation \(blackbox/careless_sdk\.py:\d+\)", place)
    assert found["requests"]["tasks_left"][place] >= 2
    assert found["leak_check"]["leaked_tasks"] == 0
    assert line_of(server, "left-1")["calls"][1]["left"] == [place]
    until(lambda: server.statistics()["requests"]["tasks_left_alive"] == 0)
    scraped = request(careless.urls["admin"], "/metrics").body.decode()
    assert f'fanout_call_tasks_left_total{{call="1",place="{place}",server_address="127.0.0.1"}}' in scraped
    assert "fanout_call_tasks_left_alive 0.0" in scraped
    log = careless.errors.decode()
    assert f"call 1 has ended, and has left an asyncio task: {place}" in log
    assert "the asyncio task that call 1 left has ended" in log


@needs_bridge
def test_a_bug_long_after_the_answer_is_logged_with_its_traceback(careless: Program) -> None:
    """G11."""
    server = World(careless, careless)
    before = server.statistics()["requests"]["guarantees_broken"]["bugs"]
    assert (
        request(careless.urls["api"], "/api/first?timeout=400", headers={"X-Request-Id": "bug-1"}).status
        == 200
    )
    until(lambda: server.statistics()["requests"]["guarantees_broken"]["bugs"] == before + 1)
    until(lambda: b"found long after the answer" in careless.errors)
    (line,) = [line for line in careless.errors.decode().splitlines() if "found long after" in line]
    assert '"request_id":"bug-1"' in line
    assert "careless_sdk.py" in line


@needs_bridge
def test_a_careless_sdk_cannot_keep_the_process_from_ending(careless: Program) -> None:
    """G9. The last test of this server."""
    request(careless.urls["api"], "/api/first?timeout=400", headers={"X-Request-Id": "never-1"})
    began = time.monotonic()
    assert careless.stop() == 0
    assert time.monotonic() - began < 2
    assert "asyncio tasks that ignore their cancellation were given up" in careless.errors.decode()


def test_a_server_without_the_bridge_loads_nothing_of_it(world: World) -> None:
    """Importing trio-asyncio patches asyncio for the whole process. A real start, with all of its imports."""
    command = [sys.executable, "-X", "importtime", "-m", "fanout", "serve"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={
            **os.environ,
            **TO_FREE_PORTS,
            "FANOUT_UPSTREAMS": world.simulator.urls["upstream"] + "/api/work",
        },
    )
    program = Program(process)
    try:
        program.wait_until_ready()
        assert request(program.urls["api"], "/api/first?timeout=5000").status in (200, 500)
    finally:
        program.stop()
    imported = {
        line.rpartition("|")[2].strip() for line in program.errors.decode().splitlines() if "|" in line
    }
    assert {"trio", "fanout.process.service", "fanout.api.handlers"} <= imported
    assert imported.isdisjoint({"trio_asyncio", "aiohttp", "fanout.upstream.asyncio_call"})


WITHOUT_THE_EXTRA = "sys.modules['trio_asyncio'] = None"
ON_3_14 = "import aiohttp, fanout.process.run; sys.version_info = (3, 14, 0, 'final', 0)"


@pytest.mark.parametrize(
    ("lack", "line"),
    [
        pytest.param(
            WITHOUT_THE_EXTRA,
            r"the asyncio bridge needs an extra: pip install 'fanout-server\[asyncio\]' .*",
            marks=needs_bridge,
        ),
        (ON_3_14, r"the asyncio bridge needs Python 3\.11, 3\.12 or 3\.13: trio-asyncio cannot .* 3\.14.*"),
    ],
)
def test_what_the_bridge_lacks_is_one_line_with_the_fix(lack: str, line: str) -> None:
    program = f"import sys, runpy; {lack}; runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(line + r"\n", done.stderr)


@needs_bridge
def test_a_wrong_setting_of_the_example_is_one_line(world: World) -> None:
    environment = {**os.environ, "FANOUT_MAX_IN_FLIGHT": "many"}
    command = [sys.executable, str(EXAMPLE)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"asyncio_upstream: FANOUT_MAX_IN_FLIGHT='many': .*\n", done.stderr)
