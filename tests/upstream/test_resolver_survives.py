"""Whatever a look-up raises, the service goes on (G10): exceptions in virtual time, threads for real."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence

import httpx
import pytest
import trio
import trio.testing

from fanout.upstream.connect import why_unreachable
from fanout.upstream.resolver import REFRESH_S, RETRY_S
from fanout.upstream.transport import PoolTransport
from fanout.upstream.wire import Address, Wire
from tests.upstream.raw_server import answer
from tests.upstream.scripted_wire import ScriptedWire

URL = "http://upstream.test/work"
FAILURES = [
    OSError(),
    socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    RuntimeError("can't start new thread"),
    UnicodeError("label empty or too long"),
    MemoryError(),
    ValueError("embedded null byte"),
    OverflowError("port must be 0-65535"),
]


class Upstream:
    """A transport whose look-ups play a script, `None` for an address, and whose upstream always answers."""

    def __init__(self, *look_ups: Exception | None) -> None:
        self._look_ups = list(look_ups)
        self.transport = PoolTransport(
            max_connections=9, origins=[URL], dial=self._dial, look_up=self._look_up
        )

    async def _look_up(self, host: str, port: int) -> Sequence[Address]:
        await trio.lowlevel.checkpoint()
        failure = self._look_ups.pop(0) if self._look_ups else None
        if failure is not None:
            raise failure
        return [(socket.AF_INET, ("192.0.2.1", port))]

    async def _dial(self, address: Address) -> Wire:
        await trio.lowlevel.checkpoint()
        return ScriptedWire([answer(b"{}", b"Connection: close")])

    async def get(self) -> bytes:
        return (await self.transport.handle_async_request(httpx.Request("GET", URL))).content


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
async def test_whatever_a_look_up_raises_it_has_failed_and_is_repeated_soon(
    failure: Exception, autojump_clock: trio.testing.MockClock
) -> None:
    """G10: no thread, no memory, no name: calls to it fail as `unreachable`, and no other does."""
    upstream = Upstream(failure)
    async with trio.open_nursery() as nursery:
        await nursery.start(upstream.transport.run)
        with pytest.raises(httpx.ConnectError, match="has no address"):
            await upstream.get()
        await trio.sleep(RETRY_S + 0.1)
        assert await upstream.get() == b"{}"
        nursery.cancel_scope.cancel()
    [name] = upstream.transport.statistics().names
    assert (name.look_ups, name.failures, name.last_error) == (2, 1, None)


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
async def test_a_refresh_that_fails_keeps_the_addresses_and_says_why(
    failure: Exception, autojump_clock: trio.testing.MockClock
) -> None:
    """G10."""
    upstream = Upstream(None, failure)
    async with trio.open_nursery() as nursery:
        await nursery.start(upstream.transport.run)
        assert await upstream.get() == b"{}"
        await trio.sleep(REFRESH_S + RETRY_S / 2)
        assert await upstream.get() == b"{}"
        [name] = upstream.transport.statistics().names
        assert name.failures == 1
        assert name.last_error
        nursery.cancel_scope.cancel()


async def test_a_look_up_that_finds_nothing_has_failed(autojump_clock: trio.testing.MockClock) -> None:
    async def finds_nothing(host: str, port: int) -> Sequence[Address]:
        await trio.lowlevel.checkpoint()
        return []

    transport = PoolTransport(max_connections=1, origins=[URL], look_up=finds_nothing)
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run)
        with pytest.raises(httpx.ConnectError, match="the look-up gave no address"):
            await transport.handle_async_request(httpx.Request("GET", URL))
        nursery.cancel_scope.cancel()


NO_NAMES = ["a..b", "x" * 64 + ".test", ".a"]


@pytest.mark.parametrize("host", NO_NAMES)
async def test_a_host_that_is_no_name_is_unreachable_and_no_crash(host: str) -> None:
    """G10: the system's resolver is asked, and it raises what it likes."""
    url = f"http://{host}/work"
    transport = PoolTransport(max_connections=1, origins=[url])
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run)
        with trio.fail_after(20), pytest.raises(httpx.ConnectError):
            await transport.handle_async_request(httpx.Request("GET", url))
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "url",
    [*(f"http://{host}/" for host in NO_NAMES), "http://999.999.999.999/", "http://xn--/", "http://a:99999/"],
)
async def test_a_look_at_an_upstream_that_cannot_be_one_is_a_few_words(url: str) -> None:
    with trio.fail_after(20), trio.testing.assert_checkpoints():  # whatever is wrong with it
        assert await why_unreachable(url)


# The limit is the kernel's, so it is set in a process of its own, and not as root, for whom there is none.
NO_THREADS = """
import encodings.idna, os, resource, socket
import httpx, trio
from fanout.upstream.connect import why_unreachable
from fanout.upstream.resolver import MAX_THREADS, look_up_in_thread
from fanout.upstream.transport import PoolTransport

if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
_, most = resource.getrlimit(resource.RLIMIT_NPROC)
resource.setrlimit(resource.RLIMIT_NPROC, (0, most))

async def main():
    for _ in range(2 * MAX_THREADS):  # and each gives its place back
        try:
            await look_up_in_thread("localhost", 80)
        except RuntimeError as error:
            print(error)
    print(await why_unreachable("http://localhost:1/"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://localhost:{listener.getsockname()[1]}/"
        transport = PoolTransport(max_connections=1, origins=[url])
        async with trio.open_nursery() as nursery:
            await nursery.start(transport.run)
            try:
                await transport.handle_async_request(httpx.Request("GET", url))
            except httpx.ConnectError as error:
                print(error)
            resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
            with trio.move_on_after(20):
                while not transport.statistics().names[0].addresses:
                    await trio.sleep(0.1)
            print(transport.statistics().names[0].addresses)
            nursery.cancel_scope.cancel()

trio.run(main)
"""


def test_where_no_thread_can_be_started_the_service_goes_on() -> None:
    """G10: as with a container's limit of processes. It recovers when there are threads again."""
    done = subprocess.run(
        [sys.executable, "-c", NO_THREADS],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    *refused, why, failed, found = done.stdout.splitlines()
    assert refused == ["can't start new thread"] * 16
    assert "can't start new thread" in why
    assert "can't start new thread" in failed
    assert "127.0.0.1" in found or "::1" in found
