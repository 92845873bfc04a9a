"""What clients reach is composed once, for the service and for the simulation; so a mistake in it is seen."""

from __future__ import annotations

import inspect
import re
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest
import trio
import trio.testing

import fanout
from fanout.api.exchange import not_traced
from fanout.config import load
from fanout.observe.loop import LoopWatch
from fanout.process.composition import PublicServer, make_transport
from fanout.race.admission import Admission
from fanout.race.events import EVENTS, BugFound, Event
from fanout.race.outcome import Success
from fanout.race.race import Call
from fanout.race.timings import CallTimings, Trace
from fanout.server.asgi import App, Receive, Scope, Send
from fanout.server.serve import Connections, begin_drain
from fanout.testing.world.adapters import ClientTransport
from fanout.testing.world.network import End, Network
from fanout.upstream.call import MAX_PAYLOAD_BYTES

NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
MAX_CONNECTIONS: Final = 123
GUARANTEES: Final = Path(fanout.__file__).parents[1] / "docs/guarantees.md"
REQUEST: Final = b"GET /api/first HTTP/1.1\r\nhost: a\r\n\r\n"


class Events:
    interests = EVENTS

    def __init__(self) -> None:
        self.all: list[Event] = []

    def notify(self, event: Event) -> None:
        self.all.append(event)


async def succeeds(timings: CallTimings) -> Success:
    await trio.lowlevel.checkpoint()
    return Success(b'{"time": 1}')


def public_server(
    events: Events,
    *,
    begin_trace: Callable[[Scope, Mapping[bytes, bytes]], Trace | None] = not_traced,
    **flags: str,
) -> PublicServer:
    """The server of a service with these settings."""
    settings = load({}, flags).settings
    calls: list[Call] = [succeeds, succeeds]
    return PublicServer(
        settings,
        calls,
        Admission(settings.max_in_flight),
        events,
        watch=LoopWatch(),
        leak_check=None,
        max_connections=MAX_CONNECTIONS,
        id_prefix="test",
        begin_trace=begin_trace,
    )


def connect(
    server: PublicServer,
    nursery: trio.Nursery,
    app: App | None = None,
) -> End:
    """A client's end of a new connection."""
    client, end = Network().pair(latency_s=0, window_bytes=(65536, 65536), segment_bytes=0)
    transport = ClientTransport(end, 1, lambda data: None, lambda data, waits: None)
    nursery.start_soon(Connections(app or server.app, server.driver, {}).hold, transport)
    return client


async def test_the_grace_of_a_drain_is_the_longest_timeout_and_a_second(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """G9: what has not ended by then, through whatever bug, is ended."""

    async def hangs(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep_forever()

    server = public_server(Events(), max_timeout_ms="7000")
    async with trio.open_nursery() as connections:
        connect(server, connections, hangs).write(REQUEST)
        await trio.testing.wait_all_tasks_blocked()
        drained_at = trio.current_time()
        begin_drain(server.driver, connections, server.grace_s)
    assert trio.current_time() - drained_at == pytest.approx(8)


async def test_a_crash_of_a_connection_is_a_reported_bug(autojump_clock: trio.testing.MockClock) -> None:
    """G11, also where no request and no race is there to report it."""
    bug = ValueError("for the test")

    async def crashes(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.lowlevel.checkpoint()
        raise bug

    events = Events()
    server = public_server(events)
    async with trio.open_nursery() as nursery:
        connect(server, nursery, crashes).write(REQUEST)
    assert [event.exception for event in events.all if isinstance(event, BugFound)] == [bug]


async def test_a_lame_duck_comes_before_the_drain_and_takes_as_long_as_its_setting(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """G9: until then it serves, and each answer closes its connection."""
    server = public_server(Events(), lame_duck_ms="300")
    steps: list[tuple[float, str, bool, bool]] = []

    async def say(step: str) -> None:
        await trio.sleep(0.1)  # as long as the live page may take to receive it
        timeouts = server.driver.timeouts
        steps.append((trio.current_time(), step, timeouts.closes_after_answer, server.app.draining))

    began_at = trio.current_time()
    drained: list[float] = []
    await server.shut_down(lambda: drained.append(trio.current_time()), say)
    assert server.is_shutting_down
    assert drained == [pytest.approx(began_at + 0.3)]
    assert [(step.partition(":")[0], closes, draining) for _, step, closes, draining in steps] == [
        ("not ready any more", True, False),
        ("draining", True, True),
    ]


async def test_a_trace_begins_with_a_request(autojump_clock: trio.testing.MockClock) -> None:
    begun: list[str] = []

    def begin(scope: Scope, fields: Mapping[bytes, bytes]) -> None:
        begun.append(scope["path"])

    server = public_server(Events(), begin_trace=begin)
    async with trio.open_nursery() as nursery:
        connect(server, nursery).write(REQUEST.replace(b"host", b"connection: close\r\nhost"))
    assert begun == ["/api/first"]


def test_as_many_clients_may_be_connected_as_descriptors_allow() -> None:
    assert public_server(Events()).driver.limits.max_connections == MAX_CONNECTIONS


def test_the_pool_and_the_body_have_the_limits_of_the_settings() -> None:
    transport = make_transport(load({}, {"max_in_flight": "7"}).settings, NO_TLS)
    assert (transport._max_connections, transport._max_body_bytes) == (14, MAX_PAYLOAD_BYTES)


async def test_the_names_of_the_upstreams_are_looked_up_before_the_first_call() -> None:
    transport = make_transport(load({}, {"upstreams": "http://upstream.test/api/work"}).settings, NO_TLS)
    assert [name.name for name in transport.statistics().names] == ["upstream.test"]


def test_the_document_lists_what_differs_in_the_simulation() -> None:
    """By the parameters of the functions that both use: there is no other way to differ."""
    section = GUARANTEES.read_text("utf-8").partition("### What differs in the simulation")[2]
    rows = re.findall(r"^\| (`.*?) \|", section.partition("###")[0], re.MULTILINE)
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    parameters = [*inspect.signature(make_transport).parameters, *inspect.signature(PublicServer).parameters]
    assert listed == [name for name in parameters if name != "settings"]


def test_nobody_else_composes_the_server() -> None:
    """A second composition would drift apart. `Scenario` has a race and its answer, no connections."""
    package = Path(fanout.__file__).parent
    composers = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if re.search(r"(?<!class )\b(Exchanges|LoadShedder|Races)\(", path.read_text("utf-8"))
    }
    assert composers == {"process/composition.py", "testing/scenario.py"}
