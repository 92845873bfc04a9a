"""Names are looked up by the service, never by a request (G12); in virtual time, with a scripted DNS."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
import trio.testing

from fanout.upstream import resolver as resolver_module
from fanout.upstream.addresses import HEAD_START_S, Attempt
from fanout.upstream.resolver import MAX_THREADS, REFRESH_S, RETRY_S, Resolver, look_up_in_thread
from fanout.upstream.transport import PoolTransport
from fanout.upstream.wire import Address
from tests.upstream.raw_server import echo_path, raw_server

Answer = Sequence[str] | OSError


def addresses(*hosts: str) -> list[Address]:
    return [(socket.AF_INET6 if ":" in host else socket.AF_INET, (host, 80)) for host in hosts]


class ScriptedDns:
    """The n-th look-up takes so long and gives that; after the last one every look-up hangs."""

    def __init__(self, *script: tuple[float, Answer]) -> None:
        self._script = list(script)
        self.look_ups: list[float] = []
        self.at_a_time = 0

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        self.look_ups.append(trio.current_time())
        self.at_a_time += 1
        assert self.at_a_time == 1
        try:
            if not self._script:
                await trio.sleep_forever()
            delay_s, result = self._script.pop(0)
            await trio.sleep(delay_s)
        finally:
            self.at_a_time -= 1
        if isinstance(result, OSError):
            raise result
        return addresses(*result)


@asynccontextmanager
async def running(dns: ScriptedDns) -> AsyncIterator[Resolver]:
    resolver = Resolver(dns)
    async with trio.open_nursery() as nursery:
        await nursery.start(resolver.run)
        yield resolver
        nursery.cancel_scope.cancel()


async def first_address(resolver: Resolver) -> str:
    found = await resolver.addresses("upstream", 80)
    return str(found[0][1][0])


@pytest.mark.parametrize("literal", ["127.0.0.1", "::1", "192.0.2.7"])
async def test_an_ip_literal_asks_nobody_and_needs_no_task(literal: str) -> None:
    dns = ScriptedDns()
    resolver = Resolver(dns)
    resolver.want(literal, 80)
    [(family, where)] = await resolver.addresses(literal, 80)
    assert where[:2] == (literal, 80)
    assert family == (socket.AF_INET6 if ":" in literal else socket.AF_INET)
    assert resolver.statistics() == ()


@pytest.mark.parametrize(
    "name",
    ["a.test", "localhost", "999.1.1.1", "a..b", "x" * 64 + ".test", "", "xn--", "::1%nowhere", "[::1]"],
)
async def test_what_is_no_ip_literal_is_a_name_and_wanted_once(
    name: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Whether it is one is found without a question to anybody."""
    dns = ScriptedDns((0, ["192.0.2.1"]))
    async with running(dns) as resolver:
        for _ in range(2):
            resolver.want(name, 80)
        await trio.sleep(1)
        assert [known.name for known in resolver.statistics()] == [name]
        assert len(dns.look_ups) == 1
        assert [where for _, where in await resolver.addresses(name, 80)] == [("192.0.2.1", 80)]


async def test_a_literal_is_an_address_of_its_family_and_port() -> None:
    resolver = Resolver(ScriptedDns())
    assert await resolver.addresses("192.0.2.7", 8080) == ((socket.AF_INET, ("192.0.2.7", 8080)),)
    assert await resolver.addresses("::1", 8443) == ((socket.AF_INET6, ("::1", 8443, 0, 0)),)


async def test_each_port_of_a_name_is_looked_up_and_learnt_by_itself(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A wanted name is looked up as soon as there is a task for it; which says what it does."""
    asked: list[tuple[str, int, str]] = []

    async def look_up(host: str, port: int) -> Sequence[Address]:
        asked.append((host, port, trio.lowlevel.current_task().name))
        await trio.lowlevel.checkpoint()
        return addresses("192.0.2.1", "192.0.2.2")

    resolver = Resolver(look_up)
    resolver.want("a.test", 80)
    resolver.want("a.test", 443)
    async with trio.open_nursery() as nursery:
        await nursery.start(resolver.run)
        await trio.sleep(1)
        assert sorted(asked) == [("a.test", 80 + n, "resolve a.test") for n in (0, 363)]
        first, second = addresses("192.0.2.1", "192.0.2.2")
        failed = [Attempt(first, 0, failed=True), Attempt(second, 0, connected=True)]
        resolver.learn("a.test", 443, failed)
        resolver.learn("b.test", 80, failed)
        assert [known.tried_last for known in resolver.statistics()] == [(), ("192.0.2.1",)]
        nursery.cancel_scope.cancel()


async def test_a_name_is_asked_for_again_at_its_times_and_sooner_after_a_failure(
    autojump_clock: trio.testing.MockClock,
) -> None:
    dns = ScriptedDns(*[(0, ["192.0.2.1"])] * 2, (0, OSError("x")), *[(0, ["192.0.2.1"])] * 2)
    async with running(dns) as resolver:
        await first_address(resolver)
        await trio.sleep(122)
    assert dns.look_ups == [0, 30, 60, 61, 91, 121]


async def test_when_its_task_has_ended_a_name_is_a_loud_error(autojump_clock: trio.testing.MockClock) -> None:
    dns = ScriptedDns((0, ["192.0.2.1"]))
    async with running(dns) as resolver:
        await first_address(resolver)
    with pytest.raises(
        RuntimeError, match=r"^names are resolved by PoolTransport\.run\(\), which is not running$"
    ):
        await first_address(resolver)


async def test_the_system_is_asked_for_streams_and_gives_up_nothing_of_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of every family. A call that ends does not wait for the thread, which is another one."""
    asked: list[tuple[object, ...]] = []
    release = threading.Event()
    where4, where6 = ("192.0.2.1", 80), ("2001:db8::1", 80, 0, 0)

    def ask(*args: object) -> list[Any]:
        asked.append((*args, threading.current_thread() is threading.main_thread()))
        release.wait(20)
        return [(family, 1, 6, "", where) for family, where in ((10, where6), (2, where4))]

    monkeypatch.setattr("socket.getaddrinfo", ask)
    before = resolver_module._threads.borrowed_tokens  # of other tests, whose threads nobody waits for
    with trio.fail_after(10):
        with trio.move_on_after(0.01) as scope:
            await look_up_in_thread("a.test", 80)
        assert scope.cancelled_caught
        release.set()
        assert await look_up_in_thread("a.test", 80) == [(10, where6), (2, where4)]
        while resolver_module._threads.borrowed_tokens > before:  # of the first: see below
            await trio.sleep(0.001)
    assert asked == [(b"a.test", 80, 0, socket.SOCK_STREAM, False)] * 2


async def test_calls_for_an_unknown_name_share_one_look_up(autojump_clock: trio.testing.MockClock) -> None:
    dns = ScriptedDns((2.0, ["192.0.2.1"]))
    async with running(dns) as resolver:
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(first_address, resolver)
        assert trio.current_time() == start + 2.0
        assert len(dns.look_ups) == 1


async def test_a_known_name_is_answered_without_waiting_and_refreshed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    dns = ScriptedDns((0, ["192.0.2.1"]), (1, ["192.0.2.2"]))
    async with running(dns) as resolver:
        assert await first_address(resolver) == "192.0.2.1"
        await trio.sleep(REFRESH_S + 0.5)
        assert len(dns.look_ups) == 2
        start = trio.current_time()
        assert await first_address(resolver) == "192.0.2.1"
        assert trio.current_time() == start
        await trio.sleep(1)
        assert await first_address(resolver) == "192.0.2.2"


@pytest.mark.parametrize("later", [(0.0, OSError("SERVFAIL")), None], ids=["fails", "hangs"])
async def test_a_stale_answer_is_kept_when_dns_fails_or_hangs(
    later: tuple[float, Answer] | None, autojump_clock: trio.testing.MockClock
) -> None:
    dns = ScriptedDns((0, ["192.0.2.1"]), *([later] if later else []))
    async with running(dns) as resolver:
        await first_address(resolver)
        await trio.sleep(REFRESH_S + RETRY_S / 2)
        assert await first_address(resolver) == "192.0.2.1"
        [name] = resolver.statistics()
        assert name.addresses == ("192.0.2.1",)
        assert name.age_s == pytest.approx(REFRESH_S + RETRY_S / 2)
        assert (name.failures, name.last_error) == ((1, "SERVFAIL") if later else (0, None))


async def test_a_failed_look_up_fails_its_calls_and_is_tried_again_soon(
    autojump_clock: trio.testing.MockClock,
) -> None:
    dns = ScriptedDns((3, OSError("no such name")), (0, ["192.0.2.1"]))
    async with running(dns) as resolver:
        with pytest.raises(httpx.ConnectError, match="upstream has no address: no such name"):
            await first_address(resolver)
        start = trio.current_time()
        with pytest.raises(httpx.ConnectError):
            await first_address(resolver)
        assert trio.current_time() == start
        await trio.sleep(RETRY_S + 0.1)
        assert await first_address(resolver) == "192.0.2.1"


async def test_a_waiting_call_ends_with_its_own_scope(autojump_clock: trio.testing.MockClock) -> None:
    async with running(ScriptedDns()) as resolver:
        with trio.move_on_after(5) as scope:
            await first_address(resolver)
        assert scope.cancelled_caught


async def test_without_its_task_a_name_is_a_loud_error_and_not_a_hang() -> None:
    with pytest.raises(RuntimeError, match="not running"):
        await Resolver(ScriptedDns()).addresses("upstream", 80)


async def test_connections_take_turns_on_the_addresses(autojump_clock: trio.testing.MockClock) -> None:
    """Families alternate, so that one that does not work costs one delay."""
    dns = ScriptedDns((0, ["2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2"]))
    async with running(dns) as resolver:
        orders = [[where[0] for _, where in await resolver.addresses("upstream", 80)] for _ in range(3)]
    assert orders == [
        ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2"],
        ["2001:db8::2", "192.0.2.1", "2001:db8::1", "192.0.2.2"],
        ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2"],
    ]


async def test_an_address_that_did_not_answer_is_tried_last_until_the_next_refresh(
    autojump_clock: trio.testing.MockClock,
) -> None:
    both = ["192.0.2.1", "192.0.2.2"]
    async with running(ScriptedDns((0, both), (0, both))) as resolver:
        await first_address(resolver)
        first, second = addresses(*both)
        now = trio.current_time()
        resolver.learn(
            "upstream", 80, [Attempt(first, now, failed=True), Attempt(second, now, connected=True)]
        )
        assert {await first_address(resolver) for _ in range(4)} == {"192.0.2.2"}
        await trio.sleep(REFRESH_S + 1)
        assert {await first_address(resolver) for _ in range(4)} == set(both)


async def test_a_look_up_begins_again_with_every_address(autojump_clock: trio.testing.MockClock) -> None:
    """Each once, in the order of the look-up, and with no silence: as if nothing had been learnt."""
    both = ["192.0.2.1", "192.0.2.2"]
    async with running(ScriptedDns((0, both), (0, both), (0, both))) as resolver:
        await first_address(resolver)
        first, second = addresses(*both)

        async def be_silent(address: Address, for_s: float) -> None:
            began_at = trio.current_time()
            await trio.sleep(for_s)
            resolver.learn("upstream", 80, [Attempt(address, began_at)])

        def tried_last() -> tuple[str, ...]:
            return resolver.statistics()[0].tried_last

        await be_silent(first, HEAD_START_S)
        await be_silent(second, 0.8 * HEAD_START_S)
        assert tried_last() == (both[0],)
        await trio.sleep(REFRESH_S)
        assert tried_last() == ()
        assert [list(await resolver.addresses("upstream", 80)) for _ in range(3)] == [
            [first, second],
            [second, first],
            [first, second],
        ]
        await be_silent(second, 0.8 * HEAD_START_S)
        assert tried_last() == ()
        await be_silent(second, 0.2 * HEAD_START_S)
        assert tried_last() == (both[1],)


async def test_look_ups_have_their_own_threads_and_at_most_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """G12: names that hang take none of the threads that others need, and no more than they may."""
    release = threading.Event()
    hanging = 0

    def hang(*_: object) -> list[Any]:
        nonlocal hanging
        hanging += 1
        release.wait(30)
        return []

    monkeypatch.setattr("socket.getaddrinfo", hang)
    async with trio.open_nursery() as nursery:
        for number in range(MAX_THREADS + 3):
            nursery.start_soon(look_up_in_thread, f"{number}.invalid", 80)
        try:
            with trio.fail_after(20):
                while hanging < MAX_THREADS:
                    await trio.sleep(0.001)
            await trio.testing.wait_all_tasks_blocked()
            assert hanging == 8
            assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
        finally:
            release.set()  # a thread gives its place back only while the event loop runs
    assert hanging == MAX_THREADS + 3


async def test_the_systems_resolver_is_asked_in_a_thread_and_knows_etc_hosts() -> None:
    found = await look_up_in_thread("localhost", 80)
    assert ("127.0.0.1", 80) in [where for _, where in found] or ("::1", 80, 0, 0) in [w for _, w in found]
    with pytest.raises(OSError, match=r"."):
        await look_up_in_thread("name.invalid", 80)


async def test_a_dns_server_that_hangs_costs_one_thread_and_no_running_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """G12: known origins are unaffected, and the number of threads does not grow with the calls."""
    release, entered = threading.Event(), threading.Event()
    ask = socket.getaddrinfo

    def hang(host: bytes | str, *args: int) -> list[Any]:
        if host != b"hangs.invalid":
            return ask(host, *args)
        entered.set()
        release.wait(30)
        raise socket.gaierror("timed out")

    async with raw_server(echo_path) as server, trio.open_nursery() as nursery:
        transport = PoolTransport(max_connections=100, origins=["http://hangs.invalid/"])
        async with httpx.AsyncClient(transport=transport, timeout=None, trust_env=False) as client:
            await client.get(server.url("/warm"))
            threads = threading.active_count()
            monkeypatch.setattr("socket.getaddrinfo", hang)
            await nursery.start(transport.run)  # not held up

            async def to_the_unknown() -> None:
                with trio.move_on_after(0.2) as scope:
                    await client.get("http://hangs.invalid/")
                assert scope.cancelled_caught

            async with trio.open_nursery() as calls:
                for _ in range(50):
                    calls.start_soon(to_the_unknown)
                assert await trio.to_thread.run_sync(entered.wait, 5)
                for number in range(20):
                    assert (await client.get(server.url(f"/{number}"))).content == b"/%d" % number
            assert threading.active_count() <= threads + 2  # the look-up's, and the one used to wait here
            release.set()
            nursery.cancel_scope.cancel()
