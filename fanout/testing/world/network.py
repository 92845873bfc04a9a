"""A network without a kernel: connections that do to their users what TCP sockets do.

Bytes, FIN and RST travel in order and take the latency of their way. A write takes what there is room for,
a read gives what has come, and no more than a segment. Closing on unread bytes sends RST, and so does
whatever is sent to an end that is closed. What came before an RST can still be read, as on Linux.

What arrives in one moment is all seen in one event-loop iteration, unless there are `late_iterations`: epoll
reports it to a real loop over several iterations. It stays in order, and takes no more time.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Any

import trio


class Network:
    """What is on its way. `run` delivers it; what takes no time is delivered at once.

    late_iterations: the most that go by before each arrival; `seed` says how many. Then nothing arrives at
        once.
    """

    def __init__(self, late_iterations: int = 0, seed: int = 0) -> None:
        self._late_iterations = late_iterations
        self._chance = random.Random(f"network {seed}")
        self._under_way: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = count()
        self._wait = trio.CancelScope()
        self._left: list[End] = []  # their peers have left, and nobody was told yet
        self._somebody_left = trio.Event()

    def after(self, delay_s: float, arrive: Callable[..., None], *arguments: Any) -> None:
        """Call `arrive(*arguments)` so many seconds from now."""
        if not delay_s and not self._late_iterations:
            arrive(*arguments)
            return
        at = trio.current_time() + delay_s
        heappush(self._under_way, (at, next(self._numbers), arrive, arguments))
        if at < self._wait.deadline:
            self._wait.deadline = at

    async def run(self) -> None:
        """Deliver, and tell who has left, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deliver)
            nursery.start_soon(self._tell_of_hang_ups)

    def left(self, end: End) -> None:
        """The peer of this end has left: it is told in the next pass, as `Sockets` does."""
        self._left.append(end)
        self._somebody_left.set()

    async def _tell_of_hang_ups(self) -> None:
        while True:
            await self._somebody_left.wait()
            self._somebody_left = trio.Event()
            left, self._left = self._left, []
            for end in left:
                end.tell_of_hang_up()

    async def _deliver(self) -> None:
        while True:
            with trio.CancelScope(deadline=self._under_way[0][0] if self._under_way else inf) as self._wait:
                await trio.sleep_forever()
            now = trio.current_time()
            while self._under_way and self._under_way[0][0] <= now:
                await self.late()
                _, _, arrive, arguments = heappop(self._under_way)
                arrive(*arguments)

    async def late(self) -> None:  # noqa: ASYNC910 - it need not be
        """Let the passes go by after which the next thing is heard of, if there are any."""
        if self._late_iterations:
            for _ in range(self._chance.randint(0, self._late_iterations)):
                await trio.lowlevel.checkpoint()

    def pair(self, *, latency_s: float, window_bytes: tuple[int, int], segment_bytes: int) -> tuple[End, End]:
        """A connection: its client's and its server's end. The windows are theirs in this order.

        segment_bytes: for the reads of the end that hears strangers; both are given it.
        """
        client = End(self, latency_s, window_bytes[0], segment_bytes)
        server = End(self, latency_s, window_bytes[1], segment_bytes)
        client.peer, server.peer = server, client
        return client, server


class End:
    """One end of a connection. Everything but waiting is synchronous. What the world does is an `OSError`."""

    __slots__ = (
        "_got",
        "_held",
        "_latency_s",
        "_network",
        "_reader",
        "_segment_bytes",
        "_sent_end",
        "_tell",
        "_usual_latency_s",
        "_window_bytes",
        "_writer",
        "broken_at",
        "closed_at",
        "ended_at",
        "peer",
        "received",
        "watch",
    )

    peer: End

    def __init__(self, network: Network, latency_s: float, window_bytes: int, segment_bytes: int) -> None:
        self._network = network
        self._latency_s = self._usual_latency_s = latency_s
        self._window_bytes = window_bytes
        self._segment_bytes = segment_bytes
        self._got = bytearray()  # has come and was not read
        self._held = 0  # bytes of our window in use: on their way to us, or not read
        self._sent_end = False
        self._reader: trio.lowlevel.Task | None = None
        self._writer: trio.lowlevel.Task | None = None
        self.received = 0  # bytes that have come
        self.ended_at: float | None = None  # when FIN came
        self.broken_at: float | None = None  # when RST came
        self.closed_at: float | None = None  # when this end was closed by its user
        self.watch: Callable[[], None] = _nothing  # told when FIN or RST has come
        self._tell: Callable[[], None] = _nothing

    def slow_down(self, latency_s: float) -> None:
        """From now on, delivery takes this long, but never less than usual on this connection.

        No data may be on its way, so that the order is kept.
        """
        self._latency_s = max(latency_s, self._usual_latency_s)

    def write(self, data: bytes | memoryview) -> int:
        """Send what there is room for; how many bytes that was."""
        if self.closed_at is not None:
            raise OSError(errno.EBADF, "written to a closed connection")
        if self.broken_at is not None:
            raise ConnectionResetError(errno.ECONNRESET, "reset by the peer")
        if self._sent_end:
            raise BrokenPipeError(errno.EPIPE, "written behind the end")
        peer = self.peer
        sent = min(len(data), peer._window_bytes - peer._held)
        if sent > 0:
            peer._held += sent
            self._network.after(self._latency_s, peer._data_came, bytes(data[:sent]))
        return max(sent, 0)

    def read(self, max_bytes: int) -> bytes | None:
        """What has come; `b""` at the end; `None` if there is nothing yet."""
        if self.closed_at is not None:
            raise OSError(errno.EBADF, "read from a closed connection")
        if self._got:
            if self._segment_bytes:
                max_bytes = min(max_bytes, self._segment_bytes)
            data = bytes(self._got[:max_bytes])
            del self._got[:max_bytes]
            self._held -= len(data)
            self.peer._wake_writer()
            return data
        if self.broken_at is not None:
            raise ConnectionResetError(errno.ECONNRESET, "reset by the peer")
        return None if self.ended_at is None else b""

    @property
    def has_something(self) -> bool:
        """Whether `read` gives anything but `None`."""
        return bool(self._got) or self.has_ended

    @property
    def has_ended(self) -> bool:
        """FIN or RST has come, perhaps behind unread bytes."""
        return self.ended_at is not None or self.broken_at is not None

    @property
    def unread(self) -> int:
        return len(self._got)

    async def readable(self) -> None:
        """Wait until there is something to read. Always a checkpoint, as waiting for a socket is."""
        if self.has_something:
            await trio.lowlevel.checkpoint()
        else:
            await self._wait_to_read()

    def on_hang_up(self, tell: Callable[[], None] | None) -> None:
        """Have `tell` called, once, when FIN or RST has come, also behind unread bytes; `None`: no more."""
        self._tell = tell or _nothing
        if tell is not None and self.has_ended:
            self._network.left(self)

    def tell_of_hang_up(self) -> None:
        tell, self._tell = self._tell, _nothing
        tell()

    async def writable(self) -> None:
        """Wait until there is room again, or the connection is broken."""
        if self.peer._held < self.peer._window_bytes or self.broken_at is not None:
            await trio.lowlevel.checkpoint()
            return
        assert self._writer is None, "two tasks write to one end"
        self._writer = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._writer = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def send_end(self) -> None:
        """Half-close: FIN, while we read on."""
        if not self._sent_end and self.closed_at is None and self.broken_at is None:
            self._sent_end = True
            self._network.after(self._latency_s, self.peer._end_came)

    def close(self) -> None:
        """FIN; RST if something is unread."""
        if self.closed_at is None:
            if self._got:
                self.reset()
            else:
                self.send_end()
                self.closed_at = trio.current_time()
                self.peer._wake_writer()

    def wake(self) -> None:
        """To be called when somebody else has closed this end: who waits for it looks at it again."""
        self._wake_reader()
        self._wake_writer()

    def reset(self) -> None:
        if self.closed_at is None:
            self.closed_at = trio.current_time()
            self._got.clear()
            self._network.after(self._latency_s, self.peer._reset_came)

    def _data_came(self, data: bytes) -> None:
        self.received += len(data)
        if self.closed_at is not None:
            self._held -= len(data)
            self._network.after(self._latency_s, self.peer._reset_came)
        elif self.broken_at is None:
            self._got += data
            self._wake_reader()

    def _end_came(self) -> None:
        if self.closed_at is None and not self.has_ended:
            self.ended_at = trio.current_time()
            self._wake_reader()
            self.watch()
            self._network.left(self)

    def _reset_came(self) -> None:
        if self.closed_at is None and self.broken_at is None:
            self.broken_at = trio.current_time()
            self._wake_reader()
            self._wake_writer()
            self.watch()
            self._network.left(self)

    async def _wait_to_read(self) -> None:
        assert self._reader is None, "two tasks read from one end"
        self._reader = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._reader = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _wake_reader(self) -> None:
        task, self._reader = self._reader, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def _wake_writer(self) -> None:
        task, self._writer = self._writer, None
        if task is not None:
            trio.lowlevel.reschedule(task)


def _nothing() -> None:
    pass
