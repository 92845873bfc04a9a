"""The stream behind the live page: what happens, in batches, made once for all who watch.

Rule 1: without a viewer, the core makes no event for it, and nothing is kept.
Rule 2: a batch is serialised once. All viewers' queues hold the same bytes, and each queue is bounded:
        a viewer that does not read loses its place and its queue, and takes no memory from then on.
Rule 3: the feed waits for no viewer.
Rule 4: a session begins with the first viewer and ends with the first batch that has no viewer. So viewers
        that come and go cost one greeting per batch, however many they are.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

import trio

from fanout.admin.live.guarantees import GuaranteeBoard
from fanout.admin.live.rows import Rows, receipt_row
from fanout.admin.live.window import Window
from fanout.observe.receipt import Receipt
from fanout.race.events import CallEnded, Event, RaceStarted, RequestEnded

BATCH_EVERY_S: Final = 0.15
SOONEST_S: Final = 0.04  # after a batch, for a request that has ended: nobody is to see it running for long
SAMPLE_EVERY_S: Final = 0.5
MAX_VIEWERS: Final = 100
VIEWERS_PER_TURN: Final = 5  # each one writes in the next iteration: about 0.3 ms
MAX_QUEUED: Final = 64  # batches: ten seconds
END_WITHIN_S: Final = 0.25  # of the second that a drain may take beyond the last deadline (G9)
PAST_ROWS: Final = 40  # what a new viewer is shown of what was before
PAST_SAMPLES: Final = 240  # two minutes

Viewer = trio.MemoryReceiveChannel[bytes]
Turn = Callable[[], Awaitable[None]]


async def nothing_waits(turn: Turn) -> None:
    """Receipts that need not be waited for."""
    await turn()


def _unix_s() -> float:
    return datetime.now(UTC).timestamp()


class LiveFeed:
    """An observer, and a consumer of receipts, that sends both to viewers.

    vitals: asked for each sample: JSON of how the process is. Its `pool_is_whole` and `is_within_limit`
        go to the board. latest: the receipts of the past. about: JSON about the server, for a new viewer.
        watched: called with true when the first viewer comes, and with false when the last one goes: only in
        between does the feed need events. turn: awaited before each piece of work. caught_up: returns when
        `consume` has received the receipt of every request that has ended. unix_s: the time of day.
    """

    interests: Final = frozenset({RaceStarted, CallEnded, RequestEnded})

    def __init__(
        self,
        vitals: Callable[[], dict[str, Any]],
        latest: Callable[[], Sequence[Receipt]],
        about: Callable[[], dict[str, Any]],
        watched: Callable[[bool], object] = bool,
        turn: Turn = trio.lowlevel.checkpoint,
        caught_up: Callable[[Turn], Awaitable[None]] = nothing_waits,
        unix_s: Callable[[], float] = _unix_s,
    ) -> None:
        self._vitals = vitals
        self._latest = latest
        self._about = about
        self._watched = watched
        self._turn = turn
        self._caught_up = caught_up
        self._unix_s = unix_s
        self._in_session = False
        self._viewers: dict[Viewer, trio.MemorySendChannel[bytes]] = {}
        self._first_came = trio.Event()
        self._last_left = trio.Event()
        self._request_ended = trio.Event()
        self._has_ended = False

    def join(self) -> Viewer | None:
        """A queue of messages, the greeting first; `None` when too many watch. It must `leave`."""
        if self._has_ended or len(self._viewers) >= MAX_VIEWERS:
            return None
        if not self._in_session:
            self._begin()
        ours, theirs = trio.open_memory_channel[bytes](MAX_QUEUED)
        self._viewers[theirs] = ours
        ours.send_nowait(self._greeting())
        return theirs

    def leave(self, viewer: Viewer) -> None:
        """Forget a viewer. May be called twice."""
        ours = self._viewers.pop(viewer, None)
        if ours is not None:
            ours.close()
        viewer.close()
        if not self._viewers:
            self._last_left.set()

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    def notify(self, event: Event) -> None:
        if self._in_session:
            match event:
                case RaceStarted():
                    self._rows.started(event)
                case CallEnded():
                    self._rows.call_ended(event)
                case RequestEnded():
                    self._request_ended.set()

    def consume(self, receipt: Receipt) -> None:
        if self._in_session:
            self._rows.ended(receipt)
            self._window.add(receipt)
            self._board.receipt(receipt)

    async def run(self) -> None:
        """Tell what happens until cancelled. Sleeps while nobody watches."""
        while True:
            await self._first_came.wait()
            self._first_came = trio.Event()
            while self._in_session:
                due_at = trio.current_time() + BATCH_EVERY_S
                if len(self._viewers) <= VIEWERS_PER_TURN:  # many viewers make a batch expensive
                    await trio.sleep(SOONEST_S)
                    with trio.move_on_at(due_at):
                        await self._request_ended.wait()
                else:
                    await trio.sleep_until(due_at)
                self._request_ended = trio.Event()
                await self.publish()

    async def publish(self, *, with_sample: bool = False) -> None:
        """Send what has happened since the last batch, or that requests still run.

        Without viewers the session ends.
        """
        await self._caught_up(self._turn)
        if not self._viewers:
            self._end_session()
        if not self._in_session or self._has_ended:
            return
        now = trio.current_time()
        rows, left_out = self._rows.take(now)
        sample = None
        if with_sample or now - self._sampled_at >= SAMPLE_EVERY_S:
            sample = self._sample(now)
        if rows or left_out or sample is not None or self._rows.is_any_running():
            batch = {**self._clocks(), "rows": rows, "left_out": left_out, "sample": sample}
            await self._send(_message("batch", _json(batch)))

    async def end(self) -> None:
        """Tell the last, and end every stream. Waits a little, so that viewers who read can read it."""
        within = trio.current_time() + END_WITHIN_S
        with trio.move_on_at(within):
            await self.publish(with_sample=True)
        self._has_ended = True
        self._last_left = trio.Event()
        for ours in self._viewers.values():
            ours.close()
        if self._viewers:
            with trio.move_on_at(within):
                await self._last_left.wait()

    def _begin(self) -> None:
        now = trio.current_time()
        self._rows = Rows(now)
        self._window = Window(now)
        self._board = GuaranteeBoard()
        self._samples: deque[str] = deque(maxlen=PAST_SAMPLES)  # as JSON: a greeting has all of them
        self._sampled_at = now
        self._greeted: bytes | None = None
        self._in_session = True
        self._first_came.set()
        self._watched(True)

    def _end_session(self) -> None:
        if self._in_session:
            self._in_session = False
            del self._rows, self._window, self._board, self._samples, self._greeted
            self._watched(False)

    def _sample(self, now: float) -> dict[str, Any]:
        vitals = self._vitals()
        self._board.count_pool(vitals.pop("pool_is_whole"))
        self._board.count_in_flight(vitals.pop("is_within_limit"))
        sample = {
            "at_ms": round(now * 1000, 3),
            **self._window.to_json(now),
            **vitals,
            "viewers": len(self._viewers),
        }
        self._samples.append(_json(sample))
        self._window = Window(now)
        self._sampled_at = now
        return {**sample, "guarantees": self._board.to_json()}

    def _greeting(self) -> bytes:
        """Made at most once a batch, however many come: what happens after it is in the next batch."""
        if self._greeted is None:
            past = list(islice(reversed(self._latest()), PAST_ROWS))
            rows = [receipt_row(receipt) for receipt in reversed(past)] + self._rows.running()
            greeting = {**self._clocks(), "rows": rows, "about": self._about()}
            text = _json(greeting).removesuffix("}")
            self._greeted = _message("greeting", f'{text},"samples":[{",".join(self._samples)}]}}')
        return self._greeted

    def _clocks(self) -> dict[str, float]:
        """Trio's clock, on which all other times are, and the time of day at the same moment."""
        return {"now_ms": round(trio.current_time() * 1000, 3), "unix_ms": round(self._unix_s() * 1000)}

    async def _send(self, message: bytes) -> None:
        """Wake a few viewers per turn."""
        self._greeted = None
        for number, viewer in enumerate(list(self._viewers), 1):
            if number % VIEWERS_PER_TURN == 0:
                await self._turn()
            ours = self._viewers.get(viewer)
            if ours is None or self._has_ended:
                continue
            try:
                ours.send_nowait(message)
            except trio.WouldBlock:
                self.leave(viewer)  # drops its queue, too: others may have dropped those batches already
        await trio.lowlevel.checkpoint()


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _message(event: str, data: str) -> bytes:
    return f"event: {event}\ndata: {data}\n\n".encode("ascii")
