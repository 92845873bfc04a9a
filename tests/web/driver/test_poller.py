"""The kernel's word that a peer has left: heard once, whatever stands unread, and of whoever is watched."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import trio
import trio.testing

from fanout.web.driver.poller import END, Poller
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


async def settled() -> None:
    """Long enough for the kernel and the loop."""
    await trio.sleep(0.05)


@pytest.mark.parametrize("how", ["FIN", "RST", "half-close"])
@pytest.mark.parametrize("unread", [0, 1, 100_000])
async def test_it_is_told_once_however_they_leave(poller: Poller, how: str, unread: int) -> None:
    told: list[str] = []
    with connected() as (theirs, ours):
        poller.watch(ours.fileno(), END, lambda _: told.append("left"))
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
        poller.watch(descriptor, END, lambda _: told.append("first"))
        poller.forget(descriptor)
        poller.forget(descriptor)
        theirs.close()
        await settled()
        assert told == []
    with connected() as (theirs, ours):
        assert ours.fileno() == descriptor or os.dup2(ours.fileno(), descriptor) == descriptor
        poller.watch(descriptor, END, lambda _: told.append("second"))
        theirs.close()
        await until(lambda: told)
    assert told == ["second"]


async def test_one_that_ends_another_of_the_same_pass_does_not_trip_over_it(poller: Poller) -> None:
    told: list[str] = []
    with connected() as (their_1, our_1), connected() as (their_2, our_2):

        def left(name: str) -> None:
            told.append(name)
            poller.forget(our_1.fileno())
            poller.forget(our_2.fileno())

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
        poller.watch(ours.fileno(), END, lambda _: told.append("left"))
        theirs.close()
        before = len(os.listdir("/proc/self/fd"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            await until(lambda: told)
            assert len(os.listdir("/proc/self/fd")) == before + 1
            nursery.cancel_scope.cancel()
        assert len(os.listdir("/proc/self/fd")) == before
        poller.watch(ours.fileno(), END, lambda _: told.append("late"))  # nobody tells
    assert told == ["left"]
