"""The loop of one HTTP/1 connection, byte by byte: what is shed, what is served, and how it ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from fanout.server.asgi import CLIENT_KEY, App, Receive, Scope, Send
from fanout.server.driver import Driver, never
from fanout.server.limits import Limits
from fanout.server.serve import Connections
from tests.server.apps import Echo, answer
from tests.server.recorded import Recorded
from tests.server.serving import NOON, get

SHED = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy"
SHED_LAST = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbusy"


class Desk:
    """A driver whose `shed` hook sheds the first requests, and what it was asked."""

    def __init__(self, *sheds: bool) -> None:
        self.crashes: list[BaseException] = []
        self.asked: list[int] = []
        self._sheds = list(sheds)
        shed = self._shed if sheds else never
        self.driver = Driver(Limits(), on_crash=self.crashes.append, shed=shed, wall_clock=lambda: NOON)

    def _shed(self, beginning: int) -> bytes | None:
        self.asked.append(beginning)
        return SHED if self._sheds and self._sheds.pop(0) else None

    @property
    def ended(self) -> dict[str, int]:
        return self.driver.statistics().ended

    async def serve(self, *arriving: bytes | Exception, app: App | None = None) -> list[str | bytes]:
        """What is done with a transport on which this arrives."""
        transport = Recorded(*arriving)
        await Connections(app or Echo(), self.driver, {}).hold(transport)
        return transport.done


def statuses(done: list[str | bytes]) -> list[int | str]:
    """The answers' statuses, one write each, and how the connection ended."""
    return [int(what.split()[1]) if isinstance(what, bytes) else what for what in done]


async def test_an_answer_of_which_the_kernel_has_a_part_when_memory_runs_out_ends_with_a_reset(
    autojump_clock: MockClock,
) -> None:
    """G1. Its client must not take the part for the whole, although the app has sent all of it."""

    class Scarce(Recorded):
        def send_now(self, data: bytes) -> bool:
            super().send_now(data[:20])
            raise MemoryError

    here, transport = Desk(), Scarce(get())
    await Connections(Echo(), here.driver, {}).hold(transport)
    assert transport.done[1:] == ["abort"]
    assert here.ended == {"crashed": 1}
    assert [type(crash) for crash in here.crashes] == [MemoryError]


async def test_requests_until_the_client_ends_it(autojump_clock: MockClock) -> None:
    here = Desk()
    here.driver.beginning = 5  # of other connections
    assert statuses(await here.serve(get(), get("/b"))) == [200, 200, "close"]
    assert here.ended == {"client_disconnected": 1}
    assert here.driver.beginning == 5
    assert here.driver.statistics().requests == 2


async def test_pipelined_requests_are_one_after_the_other(autojump_clock: MockClock) -> None:
    here = Desk()
    done = await here.serve(get("/a") + get("/b") + get("/c")[:5], get("/c")[5:])
    assert statuses(done) == [200, 200, 200, "close"]
    assert [what.rpartition(b" ")[2] for what in done if isinstance(what, bytes)] == [b"/a", b"/b", b"/c"]


async def test_a_client_with_many_requests_waits_like_many_clients(autojump_clock: MockClock) -> None:
    """Between two pipelined requests others have a turn."""

    async def at_once(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"")

    here = Desk()
    turns = 0
    transport = Recorded(get() * 10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Connections(at_once, here.driver, {}).hold, transport)
        while len(transport.done) < 10:
            await trio.lowlevel.checkpoint()
            turns += 1
    assert turns >= 9


async def test_malformed_requests_are_counted_and_answered(autojump_clock: MockClock) -> None:
    here = Desk()
    for count in (1, 2):
        assert statuses(await here.serve(b"nonsense\r\n\r\n")) == [400, "eof", "close"]
        assert here.driver.statistics().malformed == count
    assert here.ended == {"refused": 2}


async def test_half_a_head_is_no_request(autojump_clock: MockClock) -> None:
    here = Desk()
    assert await here.serve(b"GET / HT") == ["close"]
    assert here.ended == {"client_disconnected": 1}
    assert here.driver.statistics().requests == 0


async def test_plain_requests_are_shed_and_the_connection_stays(autojump_clock: MockClock) -> None:
    """Again and again, the same or another one. Then one is served, as if nothing had been."""
    here = Desk(True, True, True, False)
    here.driver.beginning = 3
    done = await here.serve(get(), get(), get("/b"), get("/c"))
    assert done[:3] == [SHED, SHED, SHED]
    assert statuses(done[3:]) == [200, "close"]
    assert here.asked == [3, 3, 3, 3]
    assert here.driver.statistics().refused == 3
    assert here.ended == {"client_disconnected": 1}


async def test_a_request_that_was_sent_ahead_is_shed_like_any_other(autojump_clock: MockClock) -> None:
    here = Desk(False, True, False)
    done = await here.serve(get() + get(), get())
    assert (statuses(done), done[1]) == ([200, 503, 200, "close"], SHED)


class Slow(Recorded):
    """Each piece takes five seconds."""

    async def receive(self) -> bytes:
        await trio.sleep(5)
        return await super().receive()


async def test_a_connection_waits_again_from_the_moment_of_its_rejection(autojump_clock: MockClock) -> None:
    """G10. Else a client that asks again and again would be the first to give way."""
    here = Desk(True, True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Connections(Echo(), here.driver, {}).hold, Slow(get(), get()))
        for moment in (0, 5, 10):
            await trio.sleep_until(moment + 1)
            assert list(here.driver.timeouts.waiting.values()) == [moment]
        nursery.cancel_scope.cancel()


NOT_PLAIN: dict[str, bytes] = {
    "a body": b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n",
    "chunks": b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    "to be closed": b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n",
    "an upgrade": b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n",
    "HTTP/1.0": b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    "a method that may have a body": b"POST / HTTP/1.1\r\nHost: a\r\n\r\n",
    "nonsense": b"XXXX",
    "half a head": b"GET / HTTP/1.1\r\nHost: a\r\n",
    "two requests": get() + get(),
    "more than one": get() + b"G",
}


@pytest.mark.parametrize("kind", NOT_PLAIN)
async def test_where_the_end_of_what_is_shed_is_unknown_the_connection_ends(
    autojump_clock: MockClock, kind: str
) -> None:
    """Rule 2: what comes next could be a part of it."""
    here = Desk(True, True)
    assert await here.serve(NOT_PLAIN[kind], get()) == [SHED_LAST, "eof", "close"]
    here = Desk(True, True)
    assert await here.serve(get(), NOT_PLAIN[kind], get()) == [SHED, SHED_LAST, "eof", "close"]
    assert here.ended == {"refused": 1}


async def test_a_server_that_shuts_down_keeps_no_connection_that_it_sheds(autojump_clock: MockClock) -> None:
    here = Desk(True)
    here.driver.enter_lame_duck()
    assert await here.serve(get()) == [SHED_LAST, "eof", "close"]


@pytest.mark.parametrize("length", [900, 2000])
async def test_a_long_plain_request_is_as_plain_as_a_short_one(
    autojump_clock: MockClock, length: int
) -> None:
    """The longer is not kept: it is looked at again each time."""
    here = Desk(True, True, True)
    long = get("/" + "x" * length)
    assert await here.serve(long, long, long + b"x") == [SHED, SHED, SHED_LAST, "eof", "close"]


async def test_a_rejection_that_the_kernel_does_not_take_at_once_is_finished(
    autojump_clock: MockClock,
) -> None:
    here = Desk(True, False)
    transport = Recorded(get(), get(), takes=False, flush_s=1)
    await Connections(Echo(), here.driver, {}).hold(transport)
    assert statuses(transport.done) == [503, 200, "close"]
    assert trio.current_time() == 2


class TakesTheThirdLater(Recorded):
    """The kernel takes each write at once but the third."""

    def send_now(self, data: bytes) -> bool:
        super().send_now(data)
        return len(self.done) != 3


async def test_what_was_shed_is_not_looked_at_again(autojump_clock: MockClock) -> None:
    """A request that was sent ahead, and behind it one whose rejection the kernel takes only later."""
    here = Desk(False, True, True, False)
    transport = TakesTheThirdLater(get("/a") + get("/b"), get("/c"), get("/d"))
    await Connections(Echo(), here.driver, {}).hold(transport)
    assert statuses(transport.done) == [200, 503, 503, 200, "close"]
    assert len(here.asked) == 4


async def test_what_was_sent_ahead_is_served_before_a_shutdown_ends_the_connection(
    autojump_clock: MockClock,
) -> None:
    here = Desk()
    here.driver.drain()
    done = await here.serve(get("/a"), get("/b"))
    assert statuses(done) == [200, "eof", "close"]
    assert isinstance(done[0], bytes)
    assert b"\r\nconnection: close\r\n" in done[0]
    assert await here.serve() == ["close"]
    assert here.ended == {"answered": 1, "drained": 1}


class Late(Recorded):
    """The rest of a head comes in the iteration in which its time is over."""

    def __init__(self, cut: Callable[[], object], *arriving: bytes) -> None:
        super().__init__(*arriving)
        self._cut = cut

    async def receive(self) -> bytes:
        data = await super().receive()
        if len(self.arriving) == 0:
            self._cut()
        return data


async def test_a_head_that_is_complete_too_late_reaches_no_app(autojump_clock: MockClock) -> None:
    here = Desk()
    app = Echo()

    def cut() -> None:
        [connection] = here.driver.timeouts.waiting
        connection.scope.cancel()

    transport = Late(cut, get()[:5], get()[5:])
    await Connections(app, here.driver, {}).hold(transport)
    assert (app.scopes, here.driver.statistics().requests) == ([], 0)
    assert not any(isinstance(what, bytes) and b" 200 " in what for what in transport.done)


async def test_an_app_knows_its_client(autojump_clock: MockClock) -> None:
    """It can say that the client reads too slowly."""
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope[CLIENT_KEY].left_at)
        scope[CLIENT_KEY].reads_too_slowly()
        await trio.lowlevel.checkpoint()

    here = Desk()
    assert await here.serve(get(), app=app) == ["abort"]
    assert (seen, here.ended) == ([None], {"slow_reader": 1})


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    await trio.lowlevel.checkpoint()


async def half(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"1", "more_body": True})


async def broken(scope: Scope, receive: Receive, send: Send) -> None:
    await trio.lowlevel.checkpoint()
    raise KeyError("a bug")


async def answered_and_broken(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, b"whole")
    raise KeyError("a bug")


async def reading(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


INCOMPLETE = "RuntimeError('the app returned without a complete answer')"


@pytest.mark.parametrize(
    ("app", "does", "end", "reports"),
    [
        (nothing, [500, "eof", "close"], "crashed", [INCOMPLETE]),
        (half, [200, "abort"], "crashed", [INCOMPLETE]),
        (broken, [500, "eof", "close"], "crashed", ["KeyError('a bug')"]),
        (answered_and_broken, [200, "eof", "close"], "answered", ["KeyError('a bug')"]),
    ],
)
async def test_an_app_with_a_bug_ends_its_connection(
    autojump_clock: MockClock, app: App, does: list[object], end: str, reports: list[str]
) -> None:
    """G11. A part of an answer is not taken for the whole, and a whole one arrives."""
    here = Desk()
    assert statuses(await here.serve(get(), get(), app=app)) == does
    assert [repr(crash) for crash in here.crashes] == reports
    assert here.ended == {end: 1}


async def test_a_client_that_leaves_within_its_body_is_no_bug(autojump_clock: MockClock) -> None:
    here = Desk()
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12"
    assert await here.serve(post, app=reading) == ["close"]
    assert (here.crashes, here.ended) == ([], {"client_disconnected": 1})


async def test_a_malformed_body_is_answered_by_the_driver(autojump_clock: MockClock) -> None:
    here = Desk()
    post = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert statuses(await here.serve(post, b"zz\r\n", app=reading)) == [400, "eof", "close"]
    assert (here.crashes, here.ended) == ([], {"refused": 1})
    assert here.driver.statistics().malformed == 1


async def test_what_comes_behind_a_last_answer_is_read(autojump_clock: MockClock) -> None:
    """Else the RST undoes the answer. Where nothing can come, nothing is waited for."""
    here = Desk()
    closing = get("/", "Connection: close")
    assert statuses(await here.serve(closing + get())) == [200, "eof", "close"]
    assert statuses(await here.serve(closing)) == [200, "close"]
    assert here.ended == {"answered": 2}
