"""The time that is left is made into the request as it is sent, and with too little left none is sent."""

from __future__ import annotations

import httpx
import pytest
import trio
import trio.testing

from fanout.race.outcome import TOO_LATE, Cancelled, Failure, Success
from fanout.race.timings import CallTimings, Deadlines
from fanout.upstream.call import UpstreamCall
from fanout.upstream.phases import Phase
from fanout.upstream.wire import Address, Wire
from tests.upstream.raw_server import answer
from tests.upstream.scripted_wire import URL, Later, ScriptedWire, World

ANSWER = b'{"time": 7}'
OK = answer(ANSWER)
HEADER = b"X-Left"


class SlowWorld(World):
    """Connecting takes a while."""

    connect_s = 0.0

    async def _dial(self, address: Address) -> Wire:
        await trio.sleep(self.connect_s)
        return await super()._dial(address)


def timings_of(left_ms: float, min_call_ms: int = 1) -> CallTimings:
    ends_at = trio.current_time() + left_ms / 1000
    return CallTimings("r", 0, (), trio.current_time, ends_at, Deadlines(HEADER, min_call_ms))


async def outcome_of(world: World, timings: CallTimings) -> Success | Failure | Cancelled:
    return await UpstreamCall(world.transport, URL)(timings)


def said(wire: ScriptedWire) -> list[int]:
    """How much time was left, by each request over this wire."""
    heads = [request.decode().split("\r\n") for request in wire.sent]
    return [int(line.partition(": ")[2]) for head in heads for line in head if line.startswith("X-Left: ")]


async def test_what_connecting_takes_is_not_left_any_more(autojump_clock: trio.testing.MockClock) -> None:
    wire = ScriptedWire([OK], [OK])
    world = SlowWorld(wire)
    world.connect_s = 0.2
    for left_ms in (300, 100):  # the second one takes the connection as it is
        timings = timings_of(left_ms)
        assert await outcome_of(world, timings) == Success(ANSWER)
        assert timings.time_left_ms == 100
    assert said(wire) == [100, 100]


async def test_the_second_request_of_a_call_says_what_is_left_then(
    autojump_clock: trio.testing.MockClock,
) -> None:
    dead, fresh = ScriptedWire([OK], [Later(0.03, b"")]), ScriptedWire([OK])
    world = SlowWorld(dead, fresh)
    assert await outcome_of(world, timings_of(100)) == Success(ANSWER)
    world.connect_s = 0.02
    timings = timings_of(100)
    assert await outcome_of(world, timings) == Success(ANSWER)
    assert (said(dead), said(fresh)) == ([100, 100], [50])
    assert timings.time_left_ms == 50


@pytest.mark.parametrize(("connect_s", "is_sent"), [(0.095, True), (0.0951, False), (0.096, False)])
async def test_with_too_little_time_left_nothing_is_sent_and_the_connection_is_kept(
    autojump_clock: trio.testing.MockClock, connect_s: float, is_sent: bool
) -> None:
    """It is as good as before, and the next call is made over it."""
    wire = ScriptedWire([OK], [OK])
    world = SlowWorld(wire)
    world.connect_s = connect_s
    timings = timings_of(100, min_call_ms=5)
    assert await outcome_of(world, timings) == (Success(ANSWER) if is_sent else TOO_LATE)
    assert (said(wire), timings.time_left_ms) == (([5], 5) if is_sent else ([], None))
    assert (world.origin.idle, world.origin.in_use, wire.closed) == (1, 0, [])
    if not is_sent:
        assert [name for name, _ in timings.seen] == [Phase.CONNECT, Phase.KEPT]
    assert await outcome_of(world, timings_of(50)) == Success(ANSWER)
    assert said(wire)[-1] == 50
    assert (world.origin.opened, world.origin.reused) == (1, 1)


async def test_with_too_little_time_left_a_reused_connection_goes_back_as_it_was() -> None:
    wire = ScriptedWire([OK], [OK])
    world = World(wire)
    assert await outcome_of(world, timings_of(1000)) == Success(ANSWER)
    timings = timings_of(3, min_call_ms=5)
    assert await outcome_of(world, timings) == TOO_LATE
    assert [name for name, _ in timings.seen] == [Phase.REUSED, Phase.KEPT]
    assert (len(wire.sent), world.origin.idle, world.origin.in_use, wire.closed) == (1, 1, 0, [])


async def test_with_too_little_time_left_a_call_is_not_made_once_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    dead, fresh = ScriptedWire([OK], [Later(0.03, b"")]), ScriptedWire([OK])
    world = SlowWorld(dead, fresh)
    assert await outcome_of(world, timings_of(100)) == Success(ANSWER)
    world.connect_s = 0.066
    timings = timings_of(100, min_call_ms=5)
    assert await outcome_of(world, timings) == TOO_LATE
    assert (said(dead), said(fresh)) == ([100, 100], [])
    assert timings.time_left_ms == 100  # the request that was sent said so
    assert (dead.closed, fresh.closed) == (["abort"], [])
    assert (world.origin.retries, world.origin.idle, world.origin.in_use) == (1, 1, 0)


@pytest.mark.parametrize("piece", [b"", OK, ConnectionResetError(104, "reset by peer")])
async def test_a_connection_over_which_something_came_meanwhile_is_not_used(piece: bytes | OSError) -> None:
    """What was kept unused is looked at like any other before it is used."""
    unused, fresh = ScriptedWire(), ScriptedWire([OK])
    world = World(unused, fresh)
    assert await outcome_of(world, timings_of(3, min_call_ms=5)) == TOO_LATE
    unused.arrive(piece)
    assert await outcome_of(world, timings_of(1000)) == Success(ANSWER)
    assert (unused.sent, unused.closed, len(fresh.sent)) == ([], ["abort"], 1)


async def test_a_call_over_any_transport_says_how_much_is_left_or_is_not_made() -> None:
    made: list[httpx.Request] = []

    async def transport(request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        made.append(request)
        return httpx.Response(200, content=ANSWER)

    call = UpstreamCall(httpx.MockTransport(transport), URL)
    timings = CallTimings("r", 0, ((b"traceparent", b"00-1"),), lambda: 7.0, 7.25, Deadlines(HEADER, 250))
    assert await call(timings) == Success(ANSWER)
    assert (made[0].headers["x-left"], made[0].headers["traceparent"]) == ("250", "00-1")
    timings = CallTimings("r", 0, (), lambda: 7.001, 7.25, Deadlines(HEADER, 250))
    assert await call(timings) == TOO_LATE
    assert len(made) == 1
