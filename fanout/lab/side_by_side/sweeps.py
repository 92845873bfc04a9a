"""The process of a cancel sweep: one client, cancelled at each point of a call, in each of the rows.

A pool of one connection. When a call has been cancelled, the next one must be answered. If it waits although
its event loop and the upstream have nothing left to do, the only slot is lost for good.

Rule 1: no verdict depends on a clock. The upstream acts when its client is idle, so points can be counted.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import linecache
import ssl
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import CodeType
from typing import Any, Final, Protocol

import anyio
import httpx
import trio
import trio.testing

from fanout.lab.side_by_side.idle_selector import DELIVERED_WITHIN_S, LOOK_EVERY_S, IdleSelector, Stuck
from fanout.lab.side_by_side.process import answer
from fanout.lab.side_by_side.stepped_upstream import BODY, SteppedUpstream
from fanout.testing.asyncio_points import AsyncioPoints

LOOKS: Final = round(DELIVERED_WITHIN_S / LOOK_EVERY_S)
MAX_POINTS: Final = 500  # a sweep that finds more does not end


class Client(Protocol):
    """With a pool of one connection."""

    async def get(self, url: str) -> bytes: ...

    async def close(self) -> None: ...


class AiohttpClient:
    def __init__(self, tls: ssl.SSLContext) -> None:
        import aiohttp  # an extra

        connector = aiohttp.TCPConnector(limit=1, ssl=tls)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=None)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)

    async def get(self, url: str) -> bytes:
        async with self._session.get(url) as response:
            return await response.read()

    async def close(self) -> None:
        await self._session.close()


class HttpxClient:
    def __init__(self, tls: ssl.SSLContext) -> None:
        self._client = httpx.AsyncClient(transport=self.transport(tls), timeout=None, trust_env=False)

    def transport(self, tls: ssl.SSLContext) -> httpx.AsyncBaseTransport:
        return httpx.AsyncHTTPTransport(verify=tls, limits=httpx.Limits(max_connections=1))

    async def get(self, url: str) -> bytes:
        return (await self._client.get(url)).content

    async def close(self) -> None:
        await self._client.aclose()


class OurClient(HttpxClient):
    def transport(self, tls: ssl.SSLContext) -> httpx.AsyncBaseTransport:
        from fanout.upstream.transport import PoolTransport  # the other sweeps start without it

        return PoolTransport(max_connections=1, ssl_context=tls)


@dataclass(frozen=True, slots=True)
class Sweep:
    """library: part of the path of the files whose lines are shown when a slot is lost. by: what cancels."""

    client: Callable[[ssl.SSLContext], Client]
    library: str
    by: str


SWEEPS: Final = {
    "aiohttp": Sweep(AiohttpClient, "/aiohttp/", "asyncio task"),
    "httpx, task.cancel()": Sweep(HttpxClient, "/httpcore/_async/", "asyncio task"),
    "httpx, anyio scope": Sweep(HttpxClient, "/httpcore/_async/", "anyio scope"),
    "httpx on Trio": Sweep(HttpxClient, "/httpcore/_async/", "Trio scope"),
    "fanout": Sweep(OurClient, "/fanout/upstream/", "Trio scope"),
}


@dataclass(frozen=True, slots=True)
class Situation:
    """The state of the connection when the call that is cancelled begins."""

    name: str
    text: str
    is_tls: bool
    is_kept: bool


SITUATIONS: Final = (
    Situation("new connection", "The call opens a connection.", is_tls=False, is_kept=False),
    Situation(
        "kept connection", "The call uses a connection that was kept alive.", is_tls=False, is_kept=True
    ),
    Situation("new, TLS", "The call opens a connection with a TLS handshake.", is_tls=True, is_kept=False),
    Situation("kept, TLS", "The same, over a connection that was kept alive.", is_tls=True, is_kept=True),
)


@dataclass(slots=True)
class Swept:
    """One client in one situation. slots: lost for good. failed: the next call was answered wrongly.
    sockets: still open when the client had been closed. All of them over all points.

    source: all places at which a slot was lost, and below them the line of the first one.
    leak: the line of `source` that the cancellation came out of.
    """

    points: int = 0
    slots: int = 0
    failed: int = 0
    sockets: int = 0
    source: str = ""
    leak: int | None = None


@dataclass(slots=True)
class Ended:
    """One cancelled call. place: the code and line of the library that the cancellation came out of."""

    reached: int = 0
    slots: int = 0
    failed: int = 0
    sockets: int = 0
    place: tuple[CodeType, int] | None = None


@dataclass(frozen=True, slots=True)
class Contexts:
    """client: trusts the certificate of the server's. server: `None` for plain connections."""

    client: ssl.SSLContext
    server: ssl.SSLContext | None = None


def contexts(*, is_tls: bool) -> Contexts:
    client = ssl.create_default_context()
    if not is_tls:
        return Contexts(client)
    import trustme  # an extra

    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    return Contexts(client, server)


async def get_noting_place(client: Client, url: str, library: str, ended: Ended) -> None:
    try:
        await client.get(url)
    except BaseException as error:
        traceback = error.__traceback__
        while traceback is not None:
            if library in traceback.tb_frame.f_code.co_filename:
                ended.place = traceback.tb_frame.f_code, traceback.tb_lineno
            traceback = traceback.tb_next
        raise


async def next_call_fails(client: Client, url: str) -> bool:  # noqa: ASYNC910 - the call is one
    try:
        return await client.get(url) != BODY
    except Exception:  # noqa: BLE001 - each library has its own, and all of them are wrong here
        return True  # noqa: ASYNC910 - as above


# --- asyncio


def on_asyncio(sweep: Sweep, situation: Situation, tls: Contexts, n: int) -> Ended:
    """One call, cancelled at its n-th point, on an event loop of its own."""
    ended = Ended()
    with SteppedUpstream(tls.server) as upstream:
        runner = asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(IdleSelector(upstream.step)))
        try:
            client = runner.run(_cancelled(sweep, situation, tls, upstream.url, n, ended))
            try:
                ended.failed = runner.run(next_call_fails(client, upstream.url))
            except Stuck:
                ended.slots = 1
            with suppress(Stuck):
                runner.run(_closed(client, upstream))
            ended.sockets = upstream.open
        finally:
            with suppress(Stuck):
                runner.close()
    return ended


async def _cancelled(
    sweep: Sweep, situation: Situation, tls: Contexts, url: str, n: int, ended: Ended
) -> Client:
    client = sweep.client(tls.client)
    if situation.is_kept:
        await client.get(url)
    call = get_noting_place(client, url, sweep.library, ended)
    if sweep.by == "anyio scope":
        with anyio.CancelScope() as scope:
            points = AsyncioPoints(lambda nth: scope.cancel() if nth == n else None)
            await points.follow(call)
    else:
        points = AsyncioPoints(lambda nth: task.cancel() if nth == n else None)
        task = asyncio.create_task(points.follow(call))
        await asyncio.wait([task])
    ended.reached = points.reached
    return client


async def _closed(client: Client, upstream: SteppedUpstream) -> None:
    await client.close()
    for _ in range(LOOKS):
        if upstream.open:
            await asyncio.sleep(LOOK_EVERY_S)


# --- Trio


def on_trio(sweep: Sweep, situation: Situation, tls: Contexts, n: int) -> Ended:
    """The same in a run of Trio."""
    from fanout.testing.points import repeatable  # asyncio's sweeps start without the test kit

    ended = Ended()
    with SteppedUpstream(tls.server) as upstream, repeatable(0):
        trio.run(_cancelled_on_trio, sweep, situation, tls, upstream, n, ended)
    return ended


async def _cancelled_on_trio(
    sweep: Sweep, situation: Situation, tls: Contexts, upstream: SteppedUpstream, n: int, ended: Ended
) -> None:
    from fanout.testing.points import cancel_at

    client = sweep.client(tls.client)
    async with trio.open_nursery() as nursery:
        patience = trio.CancelScope()
        nursery.start_soon(_step_when_idle, upstream, patience)
        if situation.is_kept:
            await client.get(upstream.url)
        ended.reached = await cancel_at(
            partial(get_noting_place, client, upstream.url, sweep.library, ended), n
        )
        with patience:
            ended.failed = await next_call_fails(client, upstream.url)
        ended.slots = int(patience.cancelled_caught)
        await client.close()
        for _ in range(LOOKS):
            if upstream.open:
                await trio.sleep(LOOK_EVERY_S)
        ended.sockets = upstream.open
        nursery.cancel_scope.cancel(reason="the sweep is over")


async def _step_when_idle(upstream: SteppedUpstream, patience: trio.CancelScope) -> None:
    idle_looks = 0
    while True:
        await trio.testing.wait_all_tasks_blocked()
        idle_looks = 0 if upstream.step() else idle_looks + 1
        if idle_looks == LOOKS:
            patience.cancel(reason="nothing is left to do")
        if idle_looks:
            await trio.sleep(LOOK_EVERY_S)


# --- both


def swept(sweep: Sweep, situation: Situation) -> Swept:
    """Cancel a call at its first point, at its second, and so on until it has no more."""
    run = on_trio if sweep.by == "Trio scope" else on_asyncio
    tls = contexts(is_tls=situation.is_tls)
    result = Swept()
    lost_at: list[tuple[CodeType, int]] = []
    for n in range(1, MAX_POINTS + 1):
        ended = run(sweep, situation, tls, n)
        if ended.reached < n:
            break
        result.points = n
        result.slots += ended.slots
        result.failed += ended.failed
        result.sockets += ended.sockets
        if ended.slots and ended.place is not None:
            lost_at.append(ended.place)
    _show_place(result, lost_at)
    return result


def _show_place(result: Swept, lost_at: list[tuple[CodeType, int]]) -> None:
    if not lost_at:
        return
    code, at = lost_at[0]
    comments = [f"# {_name(code)}, line {line}: a slot was lost\n" for code, line in lost_at]
    # One line and no more: the lab publishes what it shows, and this code belongs to others.
    result.source = "".join(comments) + linecache.getline(code.co_filename, at).strip() + "\n"
    result.leak = len(comments) + 1


def _name(code: CodeType) -> str:
    return "/".join(code.co_filename.rsplit("/", 3)[1:])


def _sweep_all(request: Any) -> Iterator[object]:
    """request: `sweep` and `situations`, by their names."""
    warnings.simplefilter("ignore")  # of sockets that a library leaves: they are counted
    gc.disable()  # else one that is left to it is closed by chance
    for situation in SITUATIONS:
        if situation.name in request["situations"]:
            result = swept(SWEEPS[request["sweep"]], situation)
            yield {"situation": situation.name, "swept": dataclasses.asdict(result)}


if __name__ == "__main__":
    answer(_sweep_all)
