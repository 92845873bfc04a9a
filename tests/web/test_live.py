"""`/live` as a server: its policy, its stream, its viewers, the trace file, the drain."""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from contextlib import suppress
from importlib import resources
from urllib.parse import urlsplit

import pytest
import trio
from trio.testing import MockClock

from fanout.observe.live_feed import MAX_VIEWERS
from fanout.testing import running
from fanout.web.driver.limits import Limits
from fanout.web.service import ADMIN_CONNECTIONS
from tests.observe.live_receipts import receipt
from tests.web.driver.serving import Caller, get, in_memory
from tests.web.live_app import FREE, admin, control, make_live, post, wait_until

STATIC = resources.files("fanout.web") / "static" / "live"
SCRIPTS = [file.name for file in STATIC.iterdir() if file.name.endswith(".js")]

# --- files


@pytest.mark.parametrize("name", ["", *sorted(f"/{file}" for file in (*SCRIPTS, "live.css", "uplot.css"))])
async def test_each_file_has_its_type_and_a_strict_policy(name: str, autojump_clock: MockClock) -> None:
    async with in_memory(make_live().around(admin)) as world:
        status, headers, body = await world.connect().ask(get(f"/live{name}"))
    types = {"": "text/html", "js": "text/javascript", "css": "text/css"}
    assert status == 200
    assert headers["content-type"] == f"{types[name.rpartition('.')[2]]}; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert {policy[part] for part in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert policy["frame-ancestors"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert len(body) > 50


def test_the_page_has_no_inline_code_and_asks_no_other_origin() -> None:
    page = (STATIC / "page.html").read_text("utf-8")
    assert re.findall(r"\son\w+=|\sstyle=|<style|//", page) == []
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page))
    for name in SCRIPTS:
        if name != "uplot.js":
            script = (STATIC / name).read_text("utf-8")
            assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script) == []
            assert script.startswith("//"), f"{name} does not say what it is for"


def test_what_is_vendored_says_its_version_and_has_its_licence() -> None:
    version = re.search(r"uPlot (\d+\.\d+\.\d+)", (STATIC / "uplot.README.md").read_text("utf-8"))
    assert version is not None
    assert f"v{version[1]}" in (STATIC / "uplot.js").read_text("utf-8")[:300]
    assert "MIT" in (STATIC / "uplot.LICENSE").read_text("utf-8")


async def test_what_is_not_below_live_is_the_admin_apps(autojump_clock: MockClock) -> None:
    async with in_memory(make_live().around(admin)) as world:
        caller = world.connect()
        assert (await caller.ask(get("/livez")))[2] == b"admin"
        assert (await caller.ask(get("/live/../service.py")))[0] == 404
        assert (await caller.ask(get("/live/page.html")))[0] == 404
        assert (await caller.ask(post("/live", b"", "Host: a")))[0] == 405


# --- the stream


async def read_until(caller: Caller, text: bytes) -> bytes:
    seen = b""
    while text not in seen:
        data = bytes(await caller.stream.receive_some(65536))
        assert data, f"the stream ended after {seen!r}"
        seen += data
    return seen


async def test_a_stream_greets_tells_and_forgets_who_leaves(autojump_clock: MockClock) -> None:
    live = make_live(latest=[receipt(request_id="past")])
    async with in_memory(live.around(admin)) as world:
        world.nursery.start_soon(live.feed.run)
        caller = world.connect()
        await caller.send(get("/live/events"))
        head = await read_until(caller, b'"past"')
        live.feed.consume(receipt(request_id="now"))
        await read_until(caller, b'"now"')
        await trio.sleep(3600)  # a stream is not an idle connection, however long it lasts
        live.feed.consume(receipt(request_id="later"))
        await read_until(caller, b'"later"')
        assert live.feed.viewers == 1
        await caller.stream.aclose()
        await world.all_ended()
        assert live.feed.viewers == 0
    assert b"content-type: text/event-stream" in head
    assert world.ended == {"caller_left": 1}


async def test_a_stalled_viewer_is_cut_within_the_time_of_a_write(autojump_clock: MockClock) -> None:
    """Bounded in time by the driver, in memory by the queue; another viewer misses nothing."""
    live = make_live()
    async with in_memory(live.around(admin), Limits(write_timeout_s=10)) as world:
        world.nursery.start_soon(live.feed.run)
        stalled, reading = world.connect(lockstep=True), world.connect()
        await stalled.send(get("/live/events"))
        await reading.send(get("/live/events"))
        await read_until(reading, b"greeting")
        began = trio.current_time()
        for number in range(100):
            live.feed.consume(receipt(request_id=f"r-{number}."))
            await read_until(reading, f'"r-{number}."'.encode())
        assert trio.current_time() - began > 10
        assert world.ended == {"slow_reader": 1}
        assert live.feed.viewers == 1


async def test_a_hundred_watch_and_one_more_is_told_to_come_back(autojump_clock: MockClock) -> None:
    live = make_live()
    async with in_memory(live.around(admin)) as world:
        world.nursery.start_soon(live.feed.run)
        callers = [world.connect() for _ in range(MAX_VIEWERS)]
        for caller in callers:
            await caller.send(get("/live/events"))
        for caller in callers:
            await read_until(caller, b"greeting")
        status, headers, _ = await world.connect().ask(get("/live/events"))
        live.feed.consume(receipt(request_id="seen-by-all"))
        for caller in callers:
            await read_until(caller, b"seen-by-all")
    assert (status, headers["retry-after"]) == (503, "5")
    assert ADMIN_CONNECTIONS > MAX_VIEWERS + 10, "probes and scrapers need connections, too"


async def test_the_trace_file_is_json_of_all_receipts_or_of_one(autojump_clock: MockClock) -> None:
    latest = [receipt(request_id=f"r-{number}") for number in range(300)]

    async def traced(path: str) -> list[str]:
        async with in_memory(make_live(latest=latest).around(admin)) as world:
            caller = world.connect()
            await caller.send(get(path, version="1.0"))
            head, _, body = (await caller.rest()).partition(b"\r\n\r\n")
            assert b'attachment; filename="fanout-trace.json"' in head
        events = json.loads(body)["traceEvents"]
        return [event["args"]["request_id"] for event in events if event.get("cat") == "request"]

    assert await traced("/live/trace.json") == [f"r-{number}" for number in range(300)]
    assert await traced("/live/trace.json?request=r-7") == ["r-7"]
    assert await traced("/live/trace.json?request=nobody") == []


# --- the drain


def test_viewers_see_the_drain_and_do_not_delay_it() -> None:
    """G9: not even one that does not read. The stream ends when the last answer is sent."""
    slow = ["--reliable", "--min-delay-ms", "700", "--max-delay-ms", "700"]
    with running("demo", *FREE, *slow) as program:
        parts = urlsplit(program.urls["live"])
        with socket.create_connection((parts.hostname, parts.port), 10) as viewer:
            viewer.sendall(get("/live/events"))
            seen = viewer.recv(65536)
            control(program.urls["live"], "fire", {"count": 5})
            wait_until(program.urls["live"], "admission.in_flight", 5)
            began = time.monotonic()
            code = program.stop(signal.SIGTERM)
            took_s = time.monotonic() - began
            with suppress(ConnectionResetError):
                while data := viewer.recv(65536):
                    seen += data
    assert code == 0
    assert took_s < 0.7 + 1
    assert b'"draining":true' in seen
    assert seen.count(b'"reason":"success"') >= 5
