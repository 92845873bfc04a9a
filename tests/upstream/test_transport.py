"""One call after another over scripted wires, in virtual time: reuse, retry, errors, phases."""

from __future__ import annotations

import httpx
import pytest
import trio
import trio.testing

from fanout.upstream.errors import BodyTooLarge
from fanout.upstream.messages import Headers, PreparedGet
from fanout.upstream.phases import Phase, ignore_phase
from fanout.upstream.pool import PoolLimitExceeded
from tests.upstream.raw_server import answer
from tests.upstream.scripted_wire import HANGS, URL, Later, Script, ScriptedWire, World

OK = answer(b"{}")
RESET = ConnectionResetError(104, "reset by peer")
LINE_BREAK = "^a line break or a NUL in the request's head$"


async def test_a_request_is_written_in_one_piece() -> None:
    wire = ScriptedWire([OK])
    await World(wire).get(url=URL + "?a=b%20c")
    assert wire.sent == [b"GET /work?a=b%20c HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n"]


async def test_a_response_names_the_request_that_it_answers() -> None:
    """Also when the request had to be made once more: httpx's users read `response.request`."""
    world = World(ScriptedWire([OK], [b""]), ScriptedWire([OK]))
    for _ in range(2):
        request = httpx.Request("GET", URL)
        assert (await world.transport.handle_async_request(request)).request is request
    assert world.origin.retries == 1


async def test_the_answer_to_a_head_has_a_length_and_no_body() -> None:
    wire = ScriptedWire([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", HANGS])
    response = await World(wire).get("HEAD")
    assert (response.headers["content-length"], response.content) == ("2", b"")
    assert wire.closed == ["abort"]


async def test_a_connection_is_used_again_after_its_answer() -> None:
    world = World(ScriptedWire([OK], [OK], [OK]))
    for _ in range(3):
        assert (await world.get()).content == b"{}"
    assert (world.origin.opened, world.origin.reused, world.origin.idle) == (1, 2, 1)


@pytest.mark.parametrize(
    "second",
    [[b""], [RESET], [Later(5, b"")], [Later(5, RESET)]],
    ids=["closed", "reset", "closed later", "reset later"],
)
async def test_a_get_on_a_dead_reused_connection_is_made_once_more(
    second: Script, autojump_clock: trio.testing.MockClock
) -> None:
    dead, fresh = ScriptedWire([OK], second), ScriptedWire([OK])
    world = World(dead, fresh)
    await world.get()
    assert (await world.get()).content == b"{}"
    assert fresh.sent == dead.sent[:1]
    assert dead.closed == ["abort"]
    assert (world.origin.retries, world.origin.closed["broken"]) == (1, 1)


async def test_a_prepared_get_is_a_call_like_any_other() -> None:
    """It is sent with the headers of its call, its phases are reported, and its connection is kept."""
    first, second = ScriptedWire([OK], [b""]), ScriptedWire([OK])
    world, phases = World(first, second), list[Phase]()
    get = PreparedGet(URL, {"Accept": "a"})
    for _ in range(2):  # the second one is made once more, as its connection is dead
        answer = await world.transport.get(get, lambda: [(b"x", b"1")], phases.append)
        assert answer is not None
        assert (answer.status, answer.content()) == (200, b"{}")
    assert first.sent == [b"GET /work HTTP/1.1\r\nHost: 192.0.2.1\r\nAccept: a\r\nx: 1\r\n\r\n"] * 2
    assert second.sent == first.sent[:1]
    assert phases.count(Phase.KEPT) == 2
    assert Phase.RETRY in phases
    assert str(world.origin.origin) == str(get.origin)


def never() -> Headers | None:
    raise AssertionError("nothing is to be sent")


async def test_a_cancelled_get_sends_nothing() -> None:
    world = World(ScriptedWire([OK]))
    with trio.CancelScope() as scope:
        scope.cancel()
        await world.transport.get(PreparedGet(URL, {}), never, ignore_phase)
    assert scope.cancelled_caught
    assert not world.dialled


@pytest.mark.parametrize("made_before", [0, 1])
async def test_a_call_that_is_too_late_sends_nothing_and_has_no_answer(made_before: int) -> None:
    """Also when it is to be made once more, because its reused connection was dead."""
    wires = ScriptedWire([OK], [b""]), ScriptedWire([OK])
    world, get = World(*wires), PreparedGet(URL, {})
    for _ in range(made_before):
        assert await world.transport.get(get, list, ignore_phase) is not None
    in_time = [[(b"x", b"1")]] * made_before

    def headers() -> Headers | None:
        return in_time.pop() if in_time else None

    assert await world.transport.get(get, headers, ignore_phase) is None
    assert [len(wire.sent) for wire in wires] == [2 * made_before, 0]
    assert world.origin.retries == made_before
    assert world.origin.idle == 1  # a connection that was sent nothing is as good as before


@pytest.mark.parametrize("kept", [True, False])
async def test_a_408_on_a_reused_connection_was_said_to_the_idle_one(kept: bool) -> None:
    """RFC 9110 15.5.9: balancers say it as they give up on an idle connection, just as we use it."""
    told = answer_with_status(408, b"" if kept else b"Connection: close\r\n")
    world = World(ScriptedWire([OK], [told]), ScriptedWire([OK]))
    await world.get()
    assert (await world.get()).status_code == 200
    assert (world.origin.retries, world.origin.opened) == (1, 2)
    assert world.origin.in_use == 0


async def test_a_408_on_a_new_connection_is_an_answer() -> None:
    world = World(ScriptedWire([answer_with_status(408, b"")]))
    assert (await world.get()).status_code == 408
    assert world.origin.retries == 0


def answer_with_status(status: int, fields: bytes) -> bytes:
    return b"HTTP/1.1 %d Whatever\r\nContent-Length: 0\r\n%b\r\n" % (status, fields)


async def test_a_send_that_fails_on_a_reused_connection_is_made_once_more() -> None:
    dead, fresh = ScriptedWire([OK], [b""]), ScriptedWire([OK])
    world = World(dead, fresh)
    await world.get()
    dead.send_error = BrokenPipeError(32, "broken pipe")
    assert (await world.get()).content == b"{}"
    assert world.origin.retries == 1


async def test_a_retry_is_made_once_and_on_a_new_connection(autojump_clock: trio.testing.MockClock) -> None:
    """Another idle one may be as dead as the first."""
    wires = ScriptedWire([Later(1, OK)], [b""]), ScriptedWire([Later(1, OK)], [b""]), ScriptedWire([b""])
    world = World(*wires)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.get)
        nursery.start_soon(world.get)
    assert world.origin.idle == 2
    with pytest.raises(httpx.RemoteProtocolError, match="without an answer"):
        await world.get()
    assert (world.origin.retries, world.origin.opened, world.origin.idle) == (1, 3, 1)


@pytest.mark.parametrize(
    ("method", "second"),
    [("POST", [b""]), ("HEAD", [b""]), ("GET", [b"H", b""]), ("GET", [b"x"]), ("GET", [OK[:20], RESET])],
)
async def test_what_may_have_been_answered_is_not_made_again(method: str, second: Script) -> None:
    world = World(ScriptedWire([OK], second))
    await world.get()
    with pytest.raises(httpx.TransportError):
        await world.get(method)
    assert (world.origin.retries, world.origin.opened) == (0, 1)


async def test_a_new_connection_that_fails_is_not_retried() -> None:
    world = World(ScriptedWire([b""]))
    with pytest.raises(httpx.RemoteProtocolError):
        await world.get()
    assert (world.origin.retries, world.origin.opened) == (0, 1)


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ([RESET], httpx.ReadError),
        ([OK[:20], RESET], httpx.ReadError),
        ([OK[:-1], b""], httpx.RemoteProtocolError),
        ([b"junk"], httpx.RemoteProtocolError),
        ([answer(b"x", b"Content-Encoding: gzip")], httpx.DecodingError),
        ([answer(bytes(3000))], BodyTooLarge),
    ],
)
async def test_whatever_the_upstream_does_is_an_httpx_error(script: Script, error: type[Exception]) -> None:
    wire = ScriptedWire(script)
    world = World(wire, max_body_bytes=2000)
    with pytest.raises(error):
        await world.get()
    assert world.origin.in_use == 0


async def test_no_connection_is_an_httpx_error() -> None:
    world = World(ConnectionRefusedError(111, "refused"))
    with pytest.raises(httpx.ConnectError, match="refused"):
        await world.get()
    assert (world.origin.in_use, world.origin.failed_connects) == (0, 1)


async def test_an_answer_given_before_the_request_was_sent_in_full_counts() -> None:
    """An upstream that refuses a long request answers and closes; the answer is worth more than the error."""
    wire = ScriptedWire([OK], send_error=BrokenPipeError(32, "broken pipe"))
    world = World(wire)
    assert (await world.get("POST")).content == b"{}"
    assert wire.closed == ["abort"]


async def test_a_request_that_could_not_be_sent_is_a_write_error() -> None:
    wire = ScriptedWire([b""], send_error=BrokenPipeError(32, "broken pipe"))
    with pytest.raises(httpx.WriteError, match="broken pipe"):
        await World(wire).get()


async def test_an_answer_nobody_asked_for_is_taken_but_never_followed_by_another() -> None:
    """G7: a server that answers on its own may do so again, and that would be the next call's answer."""
    eager = ScriptedWire([HANGS], unasked=[OK])
    world = World(eager, ScriptedWire([OK]))
    assert (await world.get()).content == b"{}"
    assert eager.closed == ["abort"]
    await world.get()
    assert world.origin.opened == 2


@pytest.mark.parametrize("trailing", [b"x", OK], ids=["garbage", "another answer"])
async def test_a_connection_with_more_than_the_answer_on_it_is_not_reused(trailing: bytes) -> None:
    """G7: whether it comes with the answer or a little later."""
    at_once, later = ScriptedWire([OK + trailing]), ScriptedWire([OK, trailing])
    world = World(at_once, later, ScriptedWire([OK]))
    for _ in range(3):
        assert (await world.get()).content == b"{}"
    assert at_once.closed == ["abort"]
    assert later.closed == ["abort"]
    assert world.origin.opened == 3


async def test_a_cancelled_call_resets_its_connection_at_once(autojump_clock: trio.testing.MockClock) -> None:
    wire = ScriptedWire([Later(1, OK[:30]), HANGS])
    world = World(wire)
    with trio.move_on_after(2) as scope:
        await world.get()
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(2)
    assert wire.closed == ["abort"]
    assert (world.origin.in_use, world.origin.closed["cancelled"]) == (0, 1)


async def test_a_call_in_a_cancelled_scope_sends_nothing() -> None:
    world = World()
    with trio.CancelScope() as scope:
        scope.cancel()
        await world.get()
    assert scope.cancelled_caught
    assert not world.dialled


async def test_phases_of_a_new_a_reused_and_a_retried_connection() -> None:
    world = World(ScriptedWire([OK], [OK], [RESET]), ScriptedWire([OK]))
    await world.get()
    assert world.phases == [Phase.CONNECT, Phase.WAIT, Phase.RECEIVE, Phase.DONE, Phase.KEPT]
    await world.get()
    assert world.phases == [Phase.REUSED, Phase.WAIT, Phase.RECEIVE, Phase.DONE, Phase.KEPT]
    await world.get()
    assert world.phases == [
        *(Phase.REUSED, Phase.WAIT, Phase.RETRY),
        *(Phase.CONNECT, Phase.WAIT, Phase.RECEIVE, Phase.DONE, Phase.KEPT),
    ]


@pytest.mark.parametrize("phase", [Phase.CONNECT, Phase.WAIT, Phase.RECEIVE, Phase.DONE, Phase.KEPT])
async def test_a_hook_that_raises_is_a_bug_and_costs_nothing_but_its_call(phase: Phase) -> None:
    """G11."""

    def hook(seen: Phase) -> None:
        if seen is phase:
            raise ZeroDivisionError

    wire = ScriptedWire([OK])
    world = World(wire)
    with pytest.raises(ZeroDivisionError):
        await world.transport.handle_async_request(
            httpx.Request("GET", URL, extensions={"fanout.phase": hook})
        )
    assert world.origin.in_use == 0
    assert world.origin.open == (phase is Phase.KEPT)  # the one that has nothing of the call in flight
    assert wire.closed == ([] if phase in (Phase.CONNECT, Phase.KEPT) else ["abort"])


async def test_the_limit_counts_calls_and_is_loud(autojump_clock: trio.testing.MockClock) -> None:
    world = World(ScriptedWire([HANGS]), ScriptedWire([HANGS]), max_connections=2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.get)
        nursery.start_soon(world.get)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(PoolLimitExceeded):
            await world.get()
        nursery.cancel_scope.cancel()
    assert world.origin.in_use == 0


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (httpx.Request("GET", URL, headers=[(b"X", b"a\r\nHost: b")]), LINE_BREAK),
        (httpx.Request("GET", URL, headers=[(b"X", b"a\nb")]), LINE_BREAK),
        (httpx.Request("GET", URL, headers=[(b"X\r\n\r\nGET / HTTP/1.1", b"a")]), LINE_BREAK),
        (httpx.Request("GET", URL, headers=[(b"X", b"a\rb")]), LINE_BREAK),
        (httpx.Request("GET", URL, headers=[(b"X", b"a\0b")]), LINE_BREAK),
        (httpx.Request("GET /x HTTP/1.1\r\nA:", URL), LINE_BREAK),
        (httpx.Request("GET /", URL), "^a space in the request's method$"),
        (
            httpx.Request("POST", URL, headers={"Transfer-Encoding": "chunked"}),
            "^a request body needs a known length$",
        ),
        (httpx.Request("GET", "ftp://192.0.2.1/"), "^'ftp://192.0.2.1/' is not an absolute"),
        (httpx.Request("GET", "/work"), "^'/work' is not an absolute"),
    ],
    ids=lambda value: f"{value.method} {value.url}" if isinstance(value, httpx.Request) else "",
)
async def test_what_must_not_be_sent_is_refused(request_: httpx.Request, why: str) -> None:
    world = World()
    with pytest.raises((httpx.LocalProtocolError, httpx.UnsupportedProtocol), match=why):
        await world.transport.handle_async_request(request_)
    assert not world.dialled


async def test_expired_connections_are_closed_when_nobody_comes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    wire = ScriptedWire([OK])
    world = World(wire)
    async with trio.open_nursery() as nursery:
        await nursery.start(world.transport.run)
        await world.get()
        await trio.sleep(29)
        assert not wire.closed
        await trio.sleep(10)
        assert wire.closed == ["close"]
        nursery.cancel_scope.cancel()
    assert world.origin.closed["expired"] == 1


async def test_after_aclose_nothing_is_open_and_no_call_is_made(
    autojump_clock: trio.testing.MockClock,
) -> None:
    idle, busy = ScriptedWire([Later(1, OK)]), ScriptedWire([Later(2, OK)])
    world = World(idle, busy)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.get)
        nursery.start_soon(world.get)
        await trio.sleep(1.5)
        await world.transport.aclose()
        assert (idle.closed, busy.closed) == (["close"], [])
    assert busy.closed == ["abort"]
    assert world.origin.closed["shutdown"] == 2
    with pytest.raises(RuntimeError, match=r"^the transport is closed$"):
        await world.get()


async def test_the_body_is_there_and_a_response_that_is_never_closed_costs_nothing() -> None:
    world = World(ScriptedWire([OK], [OK]))
    response = await world.transport.handle_async_request(httpx.Request("GET", URL))
    assert world.origin.idle == 1
    async with httpx.AsyncClient(transport=world.transport) as client, client.stream("GET", URL) as streamed:
        assert [piece async for piece in streamed.aiter_bytes()] == [b"{}"]
    assert response.content == b"{}"


def test_statistics_before_any_call_are_empty() -> None:
    statistics = World().transport.statistics()
    assert (statistics.origins, statistics.names) == ((), ())
