"""The record of one connection: what it waits for, until when, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import pytest
import trio
from trio.testing import MockClock

from fanout.server.connection import Connection, State
from fanout.server.limits import Limits
from fanout.server.statistics import End
from fanout.server.timeouts import Timeouts
from tests.server.recorded import Recorded

LIMITS = Limits(
    idle_timeout_s=75, write_timeout_s=20, linger_timeout_s=3, linger_max_bytes=10, drain_grace_s=0.5
)


class Desk:
    """One connection, and the timeouts that it shares with others."""

    def __init__(self, transport: Recorded | None = None) -> None:
        self.timeouts: Timeouts[Connection] = Timeouts(LIMITS)
        self.transport = transport or Recorded()
        self.connection = self.another()

    def another(self) -> Connection:
        return Connection(self.timeouts, self.transport)

    @property
    def left_s(self) -> float:
        """Until the deadline of the connection."""
        return self.connection.scope.deadline - trio.current_time()

    @property
    def is_cut(self) -> bool:
        return self.connection.scope.cancel_called


async def desk_at_100() -> Desk:
    """At 100 s by Trio's clock, so that a time is not taken for a moment."""
    await trio.sleep(100)
    return Desk()


async def test_an_idle_connection_to_which_something_is_written_neither_gives_way_nor_expires(
    autojump_clock: MockClock,
) -> None:
    """G1. Over HTTP/2 a rejection may have to wait for its client; the connection is idle meanwhile."""
    desk = await desk_at_100()
    connection = desk.connection

    def may_give_way() -> bool:
        return connection.may_give_way

    connection.wait_idle()
    assert may_give_way()
    connection.written_within(20)
    assert not may_give_way()
    assert not connection.waited_too_long()
    assert not desk.is_cut
    connection.written_within(inf)
    assert may_give_way()
    assert connection.waited_too_long()
    assert connection.end is End.IDLE


async def test_a_head_that_begins_in_the_drain_of_an_idle_connection_may_come_too_slowly(
    autojump_clock: MockClock,
) -> None:
    """As one that had begun before: it gets its 408."""
    desk = await desk_at_100()
    connection = desk.connection
    connection.wait_idle()
    desk.timeouts.draining = True
    assert connection.drain(trio.current_time() + 0.25)
    with connection.scope:
        await trio.sleep(0.1)
        connection.wait(State.HEAD, 5)
        await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(100.6)
    assert connection.too_slow() is End.SLOW_HEAD


async def test_a_connection_begins_busy_and_without_a_deadline(autojump_clock: MockClock) -> None:
    """Over its end nobody has decided: that is how one ends that is cancelled with the server."""
    desk = await desk_at_100()
    connection = desk.connection
    assert (connection.state, connection.scope.deadline) == (State.BUSY, inf)
    assert (connection.end, connection.left_at, connection.reset) == (None, None, False)
    assert not connection.is_http2
    assert connection not in desk.timeouts.waiting
    connection.close()
    assert connection.end is End.STOPPED
    assert desk.transport.done == ["abort"]


async def test_a_wait_has_a_deadline_and_a_place_in_the_queue(autojump_clock: MockClock) -> None:
    desk = await desk_at_100()
    first, second = desk.connection, desk.another()
    first.wait(State.HANDSHAKE, 10)
    second.wait(State.HEAD, 5)
    assert list(desk.timeouts.waiting) == [first, second]
    assert (first.state, desk.left_s) == (State.HANDSHAKE, 10)
    await trio.sleep(1)
    first.wait(State.HEAD, 4)
    assert list(desk.timeouts.waiting.items()) == [(second, 100), (first, 101)]
    assert (first.state, desk.left_s) == (State.HEAD, 4)


async def test_to_be_idle_is_a_place_in_the_queue_and_no_deadline(autojump_clock: MockClock) -> None:
    """The handshake's deadline is over with it."""
    desk = await desk_at_100()
    first, second = desk.connection, desk.another()
    first.wait(State.HANDSHAKE, 10)
    second.wait_idle()
    await trio.sleep(1)
    first.wait_idle()
    assert list(desk.timeouts.waiting.items()) == [(second, 100), (first, 101)]
    assert (first.state, desk.left_s) == (State.IDLE, inf)
    assert first.may_give_way


async def test_a_connection_whose_task_has_new_bytes_to_read_does_not_give_way(
    autojump_clock: MockClock,
) -> None:
    desk = await desk_at_100()
    connection = desk.connection
    connection.wait_idle()
    connection.not_idle()
    assert connection.state is State.HEAD
    assert not connection.may_give_way
    connection.wait(State.HEAD, 10)  # it has read them, and they were not all
    assert connection.may_give_way


@pytest.mark.parametrize("writing", [False, True])
async def test_a_busy_connection_waits_for_nothing_but_what_it_writes(
    autojump_clock: MockClock, writing: bool
) -> None:
    desk = await desk_at_100()
    connection = desk.connection
    connection.wait(State.HEAD, 10)
    if writing:
        connection.written_within(20)
    connection.work()
    assert (connection.state, desk.left_s) == (State.BUSY, 20 if writing else inf)
    assert connection not in desk.timeouts.waiting
    assert not desk.is_cut


async def test_a_client_that_left_before_its_request_began_cancels_it(autojump_clock: MockClock) -> None:
    """G6. It had half a head: nothing was lost by then."""
    desk = await desk_at_100()
    connection = desk.connection
    connection.wait(State.HEAD, 10)
    connection.client_left()
    assert (connection.left_at, desk.is_cut) == (100, False)
    connection.work()
    assert (connection.end, desk.is_cut) == (End.CLIENT_DISCONNECTED, True)


async def test_a_client_that_leaves_a_request_cancels_it_and_the_reason_says_so(
    autojump_clock: MockClock,
) -> None:
    """G6."""
    desk = await desk_at_100()
    reasons: list[str | None] = []
    desk.connection.work()
    with desk.connection.scope:
        desk.connection.client_left()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as cancelled:
            reasons.append(cancelled.reason)
            raise
    assert reasons == ["the client disconnected"]
    assert desk.connection.end is End.CLIENT_DISCONNECTED


async def test_any_other_end_is_the_reason_itself_and_the_first_one_counts(autojump_clock: MockClock) -> None:
    desk = await desk_at_100()
    reasons: list[str | None] = []
    with desk.connection.scope:
        desk.connection.cut(End.EVICTED)
        desk.connection.cut(End.CRASHED)
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as cancelled:
            reasons.append(cancelled.reason)
            raise
    assert reasons == ["evicted"]
    assert desk.connection.end is desk.connection.how_it_ended() is End.EVICTED


@pytest.mark.parametrize("draining", [False, True])
async def test_an_app_has_a_place_in_the_queue_to_return_after_its_answer(
    autojump_clock: MockClock, draining: bool
) -> None:
    desk = await desk_at_100()
    desk.timeouts.draining = draining
    desk.connection.answered()
    assert (desk.connection.state, desk.left_s) == (State.ENDING, 0.5 if draining else inf)
    assert desk.timeouts.waiting == {desk.connection: 100}


async def test_a_connection_that_lingers_waits_in_no_queue(autojump_clock: MockClock) -> None:
    desk = await desk_at_100()
    desk.connection.wait_idle()
    desk.connection.linger(3)
    assert (desk.connection.state, desk.left_s) == (State.LINGERING, 3)
    assert not desk.timeouts.waiting


async def test_the_earlier_of_two_deadlines_counts(autojump_clock: MockClock) -> None:
    desk = await desk_at_100()
    connection = desk.connection
    connection.read_within(10)
    connection.written_within(20)
    assert desk.left_s == 10
    connection.written_within(5)
    assert desk.left_s == 5
    connection.written_within(inf)
    assert desk.left_s == 10
    connection.written_within(20)
    connection.read_within(inf)
    assert desk.left_s == 20


async def test_a_client_that_reads_too_slowly_is_reset(autojump_clock: MockClock) -> None:
    """It must not take a part of an answer for the whole."""
    desk = await desk_at_100()
    desk.connection.reads_too_slowly()
    assert (desk.connection.end, desk.is_cut) == (End.SLOW_READER, True)
    desk.connection.close()
    assert desk.transport.done == ["abort"]


def _cut(connection: Connection) -> None:
    connection.wait_idle()
    connection.cut(End.EVICTED)


WAITS: dict[str, tuple[Callable[[Connection], object], End | None]] = {
    "idle": (Connection.wait_idle, End.IDLE),
    "app that does not return": (Connection.answered, End.SLOW_APP),
    "new bytes that are not read": (Connection.not_idle, End.SLOW_HEAD),
    "half a head": (lambda connection: connection.wait(State.HEAD, 100), None),
    "handshake": (lambda connection: connection.wait(State.HANDSHAKE, 100), None),
    "busy": (Connection.work, None),
    "cut": (_cut, None),
}


@pytest.mark.parametrize("wait", WAITS)
async def test_what_has_waited_too_long_ends_if_it_has_no_deadline_of_its_own(
    autojump_clock: MockClock, wait: str
) -> None:
    desk = await desk_at_100()
    begin, end = WAITS[wait]
    begin(desk.connection)
    before = desk.connection.end
    assert desk.connection.waited_too_long() is (end is not None)
    assert desk.connection.end is (end or before)
    assert desk.is_cut == (desk.connection.end is not None)


@pytest.mark.parametrize("handshake", [False, True])
async def test_a_drain_ends_what_has_no_request(autojump_clock: MockClock, handshake: bool) -> None:
    desk = await desk_at_100()
    connection = desk.connection
    if handshake:
        connection.wait(State.HANDSHAKE, 10)
    else:
        connection.wait_idle()
    assert connection.drain(100)
    assert (connection.end, desk.is_cut) == (End.DRAINED, True)


async def test_a_drain_ends_the_others_a_little_later(autojump_clock: MockClock) -> None:
    desk = await desk_at_100()
    connection = desk.connection
    connection.wait_idle()
    assert connection.drain(100.25)
    assert (connection.end, desk.left_s, desk.is_cut) == (End.DRAINED, 0.25, False)
    connection.written_within(inf)
    assert desk.left_s == 0.25


@pytest.mark.parametrize("first", [End.CLIENT_DISCONNECTED, None])
async def test_a_drain_is_not_the_cause_where_there_was_one(
    autojump_clock: MockClock, first: End | None
) -> None:
    desk = await desk_at_100()
    desk.connection.wait_idle()
    desk.connection.end = first
    desk.connection.drain(100.25)
    assert desk.connection.end is (first or End.DRAINED)


async def test_a_request_that_is_in_the_kernel_is_waited_for_in_a_drain(autojump_clock: MockClock) -> None:
    """G9. It was sent before the client could know."""
    desk = await desk_at_100()
    desk.transport.arriving.append(b"GET")
    desk.connection.wait_idle()
    assert not desk.connection.drain(100)
    assert (desk.connection.end, desk.left_s) == (None, 0.5)


async def test_what_is_being_written_has_the_grace_also_on_an_idle_connection(
    autojump_clock: MockClock,
) -> None:
    """A refusal over HTTP/2, to a client that does not read."""
    desk = await desk_at_100()
    desk.connection.wait_idle()
    desk.connection.written_within(10)
    assert not desk.connection.drain(100)
    assert (desk.connection.end, desk.is_cut, desk.left_s) == (None, False, 0.5)


async def test_an_app_that_has_answered_has_the_grace_to_return(autojump_clock: MockClock) -> None:
    desk = await desk_at_100()
    desk.connection.answered()
    assert not desk.connection.drain(100)
    assert (desk.connection.end, desk.left_s) == (None, 0.5)


@pytest.mark.parametrize(
    ("read_s", "write_s", "then_s"),
    [
        (inf, inf, inf),  # it owes nothing: the app decides how long its request runs
        (10, inf, 0.5),
        (0.2, inf, 0.2),
        (inf, 10, 0.5),
        (inf, 0.2, 0.2),
        (10, 0.2, 0.2),
    ],
)
async def test_a_drain_shortens_the_waits_for_a_client(
    autojump_clock: MockClock, read_s: float, write_s: float, then_s: float
) -> None:
    desk = await desk_at_100()
    connection = desk.connection
    connection.work()
    connection.read_within(read_s)
    connection.written_within(write_s)
    assert not connection.drain(100)
    assert desk.left_s == pytest.approx(then_s)
    if write_s == inf:
        connection.read_within(inf)  # it came
        assert desk.left_s == inf
        connection.read_within(min(read_s, 0.5) if read_s != inf else inf)
    connection.written_within(inf)  # it was taken
    assert desk.left_s == (inf if read_s == inf else pytest.approx(min(read_s, 0.5)))


@pytest.mark.parametrize(
    ("state", "end"),
    [
        (State.HANDSHAKE, End.SLOW_HANDSHAKE),
        (State.IDLE, End.IDLE),
        (State.HEAD, End.SLOW_HEAD),
        (State.BUSY, End.SLOW_BODY),
        (State.ENDING, End.SLOW_APP),
    ],
)
async def test_the_deadline_that_passed_says_how_it_ended(
    autojump_clock: MockClock, state: State, end: End
) -> None:
    desk = await desk_at_100()
    connection = desk.connection
    with connection.scope:
        connection.written_within(20)
        connection.wait(state, 10)
        await trio.sleep(15)
    assert connection.too_slow() is connection.how_it_ended() is end


async def test_a_write_that_takes_too_long_is_a_slow_reader(autojump_clock: MockClock) -> None:
    desk = await desk_at_100()
    with desk.connection.scope:
        desk.connection.read_within(10)
        desk.connection.written_within(5)
        await trio.sleep(7)
    assert desk.connection.too_slow() is End.SLOW_READER
    desk.connection.close()
    assert desk.transport.done == ["abort"]


async def test_what_was_in_time_was_not_too_slow(autojump_clock: MockClock) -> None:
    desk = await desk_at_100()
    with desk.connection.scope:
        desk.connection.wait(State.HEAD, 10)
    assert desk.connection.too_slow() is None


async def test_what_has_another_cause_was_not_too_slow(autojump_clock: MockClock) -> None:
    desk = await desk_at_100()
    with desk.connection.scope:
        desk.connection.wait(State.HEAD, 10)
        desk.connection.cut(End.EVICTED)
        await trio.lowlevel.checkpoint()
    assert desk.connection.too_slow() is None
    desk.connection.close()
    assert desk.transport.done == ["close"]


async def test_a_write_that_the_kernel_takes_has_no_deadline(autojump_clock: MockClock) -> None:
    desk = await desk_at_100()
    await desk.connection.send(b"all")
    assert (desk.transport.done, desk.left_s) == ([b"all"], inf)


@pytest.mark.parametrize(("flush_s", "end"), [(19, None), (21, End.SLOW_READER)])
async def test_a_write_that_waits_has_its_time(
    autojump_clock: MockClock, flush_s: float, end: End | None
) -> None:
    desk = Desk(Recorded(takes=False, flush_s=flush_s))
    with desk.connection.scope:
        await desk.connection.send(b"some")
        assert desk.left_s == inf
    assert desk.connection.too_slow() is end


async def test_a_last_answer_is_followed_by_a_fin_and_what_still_comes_is_read(
    autojump_clock: MockClock,
) -> None:
    """To close with unread bytes sends an RST, which can undo the answer: RFC 9112 9.6."""
    desk = Desk(Recorded(b"1234", b"5678", b"9", b"0", b"beyond"))
    await desk.connection.say_last(b"no", End.REFUSED)
    assert desk.transport.done == [b"no", "eof"]
    assert desk.transport.arriving == [b"beyond"]
    assert (desk.connection.end, desk.connection.state, desk.left_s) == (End.REFUSED, State.LINGERING, 3)
    desk.connection.close()
    assert desk.transport.done == [b"no", "eof", "close"]


async def test_a_last_answer_is_not_the_cause_where_there_was_one(autojump_clock: MockClock) -> None:
    desk = Desk()
    desk.connection.end = End.OVER_LIMIT
    await desk.connection.say_last(b"no", End.REFUSED)
    assert desk.connection.end is End.OVER_LIMIT


async def test_to_wait_for_the_end_is_to_linger(autojump_clock: MockClock) -> None:
    desk = Desk(Recorded(b"more"))
    desk.connection.wait_idle()
    await desk.connection.wait_for_the_end()
    assert (desk.transport.done, desk.transport.arriving) == (["eof"], [])
    assert (desk.connection.state, desk.left_s) == (State.LINGERING, 3)


@pytest.mark.parametrize(("end", "closing"), [(End.ANSWERED, "close"), (End.STOPPED, "abort")])
async def test_what_is_in_order_is_closed_and_the_rest_is_reset(
    autojump_clock: MockClock, end: End, closing: str
) -> None:
    desk = await desk_at_100()
    desk.connection.end = end
    desk.connection.close()
    assert desk.transport.done == [closing]


async def test_a_client_that_reads_too_slowly_is_reset_whatever_was_to_end_it(
    autojump_clock: MockClock,
) -> None:
    desk = await desk_at_100()
    desk.connection.end = End.DRAINED
    desk.connection.reads_too_slowly()
    desk.connection.close()
    assert desk.transport.done == ["abort"]


async def test_a_last_answer_has_the_time_of_lingering_and_no_more(autojump_clock: MockClock) -> None:
    desk = Desk(Recorded(takes=False, flush_s=10))
    with desk.connection.scope:
        await desk.connection.say_last(b"no", End.REFUSED)
    assert trio.current_time() == 3


async def test_a_part_of_an_answer_is_not_taken_for_the_whole(autojump_clock: MockClock) -> None:
    desk = await desk_at_100()
    desk.connection.end, desk.connection.reset = End.CLIENT_DISCONNECTED, True
    desk.connection.close()
    assert desk.transport.done == ["abort"]
