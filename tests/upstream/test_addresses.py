"""The addresses of one name: in which order they are tried, and what is learnt from each attempt."""

from __future__ import annotations

import socket

import httpx
import pytest
import trio
from trio.testing import MockClock

from fanout.upstream.addresses import Addresses, Attempt
from fanout.upstream.statistics import NameStatistics
from fanout.upstream.wire import Address

A, B, C = ((socket.AF_INET, (f"192.0.2.{number}", 80)) for number in (1, 2, 3))
SIX, SEVEN = ((socket.AF_INET6, (f"2001:db8::{number}", 80)) for number in (6, 7))


async def known(*found: Address) -> Addresses:
    """At 100 s by Trio's clock, so that a time is not taken for a moment."""
    await trio.sleep(100)
    addresses = Addresses("name")
    addresses.looked_up(found)
    return addresses


def order(addresses: Addresses) -> list[Address]:
    return list(addresses.in_turn())


async def silent(addresses: Addresses, address: Address, for_s: float) -> None:
    """A call waits for it in vain, and ends."""
    attempt = Attempt(address, trio.current_time())
    await trio.sleep(for_s)
    addresses.learn([attempt])


async def test_before_the_first_look_up_nothing_is_known(autojump_clock: MockClock) -> None:
    await trio.sleep(100)
    addresses = Addresses("name")
    assert addresses.statistics() == NameStatistics(
        name="name",
        addresses=(),
        tried_last=(),
        passed_over=0,
        age_s=None,
        look_ups=0,
        failures=0,
        last_error=None,
    )
    assert order(addresses) == []
    addresses.learn([Attempt(A, 0, failed=True), Attempt(B, 0)])  # a name that was forgotten meanwhile
    assert order(addresses) == []
    with trio.move_on_after(5) as waiting:
        await addresses.ready()
    assert waiting.cancelled_caught


async def test_what_a_look_up_finds(autojump_clock: MockClock) -> None:
    addresses = await known(A, B, A)
    addresses.looked_up([A, B, A])
    await addresses.ready()
    await trio.sleep(5)
    assert addresses.known == (A, B)
    statistics = addresses.statistics()
    assert (statistics.addresses, statistics.age_s) == (("192.0.2.1", "192.0.2.2"), 5)
    assert (statistics.look_ups, statistics.failures, statistics.last_error) == (2, 0, None)
    with pytest.raises(OSError, match="no address"):
        addresses.looked_up([])
    assert addresses.known == (A, B)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError("no such name"), "no such name"),
        (OSError(), "OSError()"),
        (ValueError("x"), "ValueError('x')"),
    ],
)
async def test_a_look_up_that_fails_leaves_what_is_known(
    autojump_clock: MockClock, error: Exception, told: str
) -> None:
    addresses = await known(A)
    for _ in range(2):
        addresses.failed(error)
    statistics = addresses.statistics()
    assert (statistics.look_ups, statistics.failures, statistics.last_error) == (3, 2, told)
    assert statistics.age_s == 0
    await addresses.ready()
    assert order(addresses) == [A]
    addresses.looked_up([B])
    assert (addresses.error, order(addresses)) == (None, [B])


async def test_a_name_that_was_never_found_is_an_error_of_the_connection(autojump_clock: MockClock) -> None:
    addresses = Addresses("name")
    addresses.failed(OSError("no such name"))
    with pytest.raises(httpx.ConnectError, match=r"^name has no address: no such name$"):
        await addresses.ready()


async def test_healthy_addresses_take_turns_and_the_other_family_is_second(autojump_clock: MockClock) -> None:
    addresses = await known(A, SIX, B, SEVEN, C)
    assert order(addresses) == [A, SIX, B, C, SEVEN]
    assert order(addresses) == [B, SIX, C, A, SEVEN]
    assert order(addresses) == [C, SIX, A, B, SEVEN]
    assert order(addresses) == [A, SIX, B, C, SEVEN]


async def test_one_address_has_every_turn(autojump_clock: MockClock) -> None:
    addresses = await known(A)
    assert order(addresses) == order(addresses) == [A]


async def test_an_address_is_tried_last_after_a_silence_of_a_quarter_of_a_second(
    autojump_clock: MockClock,
) -> None:
    """Of several calls together, one after the other. Rule 1."""
    addresses = await known(A, B, C)
    await silent(addresses, A, 0.125)
    await silent(addresses, A, 0.0625)
    assert addresses.statistics().tried_last == ()
    await silent(addresses, A, 0.0625)
    assert addresses.statistics().tried_last == ("192.0.2.1",)
    assert addresses.statistics().passed_over == 1
    assert order(addresses) == [B, C, A]
    await silent(addresses, B, 0.25)
    assert (addresses.statistics().passed_over, order(addresses)) == (2, [C, A, B])


async def test_time_in_which_several_calls_wait_counts_once(autojump_clock: MockClock) -> None:
    addresses = await known(A, B)
    attempts = [Attempt(A, trio.current_time()) for _ in range(3)]
    await trio.sleep(0.125)
    for attempt in attempts:
        addresses.learn([attempt])
    assert addresses.statistics().tried_last == ()
    late = Attempt(A, trio.current_time() - 0.0625)
    await trio.sleep(0.0625)
    addresses.learn([late])
    assert addresses.statistics().tried_last == ()
    await silent(addresses, A, 0.0625)
    assert addresses.statistics().tried_last == ("192.0.2.1",)


async def test_the_silence_of_an_address_that_connects_begins_again(autojump_clock: MockClock) -> None:
    """Rule 2. What was tried behind it is not judged."""
    addresses = await known(A, B)
    await silent(addresses, A, 0.2)
    attempts = [Attempt(A, trio.current_time(), connected=True), Attempt(B, 0)]
    addresses.learn(attempts)
    await silent(addresses, A, 0.2)
    assert addresses.statistics().tried_last == ()


async def test_an_address_that_fails_while_another_connects_is_tried_last(autojump_clock: MockClock) -> None:
    """Rule 2. Where all fail, none is better."""
    addresses = await known(A, B)
    addresses.learn([Attempt(A, 100, failed=True), Attempt(B, 100, failed=True)])
    assert addresses.statistics().tried_last == ()
    addresses.learn([Attempt(A, 100, failed=True), Attempt(B, 100, connected=True)])
    assert addresses.statistics().tried_last == ("192.0.2.1",)


async def test_when_all_would_be_last_none_is_and_each_has_its_quarter_again(
    autojump_clock: MockClock,
) -> None:
    """Rule 3."""
    addresses = await known(A, B)
    await silent(addresses, A, 0.25)
    await silent(addresses, B, 0.25)
    statistics = addresses.statistics()
    assert (statistics.tried_last, statistics.passed_over) == ((), 2)
    assert order(addresses) == [A, B]
    await silent(addresses, A, 0.2)
    assert addresses.statistics().tried_last == ()


async def test_every_look_up_begins_again(autojump_clock: MockClock) -> None:
    """Rule 3. Of an address that is gone nothing is learnt."""
    addresses = await known(A, B)
    await silent(addresses, A, 0.25)
    await silent(addresses, B, 0.2)
    addresses.looked_up([A, B, C])
    assert addresses.statistics().tried_last == ()
    await silent(addresses, B, 0.2)
    await silent(addresses, SIX, 10)
    assert addresses.statistics().tried_last == ()
    assert order(addresses) == [A, B, C]
