"""`/live` as a server: its policy, its stream, its viewers, the trace file, the drain."""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import resources
from typing import NoReturn
from urllib.parse import urlsplit

import pytest
import trio
from trio.testing import MockClock

from fanout.admin.live.app import EVENTS_PER_PART, TRACE_WITHIN_S
from fanout.admin.live.feed import MAX_VIEWERS
from fanout.admin.live.trace import TraceEvent, trace_events
from fanout.observe.receipt import Receipt
from fanout.process.service import ADMIN_CONNECTIONS
from fanout.server.limits import Limits
from tests.admin.live_app import FREE, admin, control, make_live, post, wait_until
from tests.admin.live_receipts import receipt
from tests.forked import running
from tests.server.serving import Client, get, in_memory

STATIC = resources.files("fanout.admin.live") / "static"
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
        client = world.connect()
        assert (await client.ask(get("/livez")))[2] == b"admin"
        assert (await client.ask(get("/live/../service.py")))[0] == 404
        assert (await client.ask(get("/live/page.html")))[0] == 404
        assert (await client.ask(post("/live", b"", "Host: a")))[0] == 405


# --- the stream and the trace file

END_OF_TRACE = b"]}\n\r\n0\r\n\r\n"


async def read_until(client: Client, text: bytes) -> bytes:
    seen = b""
    while text not in seen:
        data = bytes(await client.stream.receive_some(65536))
        assert data, f"the stream ended after {seen!r}"
        seen += data
    return seen


async def test_a_stream_greets_tells_and_forgets_who_leaves(autojump_clock: MockClock) -> None:
    live = make_live(latest=[receipt(request_id="past")])
    async with in_memory(live.around(admin)) as world:
        world.nursery.start_soon(live.feed.run)
        client = world.connect()
        await client.send(get("/live/events"))
        head = await read_until(client, b'"past"')
        live.feed.consume(receipt(request_id="now"))
        await read_until(client, b'"now"')
        await trio.sleep(2 * Limits().idle_timeout_s)  # a stream is not an idle connection
        live.feed.consume(receipt(request_id="later"))
        await read_until(client, b'"later"')
        assert live.feed.viewers == 1
        await client.stream.aclose()
        await world.all_ended()
        assert live.feed.viewers == 0
    assert b"content-type: text/event-stream" in head
    assert world.ended == {"client_disconnected": 1}


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
        clients = [world.connect() for _ in range(MAX_VIEWERS)]
        for client in clients:
            await client.send(get("/live/events"))
        for client in clients:
            await read_until(client, b"greeting")
        status, headers, _ = await world.connect().ask(get("/live/events"))
        live.feed.consume(receipt(request_id="seen-by-all"))
        for client in clients:
            await read_until(client, b"seen-by-all")
    assert (status, headers["retry-after"]) == (503, "5")
    assert ADMIN_CONNECTIONS > MAX_VIEWERS + 10, "probes and scrapers need connections, too"


async def test_the_trace_file_is_json_of_all_receipts_or_of_one(autojump_clock: MockClock) -> None:
    latest = [receipt(request_id=f"r-{number}") for number in range(300)]

    async def traced(path: str) -> list[str]:
        async with in_memory(make_live(latest=latest).around(admin)) as world:
            client = world.connect()
            await client.send(get(path, version="1.0"))
            head, _, body = (await client.rest()).partition(b"\r\n\r\n")
            assert b'attachment; filename="fanout-trace.json"' in head
        events = json.loads(body)["traceEvents"]
        return [event["args"]["request_id"] for event in events if event.get("cat") == "request"]

    assert await traced("/live/trace.json") == [f"r-{number}" for number in range(300)]
    assert await traced("/live/trace.json?request=r-7") == ["r-7"]
    assert await traced("/live/trace.json?request=nobody") == []


async def test_one_trace_file_at_a_time(autojump_clock: MockClock) -> None:
    """G10: four at once cost clients of the API their answers. The next one gets it when the first ends."""
    live = make_live(latest=[receipt(request_id=f"r-{number}") for number in range(300)])
    async with in_memory(live.around(admin)) as world:
        first = world.connect(lockstep=True)
        await first.send(get("/live/trace.json"))
        for _ in range(3):
            status, headers, body = await world.connect().ask(get("/live/trace.json"))
            assert (status, headers["retry-after"]) == (503, "5")
            assert "one may at a time" in json.loads(body)["error"]
        await read_until(first, END_OF_TRACE)
        last = world.connect()
        await last.send(get("/live/trace.json?request=r-1"))
        await read_until(last, END_OF_TRACE)
        await first.stream.aclose()


async def test_a_client_that_leaves_within_a_trace_file_makes_way(autojump_clock: MockClock) -> None:
    live = make_live(latest=[receipt(request_id=f"r-{number}") for number in range(300)])
    async with in_memory(live.around(admin)) as world:
        first = world.connect(lockstep=True)
        await first.send(get("/live/trace.json"))
        await trio.sleep(0.1)
        await first.stream.aclose()
        await trio.sleep(Limits().write_timeout_s)
        second = world.connect()
        await second.send(get("/live/trace.json"))
        await read_until(second, END_OF_TRACE)


async def test_a_slow_reader_of_a_trace_file_is_cut_in_time(autojump_clock: MockClock) -> None:
    """G10: one that takes every part a little before the limit of one write. It is no bug of ours (G11)."""
    live = make_live(latest=[receipt(request_id=f"r-{number}") for number in range(4000)])
    async with in_memory(live.around(admin)) as world:
        slow = world.connect(lockstep=True)

        async def read_slowly() -> None:
            while await slow.stream.receive_some(100_000):
                await trio.sleep(Limits().write_timeout_s - 1)

        await slow.send(get("/live/trace.json"))
        world.nursery.start_soon(read_slowly)
        await trio.sleep(TRACE_WITHIN_S - 1)
        assert world.ended == {}
        await trio.sleep(2)
        assert world.ended == {"slow_reader": 1}
        assert world.crashes == []
        next_one = world.connect()
        await next_one.send(get("/live/trace.json?request=r-1"))
        await read_until(next_one, END_OF_TRACE)


async def test_each_part_of_a_trace_file_waits_for_its_turn(autojump_clock: MockClock) -> None:
    """G10: and makes only so many events in it."""
    made: list[int] = []

    async def turn() -> None:
        made.append(0)
        await trio.lowlevel.checkpoint()

    def counting(receipts: Sequence[Receipt]) -> Iterator[TraceEvent]:
        for event in trace_events(receipts):
            made[-1] += 1
            yield event

    live = make_live(latest=[receipt(request_id=f"r-{number}") for number in range(300)], turn=turn)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("fanout.admin.live.app.trace_events", counting)
        async with in_memory(live.around(admin)) as world:
            client = world.connect()
            await client.send(get("/live/trace.json"))
            await read_until(client, END_OF_TRACE)
    assert sum(made) > 1000
    assert max(made) <= EVENTS_PER_PART


@pytest.mark.parametrize("path", ["/live/trace.json", "/live/events"])
async def test_head_of_a_long_answer_makes_nothing_of_it(path: str, autojump_clock: MockClock) -> None:
    """G10: the whole file was made in one iteration of the event loop, for nobody: 320 ms."""
    live = make_live(latest=[receipt()])

    def never(*_: object) -> NoReturn:
        raise AssertionError("the body was made")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("fanout.admin.live.app.trace_events", never)
        patched.setattr(live.feed, "join", never)
        async with in_memory(live.around(admin)) as world:
            client = world.connect()
            for _ in range(2):
                await client.send(get(path).replace(b"GET", b"HEAD"))
                head = await read_until(client, b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 ")
            assert world.crashes == []


async def test_a_long_query_is_rejected(autojump_clock: MockClock) -> None:
    async with in_memory(make_live(latest=[receipt()]).around(admin)) as world:
        many = "&".join(["request=r"] * 500)
        status, _, body = await world.connect().ask(get(f"/live/trace.json?{many}"))
        assert (status, json.loads(body)) == (400, {"error": "the query has more than 16 parameters"})
        few = "&".join(["request=r"] * 16)
        client = world.connect()
        await client.send(get(f"/live/trace.json?{few}"))
        assert (await read_until(client, END_OF_TRACE)).startswith(b"HTTP/1.1 200 ")


# --- the drain


def test_viewers_see_the_drain_and_do_not_delay_it() -> None:
    """G9: not even one that does not read. The stream ends when the last answer is sent."""
    slow = ["--reliable", "--min-delay-ms", "700", "--max-delay-ms", "700"]
    with running("demo", *FREE, *slow) as program:
        parts = urlsplit(program.urls["live"])
        with socket.create_connection((parts.hostname, parts.port), 10) as viewer:
            viewer.sendall(get("/live/events").replace(b"Host: a", b"Host: localhost"))
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
