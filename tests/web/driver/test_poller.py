"""The kernel's word that a peer has left: heard once, whatever stands unread, and of whoever is watched."""

from __future__ import annotations

import os
import select
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import trio
import trio.testing

from fanout.web.driver import poller as poller_module
from fanout.web.driver.poller import END, NEWS, Poller
from tests.web.driver.serving import until

RST = struct.pack("ii", 1, 0)


@contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Their end and ours."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    with theirs, ours:
        yield theirs, ours


@pytest.fixture
async def poller() -> AsyncIterator[Poller]:
    poller = Poller()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poller.run)
        await trio.testing.wait_all_tasks_blocked()
        yield poller
        nursery.cancel_scope.cancel()


def noting(told: list[str], word: str) -> Callable[[int], bool]:
    def tell(events: int) -> bool:
        told.append(word)
        return True

    return tell


async def settled() -> None:
    """Long enough for the kernel and the loop."""
    await trio.sleep(0.05)


@pytest.mark.parametrize("how", ["FIN", "RST", "half-close"])
@pytest.mark.parametrize("unread", [0, 1, 100_000])
async def test_it_is_told_once_however_they_leave(poller: Poller, how: str, unread: int) -> None:
    told: list[str] = []
    with connected() as (theirs, ours):
        poller.watch(ours.fileno(), END, noting(told, "left"))
        theirs.sendall(b"x" * unread)
        await settled()
        assert told == []
        if how == "half-close":
            theirs.shutdown(socket.SHUT_WR)
        else:
            if how == "RST":
                theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            theirs.close()
        await until(lambda: told)
        theirs.close()  # the other half
        await settled()
        poller.forget(ours.fileno())
    assert told == ["left"]


async def test_who_is_forgotten_is_not_told_and_its_descriptor_may_be_used_again(poller: Poller) -> None:
    told: list[str] = []
    with connected() as (theirs, ours):
        descriptor = ours.fileno()
        poller.watch(descriptor, END, noting(told, "first"))
        poller.forget(descriptor)
        poller.forget(descriptor)
        theirs.close()
        await settled()
        assert told == []
    with connected() as (theirs, ours):
        assert ours.fileno() == descriptor or os.dup2(ours.fileno(), descriptor) == descriptor
        poller.watch(descriptor, END, noting(told, "second"))
        theirs.close()
        await until(lambda: told)
    assert told == ["second"]


async def test_one_that_ends_another_of_the_same_pass_does_not_trip_over_it(poller: Poller) -> None:
    told: list[str] = []
    with connected() as (their_1, our_1), connected() as (their_2, our_2):

        def left(name: str) -> bool:
            told.append(name)
            poller.forget(our_1.fileno())
            poller.forget(our_2.fileno())
            return True

        poller.watch(our_1.fileno(), END, lambda _: left("1"))
        poller.watch(our_2.fileno(), END, lambda _: left("2"))
        their_1.close()
        their_2.close()
        await until(lambda: told)
        await settled()
    assert len(told) == 1


async def test_who_was_watched_before_it_ran_is_told_and_nothing_of_it_is_left_open() -> None:
    told: list[str] = []
    poller = Poller()
    with connected() as (theirs, ours):
        poller.watch(ours.fileno(), END, noting(told, "left"))
        theirs.close()
        before = len(os.listdir("/proc/self/fd"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            await until(lambda: told)
            assert len(os.listdir("/proc/self/fd")) == before + 1
            nursery.cancel_scope.cancel()
        assert len(os.listdir("/proc/self/fd")) == before
        poller.watch(ours.fileno(), END, noting(told, "late"))  # nobody tells
    assert told == ["left"]


@pytest.mark.parametrize(("how", "at_most"), [("are served", 32), ("are refused", 100), ("leave", 16)])
async def test_a_pass_tells_a_few_who_wake_a_task_and_many_who_do_not(
    poller: Poller, how: str, at_most: int
) -> None:
    """Who leave all at once are seen to in many short passes; who are refused, in a few."""
    passes: list[int] = []

    class Passes(trio.abc.Instrument):
        def before_io_wait(self, timeout: float) -> None:
            passes.append(0)

    def tell(events: int) -> bool:
        passes[-1] += 1
        return how != "are refused"

    with ExitStack() as stack:
        pairs = [stack.enter_context(connected()) for _ in range(100)]
        for theirs, ours in pairs:
            poller.watch(ours.fileno(), NEWS, tell)
            if how == "leave":
                theirs.close()
            else:
                theirs.sendall(b"x")
        instrument = Passes()
        passes.append(0)
        trio.lowlevel.add_instrument(instrument)
        await until(lambda: sum(passes) == 100)
        trio.lowlevel.remove_instrument(instrument)
    assert max(passes) == at_most


async def test_who_sends_does_not_wait_behind_those_who_leave(poller: Poller) -> None:
    """A thousand have left, and then one asks: it is told first."""
    told: list[str] = []
    with ExitStack() as stack:
        leavers = [stack.enter_context(connected()) for _ in range(1000)]
        theirs, ours = stack.enter_context(connected())
        for _, its in leavers:
            poller.watch(its.fileno(), NEWS, noting(told, "left"))
        poller.watch(ours.fileno(), NEWS, noting(told, "asks"))
        for its, _ in leavers:
            its.close()
        theirs.sendall(b"x")
        await until(lambda: len(told) == 1001)
    assert told[0] == "asks"
    assert Counter(told) == {"left": 1000, "asks": 1}


async def test_a_pass_looks_at_so_many_leavers_and_no_more(
    poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it stays short however many there are. Who stands behind them is heard of a few passes later."""
    monkeypatch.setattr(poller_module, "_SORTED_A_PASS", 64)
    told: list[str] = []
    with ExitStack() as stack:
        leavers = [stack.enter_context(connected()) for _ in range(200)]
        theirs, ours = stack.enter_context(connected())
        for _, its in leavers:
            poller.watch(its.fileno(), NEWS, noting(told, "left"))
        poller.watch(ours.fileno(), NEWS, noting(told, "asks"))
        for its, _ in leavers:
            its.close()
        theirs.sendall(b"x")
        await until(lambda: len(told) == 201)
    assert told.index("asks") == 3 * 16  # behind 3 × 64, in the fourth pass


def test_a_pass_ends_whatever_the_kernel_tells_of_those_who_are_forgotten() -> None:
    """A socket that is forgotten and still open may be told of for ever."""

    class Endless:
        asked = 0

        def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
            self.asked += 1
            assert self.asked < 100
            return [(descriptor, select.EPOLLIN) for descriptor in range(most)]

    endless: Any = Endless()  # all that is used of an epoll
    Poller()._tell(endless)
    assert endless.asked == 16


async def test_who_ends_before_it_was_its_turn_is_not_told_nor_is_its_successor(poller: Poller) -> None:
    """A descriptor is used again as soon as it is closed, so it does not say who was meant."""
    told: list[str] = []
    with ExitStack() as stack:
        leavers = [stack.enter_context(connected()) for _ in range(100)]

        def left(events: int) -> bool:
            told.append("left")
            for _, its in leavers:
                poller.forget(its.fileno())
                # As `watch` would, but for the kernel, which would tell the successor on its own.
                poller._watched[its.fileno()] = NEWS, noting(told, "successor")
            return True

        for _, its in leavers:
            poller.watch(its.fileno(), NEWS, left)
        for its, _ in leavers:
            its.close()
        await until(lambda: told)
        await settled()
    assert told == ["left"]
