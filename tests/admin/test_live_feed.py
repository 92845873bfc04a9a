"""The live feed: made once for all viewers, bounded, and nothing at all while nobody watches."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from fanout.admin.live import feed as live_feed
from fanout.admin.live.feed import (
    BATCH_EVERY_S,
    END_WITHIN_S,
    MAX_QUEUED,
    MAX_VIEWERS,
    SOONEST_S,
    VIEWERS_PER_TURN,
    LiveFeed,
    Turn,
)
from fanout.admin.live.guarantees import CHECKED
from fanout.admin.live.rows import BURST
from fanout.observe.receipt import Receipt
from fanout.race.events import RequestEnded
from tests.admin.live_receipts import receipt, started

VITALS = {"pool_is_whole": True, "is_within_limit": True, "in_flight": 3}


def make_feed(latest: list[Receipt] | None = None) -> LiveFeed:
    return LiveFeed(lambda: dict(VITALS), lambda: latest or [], lambda: {"version": "test"})


def parsed(message: bytes) -> tuple[str, dict[str, Any]]:
    event, data, *_ = message.decode("ascii").split("\n")
    return event.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def test_while_nobody_watches_nothing_is_kept_asked_or_woken(autojump_clock: MockClock) -> None:
    asked = []

    def vitals() -> dict[str, Any]:
        asked.append(trio.current_time())
        return dict(VITALS)

    feed = LiveFeed(vitals, list, dict)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed.run)
        kept = set(vars(feed))
        for number in range(100):
            feed.notify(started(f"r-{number}"))
            feed.consume(receipt())
        await trio.sleep(100)
        await feed.publish(with_sample=True)
        assert set(vars(feed)) == kept
        assert asked == []
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == float("inf")
        nursery.cancel_scope.cancel()


async def test_a_viewer_is_greeted_with_the_past_and_told_what_happens(autojump_clock: MockClock) -> None:
    feed = make_feed([receipt(request_id=f"past-{number}") for number in range(100)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed.run)
        viewer = feed.join()
        assert viewer is not None
        kind, greeting = parsed(await viewer.receive())
        began_at = trio.current_time()
        feed.notify(started())
        _, batch = parsed(await viewer.receive())
        assert trio.current_time() == pytest.approx(began_at + BATCH_EVERY_S)
        feed.consume(receipt())
        _, ended = parsed(await viewer.receive())
        while ended["sample"] is None:
            _, ended = parsed(await viewer.receive())
        assert trio.current_time() == pytest.approx(began_at + 4 * BATCH_EVERY_S)  # the first after 0.5 s
        nursery.cancel_scope.cancel()
    assert kind == "greeting"
    assert [row["request_id"] for row in greeting["rows"]] == [f"past-{n}" for n in range(60, 100)]
    assert greeting["about"] == {"version": "test"}
    assert [row["reason"] for row in batch["rows"]] == ["running"]
    assert ended["sample"]["in_flight"] == 3
    assert ended["sample"]["guarantees"]["G2"] == [1, 0]
    assert ended["sample"]["guarantees"]["G7"] == [1, 0]


async def test_an_idle_server_ticks_no_guarantee(autojump_clock: MockClock) -> None:
    """A sample alone checks no request. A pool that is not whole is reported anyway."""
    whole = True
    feed = LiveFeed(lambda: {**VITALS, "pool_is_whole": whole}, list, dict)
    viewer = feed.join()
    assert viewer is not None

    async def counts() -> dict[str, list[int]]:
        await feed.publish(with_sample=True)
        while (said := parsed(viewer.receive_nowait()))[0] != "batch":
            pass
        found: dict[str, list[int]] = said[1]["sample"]["guarantees"]
        return found

    for _ in range(3):
        assert await counts() == {guarantee: [0, 0] for guarantee in CHECKED}
    for number in range(3):
        feed.consume(receipt(request_id=f"r-{number}"))
    assert (await counts())["G7"] == [3, 0]
    assert (await counts())["G7"] == [3, 0]
    whole = False
    assert (await counts())["G7"] == [3, 1]


async def test_an_end_is_told_at_once_also_of_a_request_that_waits_in_a_batch(
    autojump_clock: MockClock,
) -> None:
    """A page that shows a request that has ended as running misleads. Many viewers get batches less often."""
    waiting: list[Receipt] = []

    async def caught_up(turn: Turn) -> None:
        await turn()
        while waiting:
            feed.consume(waiting.pop())

    feed = LiveFeed(lambda: dict(VITALS), list, dict, caught_up=caught_up)

    async def told_after(at: float) -> float:
        """A request ends so long after a batch. How long until a viewer receives it?"""
        await read_until(lambda batch: True)
        await trio.sleep(at)
        feed.notify(started("r-2"))
        ended_at = trio.current_time()
        feed.notify(RequestEnded("r-2", None, ended_at, 200, None, 0.0, None, None, ended_at))
        waiting.append(receipt(request_id="r-2", arrived_at=ended_at))
        await read_until(lambda batch: any(row["request_id"] == "r-2" for row in batch["rows"]))
        return trio.current_time() - ended_at

    async def read_until(is_it: Callable[[dict[str, Any]], bool]) -> None:
        assert viewer is not None
        while True:
            kind, batch = parsed(await viewer.receive())
            if kind == "batch" and is_it(batch):
                return

    viewer = feed.join()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed.run)
        took_s = [await told_after(at) for at in (0.0, SOONEST_S / 2, 2 * SOONEST_S)]
        for _ in range(VIEWERS_PER_TURN):
            feed.join()
        took_s.append(await told_after(0.0))
        nursery.cancel_scope.cancel()
    assert took_s == pytest.approx([SOONEST_S, SOONEST_S / 2, 0, BATCH_EVERY_S], abs=1e-6)
    assert SOONEST_S <= 0.05


async def test_while_a_request_runs_each_batch_says_that_it_still_does(autojump_clock: MockClock) -> None:
    """The page draws no bar beyond what it was told."""
    feed = LiveFeed(lambda: dict(VITALS), list, dict, unix_s=lambda: 1_700_000_000.25)
    viewer = feed.join()
    assert viewer is not None
    feed.notify(started())
    _, greeting = parsed(viewer.receive_nowait())
    clocks = []
    for _ in range(3):
        await trio.sleep(0.1)
        await feed.publish()
        _, batch = parsed(viewer.receive_nowait())
        clocks.append((batch["now_ms"] - greeting["now_ms"], batch["unix_ms"]))
    feed.consume(receipt())
    await feed.publish()
    viewer.receive_nowait()
    await feed.publish()
    with pytest.raises(trio.WouldBlock):
        viewer.receive_nowait()
    assert clocks == [(pytest.approx(n * 100), 1_700_000_000_250) for n in (1, 2, 3)]


async def test_a_batch_and_a_greeting_are_made_once_for_all_viewers(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    original = live_feed._message

    def message(event: str, data: str) -> bytes:
        made.append(event)
        return original(event, data)

    monkeypatch.setattr(live_feed, "_message", message)
    feed = make_feed()
    viewers = [feed.join() for _ in range(MAX_VIEWERS)]
    feed.consume(receipt())
    await feed.publish()
    assert made == ["greeting", "batch"]
    received = []
    for viewer in viewers:
        assert viewer is not None
        viewer.receive_nowait()
        received.append(viewer.receive_nowait())
    assert all(message is received[0] for message in received)
    assert feed.join() is None


async def test_a_viewer_that_does_not_read_loses_its_place_and_costs_nothing(
    autojump_clock: MockClock,
) -> None:
    """G10: not even what was queued for it is kept: a client could read one batch in ten seconds."""
    feed = make_feed()
    stalled, reading = feed.join(), feed.join()
    assert stalled is not None
    assert reading is not None
    for number in range(10 * MAX_QUEUED):
        feed.consume(receipt(request_id=f"r-{number}"))
        await feed.publish(with_sample=True)
        reading.receive_nowait()
    assert feed.viewers == 1
    assert stalled.statistics().current_buffer_used == 0
    with pytest.raises(trio.ClosedResourceError):  # its stream ends
        await stalled.receive()
    feed.leave(stalled)
    feed.leave(reading)
    feed.leave(reading)
    assert feed.viewers == 0


async def test_an_end_tells_the_last_and_waits_for_who_reads_and_briefly_for_who_does_not(
    autojump_clock: MockClock,
) -> None:
    """G9: less than the second that a drain may take."""

    async def read(feed: LiveFeed, told: list[bytes]) -> None:
        viewer = feed.join()
        assert viewer is not None
        async for message in viewer:
            await trio.sleep(0.1)
            told.append(message)
        feed.leave(viewer)

    took_s = []
    for readers, others in ((0, 0), (1, 0), (1, 1)):
        feed = make_feed()
        told: list[bytes] = []
        async with trio.open_nursery() as nursery:
            for _ in range(readers):
                nursery.start_soon(read, feed, told)
            await trio.sleep(1)
            for _ in range(others):
                feed.join()
            feed.consume(receipt(request_id="last"))
            began_at = trio.current_time()
            await feed.end()
            took_s.append(trio.current_time() - began_at)
            assert feed.join() is None
        assert len(told) == 2 * readers
        assert all(b'"last"' in message for message in told[1:])
    assert took_s == pytest.approx([0, 0.1, END_WITHIN_S])
    assert END_WITHIN_S <= 0.25


async def test_who_comes_back_after_all_have_left_starts_anew(autojump_clock: MockClock) -> None:
    feed = make_feed()
    first = feed.join()
    assert first is not None
    feed.notify(started())
    feed.leave(first)
    await feed.publish()
    second = feed.join()
    assert second is not None
    _, greeting = parsed(second.receive_nowait())
    assert greeting["rows"] == []


async def test_viewers_that_come_and_go_cost_one_greeting_per_batch(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G10: 1,000 of them within a second, one after the other."""
    made = []
    original = live_feed._message
    watched: list[bool] = []

    def message(event: str, data: str) -> bytes:
        made.append(event)
        return original(event, data)

    monkeypatch.setattr(live_feed, "_message", message)
    feed = LiveFeed(lambda: dict(VITALS), list, dict, watched.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed.run)
        for _ in range(1000):
            viewer = feed.join()
            assert viewer is not None
            assert parsed(viewer.receive_nowait())[0] == "greeting"
            feed.leave(viewer)
            await trio.sleep(0.001)
        nursery.cancel_scope.cancel()
    batches = 1 / BATCH_EVERY_S
    assert made.count("greeting") <= batches + 1
    assert len(watched) <= 2 * (batches + 1)


async def test_a_greeting_has_the_samples_of_the_session(autojump_clock: MockClock) -> None:
    feed = make_feed()
    first = feed.join()
    for _ in range(3):
        await feed.publish(with_sample=True)
    second = feed.join()
    assert first is not None
    assert second is not None
    assert parsed(first.receive_nowait())[1]["samples"] == []
    samples = parsed(second.receive_nowait())[1]["samples"]
    assert [sample["in_flight"] for sample in samples] == [3, 3, 3]


async def test_a_sample_counts_what_came_since_the_one_before_and_a_batch_what_was_left_out(
    autojump_clock: MockClock,
) -> None:
    feed = make_feed()
    viewer = feed.join()
    assert viewer is not None
    viewer.receive_nowait()
    said = []
    for requests in (3 * BURST, 4, 0):
        for number in range(requests):
            feed.consume(receipt(request_id=f"r-{number}"))
        await trio.sleep(2)
        await feed.publish(with_sample=True)
        _, batch = parsed(viewer.receive_nowait())
        said.append((len(batch["rows"]), batch["left_out"], batch["sample"]["answered_rate"]))
    assert said == [(BURST, 2 * BURST, 1.5 * BURST), (4, 0, 2), (0, 0, 0)]


async def test_an_end_waits_no_longer_than_it_may_for_its_turn(autojump_clock: MockClock) -> None:
    """G9: a queue of admin clients does not delay the end of the process."""
    feed = LiveFeed(lambda: dict(VITALS), list, dict, turn=trio.sleep_forever)
    viewer = feed.join()
    began_at = trio.current_time()
    await feed.end()
    assert trio.current_time() - began_at <= END_WITHIN_S
    assert viewer is not None
    viewer.receive_nowait()
    with pytest.raises(trio.EndOfChannel):
        await viewer.receive()
