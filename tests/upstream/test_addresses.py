"""The addresses of one name, as values: the order that they are tried in, and what is told of them."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Sequence

import httpx
import pytest
import trio
import trio.testing

from fanout.upstream.addresses import Addresses, Attempt
from fanout.upstream.statistics import NameStatistics
from fanout.upstream.wire import Address

UNKNOWN = NameStatistics(
    name="a.test",
    addresses=(),
    tried_last=(),
    passed_over=0,
    age_s=None,
    look_ups=0,
    failures=0,
    last_error=None,
)


def v4(*numbers: int) -> list[Address]:
    return [(socket.AF_INET, (f"192.0.2.{number}", 80)) for number in numbers]


def v6(*numbers: int) -> list[Address]:
    return [(socket.AF_INET6, (f"2001:db8::{number}", 80, 0, 0)) for number in numbers]


def known(*addresses: Address) -> Addresses:
    found = Addresses("a.test")
    found.looked_up(addresses)
    return found


async def test_what_is_told_of_a_name_from_its_first_look_up_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    one, two = v4(1, 2)
    name = Addresses("a.test")
    assert name.statistics() == UNKNOWN

    name.failed(OSError("no such name"))
    told = dataclasses.replace(UNKNOWN, look_ups=1, failures=1, last_error="no such name")
    assert name.statistics() == told

    await trio.sleep(5)
    name.looked_up([one, two, one])
    both = ("192.0.2.1", "192.0.2.2")
    told = dataclasses.replace(told, addresses=both, age_s=0, look_ups=2, last_error=None)
    assert name.statistics() == told

    await trio.sleep(2)
    name.failed(TimeoutError())
    told = dataclasses.replace(told, age_s=2, look_ups=3, failures=2, last_error="TimeoutError()")
    assert name.statistics() == told
    name.failed(ValueError("odd"))
    told = dataclasses.replace(told, look_ups=4, failures=3, last_error="ValueError('odd')")
    assert name.statistics() == told

    began_at = trio.current_time()
    name.learn([Attempt(one, began_at, failed=True), Attempt(two, began_at, connected=True)])
    told = dataclasses.replace(told, tried_last=both[:1], passed_over=1)
    assert name.statistics() == told
    name.learn([Attempt(two, began_at, failed=True), Attempt(one, began_at, connected=True)])
    assert name.statistics() == dataclasses.replace(told, tried_last=(), passed_over=2)  # none would be first


async def test_calls_wait_for_the_first_look_up_alone(autojump_clock: trio.testing.MockClock) -> None:
    name = Addresses("a.test")
    with trio.move_on_after(1):
        await name.ready()
        pytest.fail("nothing was looked up")
    name.failed(OSError("no such name"))
    with pytest.raises(httpx.ConnectError, match=r"^a\.test has no address: no such name$"):
        await name.ready()
    name.looked_up(v4(1))
    await name.ready()


async def test_a_look_up_without_an_address_changes_nothing() -> None:
    name = known(*v4(1))
    with pytest.raises(OSError, match=r"^the look-up gave no address$"):
        name.looked_up([])
    assert (name.known, name.statistics().look_ups) == ((*v4(1),), 1)


@pytest.mark.parametrize(
    ("found", "orders"),
    [
        (v4(1), [v4(1), v4(1)]),
        (v4(1, 2, 3), [v4(1, 2, 3), v4(2, 3, 1), v4(3, 1, 2), v4(1, 2, 3)]),
        ([*v6(1), *v4(1)], [[*v6(1), *v4(1)]] * 2),
        (
            [*v4(1), *v6(1, 2), *v4(2), *v6(3)],
            [
                [*v4(1), *v6(1), *v4(2), *v6(2, 3)],
                [*v4(2), *v6(1), *v4(1), *v6(2, 3)],
                [*v4(1), *v6(1), *v4(2), *v6(2, 3)],
            ],
        ),
    ],
)
async def test_connections_begin_with_the_next_address_of_the_first_family(
    found: Sequence[Address], orders: Sequence[Sequence[Address]]
) -> None:
    """The second address is the other family's, so one that does not work costs one delay."""
    name = known(*found)
    assert [list(name.in_turn()) for _ in orders] == orders


ONE, TWO, THREE = v4(1, 2, 3)


@pytest.mark.parametrize(
    ("attempts", "last"),
    [
        ([Attempt(ONE, 0, failed=True)], []),
        ([Attempt(ONE, 0, failed=True), Attempt(TWO, 0, failed=True)], []),
        ([Attempt(ONE, 0, connected=True)], []),
        ([Attempt(ONE, 0, failed=True), Attempt(TWO, 0, connected=True)], [ONE]),
        ([Attempt(ONE, 0, connected=True), Attempt(TWO, 0, failed=True)], []),
        ([Attempt(ONE, 0), Attempt(TWO, 0.05, connected=True)], [ONE]),
        ([Attempt(ONE, 0.05), Attempt(TWO, 0.1, connected=True)], []),
        ([Attempt(ONE, 0, connected=True), Attempt(TWO, 0)], []),
        ([Attempt(ONE, 0), Attempt(TWO, 0, failed=True), Attempt(THREE, 0)], [ONE, THREE]),
        ([Attempt(ONE, 0), Attempt(TWO, 0), Attempt(THREE, 0)], []),
        ([Attempt(ONE, 0), Attempt(TWO, 0.2), Attempt(THREE, 0.2)], [ONE]),
    ],
    ids=str,
)
async def test_what_a_call_teaches_after_250_ms(
    attempts: Sequence[Attempt], last: Sequence[Address], autojump_clock: trio.testing.MockClock
) -> None:
    """Failed next to one that connects, or silent for so long. An address behind the winner is not judged."""
    name = known(ONE, TWO, THREE)
    await trio.sleep(0.25)
    name.learn(attempts)
    assert list(name.in_turn())[3 - len(last) :] == last
    assert len(name.in_turn()) == 3
    assert name.statistics().passed_over == (3 if not last and len(attempts) == 3 else len(last))


async def test_an_address_that_was_put_last_has_its_time_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its silence begins at zero when it is put last, when it connects, and with every look-up."""

    async def silence(address: Address, for_s: float) -> int:
        began_at = trio.current_time()
        await trio.sleep(for_s)
        name.learn([Attempt(address, began_at)])
        return name.statistics().passed_over

    name = known(ONE, TWO)
    assert [await silence(ONE, 0.2), await silence(ONE, 0.04)] == [0, 0]
    name.learn([Attempt(ONE, 0.0, connected=True)])
    assert [await silence(ONE, 0.2), await silence(ONE, 0.04), await silence(ONE, 0.01)] == [0, 0, 1]
    assert [await silence(TWO, 0.24), await silence(TWO, 0.01)] == [1, 2]
    assert name.statistics().tried_last == ()  # both would be
    assert [await silence(ONE, 0.24), await silence(ONE, 0.01)] == [2, 3]
    name.looked_up([ONE, TWO])
    assert [await silence(ONE, 0.24), await silence(ONE, 0.01)] == [3, 4]


async def test_time_in_which_several_calls_wait_counts_once(autojump_clock: trio.testing.MockClock) -> None:
    name = known(ONE, TWO)
    await trio.sleep(0.2)
    for began_at in (0.0, 0.1, 0.15):
        name.learn([Attempt(ONE, began_at)])
    await trio.sleep(0.04)
    name.learn([Attempt(ONE, 0.1)])
    assert name.statistics().passed_over == 0
    await trio.sleep(0.01)
    name.learn([Attempt(ONE, 0.1)])
    assert name.statistics().tried_last == ("192.0.2.1",)


async def test_an_address_that_the_name_no_longer_has_teaches_nothing() -> None:
    name = known(ONE, TWO)
    name.learn([Attempt(THREE, -10), Attempt(TWO, 0, connected=True)])
    name.learn([Attempt(THREE, -10, failed=True), Attempt(TWO, 0, connected=True)])
    name.learn([])
    assert (list(name.in_turn()), name.statistics().passed_over) == ([ONE, TWO], 0)
