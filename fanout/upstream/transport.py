"""The httpx transport: HTTP/1.1 over Trio, with a pool that cancellation cannot break.

Rule 1: the cancel scope around a call owns its time. Nothing here has a timeout; everything ends at once when
        it is cancelled.
Rule 2: the body is read inside the call, so when the call returns, its connection is back in the pool
        or closed. The response holds nothing, and closing it has no effect.
Rule 3: the bytes of a request are made when its connection is there, and no task runs until they are
        written. So what they say of the time that is left is true. If it is too late by then, nothing is
        written, and the connection goes back to the pool as it was.
Rule 4: a GET that fails on a reused connection before any byte of its answer is made once more on a new
        one. The upstream has closed the connection, and did not see the request or may see it again.
        So is a GET that gets a 408 there: the upstream sent it to the idle connection (RFC 9110 15.5.9).
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import httpx
import trio

from fanout.upstream.answer import Answer
from fanout.upstream.connect import Connector, Dial, dial
from fanout.upstream.messages import (
    HeadersToSend,
    MakeBytes,
    Origin,
    PreparedGet,
    origin_of,
    request_bytes,
)
from fanout.upstream.phases import EXTENSION, Phase, PhaseHook, ignore_phase
from fanout.upstream.pool import CloseReason, OriginPool, PooledConnection
from fanout.upstream.resolver import LookUp, Resolver, look_up_in_thread
from fanout.upstream.statistics import TransportStatistics
from fanout.upstream.tls import client_context
from fanout.upstream.wire import Wire

MAX_BODY_BYTES: Final = 1024 * 1024
KEEPALIVE_EXPIRY_S: Final = 30.0  # below the 60 to 75 s after which common servers close an idle connection
_REQUEST_TIMEOUT: Final = 408
# Python 3.11 takes longer to look up an enum member than to record it.
_REUSED, _WAIT, _RECEIVE = Phase.REUSED, Phase.WAIT, Phase.RECEIVE
_DONE, _KEPT = Phase.DONE, Phase.KEPT
_SWEEP_EVERY_S: Final = 5.0
_SWEEP_BATCH: Final = 16  # closed per iteration at most: to close a socket takes about 50 µs


class PoolTransport(httpx.AsyncBaseTransport):
    """One pool per origin, with `max_connections` calls to it at a time, see `pool.py`.

    `run()` must run while calls are made to names. Calls to IP literals need it only to close idle
    connections on time. Only `dial` and `look_up` reach the network: replace both for a simulation run.
    """

    def __init__(
        self,
        *,
        max_connections: int,
        origins: Iterable[str] = (),
        max_body_bytes: int = MAX_BODY_BYTES,
        keepalive_expiry_s: float = KEEPALIVE_EXPIRY_S,
        ssl_context: ssl.SSLContext | None = None,
        dial: Dial = dial,
        look_up: LookUp = look_up_in_thread,
    ) -> None:
        """`origins` are URLs whose names `run()` looks up at once. Raises `httpx.UnsupportedProtocol`."""
        self._max_connections = max_connections
        self._max_body_bytes = max_body_bytes
        self._keepalive_expiry_s = keepalive_expiry_s
        self._resolver = Resolver(look_up)
        self._connector = Connector(self._resolver, ssl_context or client_context(), dial)
        self._pools: dict[Origin, OriginPool] = {}
        self._is_closed = False
        self._is_running = False
        self._news: deque[tuple[OriginPool, PooledConnection]] = deque()
        self._has_news = trio.Event()
        for url in origins:
            origin = origin_of(httpx.URL(url))
            self._resolver.want(origin.host, origin.port)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Make one call. The response is complete and decoded: `content` is there.

        Raises `httpx.TransportError` (`ConnectError`, `WriteError`, `ReadError`,
        `RemoteProtocolError`, `LocalProtocolError`, `UnsupportedProtocol`, `BodyTooLarge`) or
        `httpx.DecodingError`; `PoolLimitExceeded` when there are more than `max_connections` calls.
        """
        await trio.lowlevel.checkpoint_if_cancelled()  # a cancelled call sends nothing
        outgoing, origin = await request_bytes(request), origin_of(request.url)
        on_phase: PhaseHook = request.extensions.get(EXTENSION, ignore_phase)
        answer = await self._answer(request.method, origin, lambda: outgoing, on_phase)
        assert answer is not None
        return answer.response(request)

    async def get(
        self, request: PreparedGet, headers_to_send: HeadersToSend, on_phase: PhaseHook
    ) -> Answer | None:
        """As `handle_async_request`, for a request that is made again and again. To make httpx's objects
        each time takes longer than the call itself.

        `None`: it was too late to send it, and nothing was sent. `Answer.content` may raise
        `httpx.DecodingError` or `BodyTooLarge`.
        """

        def make_bytes() -> bytes | None:
            headers = headers_to_send()
            return None if headers is None else request.bytes_with(headers)

        await trio.lowlevel.checkpoint_if_cancelled()
        return await self._answer("GET", request.origin, make_bytes, on_phase)

    async def _answer(
        self, method: str, origin: Origin, make_bytes: MakeBytes, on_phase: PhaseHook
    ) -> Answer | None:
        pool = self._pool(origin)
        answer = Answer(method, self._max_body_bytes)
        try:
            if not await self._use(pool, pool.take, make_bytes, answer, on_phase):
                return None
        except httpx.TransportError:
            if not answer.is_on_reused or answer.has_begun or method != "GET":
                raise
        else:
            if not answer.is_on_reused or answer.status != _REQUEST_TIMEOUT or method != "GET":
                return answer
        on_phase(Phase.RETRY)
        answer = Answer(method, self._max_body_bytes)
        return answer if await self._use(pool, pool.take_for_retry, make_bytes, answer, on_phase) else None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Resolve names, and close idle connections that have expired or ended, until cancelled. Run it once.

        It reports `started` at once: a DNS server that hangs must not keep the service from starting. The
        first calls wait for the look-ups that begin here.
        """
        self._is_running = True
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._resolver.run, name="resolve upstream names")
                nursery.start_soon(self._close_expired, name="close expired connections")
                nursery.start_soon(self._close_ended, name="close connections that an upstream has closed")
                task_status.started()
        finally:
            self._is_running = False
            self._news.clear()

    async def aclose(self) -> None:
        """Close idle connections now and the others as their calls end. No call can be made any more."""
        self._is_closed = True
        for pool in self._pools.values():
            pool.shut_down()
        await trio.lowlevel.checkpoint()

    def connections_in_use(self) -> int:
        """How many calls hold a connection, or are about to."""
        in_use = 0
        for pool in self._pools.values():
            in_use += pool.in_use
        return in_use

    def statistics(self) -> TransportStatistics:
        """A snapshot, in time proportional to the number of origins and names."""
        return TransportStatistics(
            origins=tuple(pool.statistics() for pool in self._pools.values()),
            names=self._resolver.statistics(),
        )

    async def _use(
        self,
        pool: OriginPool,
        take: Callable[[], PooledConnection],
        make_bytes: MakeBytes,
        answer: Answer,
        on_phase: PhaseHook,
    ) -> bool:
        """Fill `answer` over a connection, which the pool has again when this returns or raises.

        False: it was too late to send the request, and nothing was sent.

        The connection is taken and connected inside the block that gives it back, so nothing comes between.
        """
        reason: CloseReason | None = CloseReason.CANCELLED  # unless it turns out otherwise
        connection: PooledConnection | None = None
        was_kept = False
        try:
            connection = take()
            wire = connection.wire
            if wire is None:
                wire = connection.wire = await self._connector.open(pool.origin, on_phase)
                pool.connected(connection, wire)
            else:
                answer.is_on_reused = True
                on_phase(_REUSED)
            outgoing = make_bytes()
            if outgoing is not None:
                await exchange(wire, not answer.is_on_reused, outgoing, answer, on_phase)
            reason = None if outgoing is None or answer.keeps_connection else CloseReason.PEER
        except httpx.RequestError:
            reason = CloseReason.BROKEN
            raise
        finally:
            if connection is not None:
                was_kept = pool.give_back(connection, reason)
            answer.stop()
        if was_kept:
            on_phase(_KEPT)
        return outgoing is not None  # noqa: ASYNC910 - no request was sent, so there was no answer to wait for

    def _pool(self, origin: Origin) -> OriginPool:
        if self._is_closed:
            raise RuntimeError("the transport is closed")
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = OriginPool(
                origin, self._max_connections, self._keepalive_expiry_s, self._on_news
            )
        return pool

    async def _close_expired(self) -> None:
        while True:
            await trio.sleep(_SWEEP_EVERY_S)
            for pool in list(self._pools.values()):
                while pool.close_expired(at_most=_SWEEP_BATCH):
                    await trio.lowlevel.checkpoint()

    def _on_news(self, pool: OriginPool, connection: PooledConnection) -> bool:
        """The event loop calls it. It only notes the news; a task does the work in small portions."""
        if not self._is_running:
            return False  # `take` notices it
        was_woken = bool(self._news)
        self._news.append((pool, connection))
        self._has_news.set()
        return not was_woken

    async def _close_ended(self) -> None:
        while True:
            await self._has_news.wait()
            self._has_news = trio.Event()
            while self._news:
                for _ in range(min(len(self._news), _SWEEP_BATCH)):
                    pool, connection = self._news.popleft()
                    pool.look_at(connection)
                await trio.lowlevel.checkpoint()


async def exchange(  # noqa: ASYNC910 - receiving is a checkpoint, unless the answer came early
    wire: Wire, is_new: bool, request: bytes, answer: Answer, on_phase: PhaseHook
) -> None:
    """Send `request` and fill `answer`. After that `answer` says whether the wire can be kept.

    Raises httpx's errors: `WriteError`, `ReadError`, `RemoteProtocolError`, `DecodingError`,
    `BodyTooLarge`. After any exception the wire is in the middle of something and must be closed.
    """
    on_phase(_WAIT)
    try:
        # The pool has checked an idle connection when it gave it out. Early bytes of a new one still are the
        # answer, and the only one: the connection is not kept, because another answer may follow.
        early = wire.receive_nowait() if is_new else None
    except OSError as error:
        raise httpx.ReadError(str(error)) from error
    unsent: str | None = None
    try:
        await wire.send_all(request)
    except OSError as error:
        unsent = str(error)  # the upstream may have answered before it closed: read on
    try:
        data = await wire.receive() if early is None else early
        if data:
            on_phase(_RECEIVE)
        answer.feed(data)
        while not answer.is_complete:
            answer.feed(await wire.receive())
    except (OSError, httpx.RemoteProtocolError) as error:
        if unsent is not None:
            raise httpx.WriteError(unsent) from error
        if isinstance(error, OSError):
            raise httpx.ReadError(str(error)) from error
        raise
    if unsent is not None or early is not None:
        answer.keeps_connection = False
    on_phase(_DONE)
