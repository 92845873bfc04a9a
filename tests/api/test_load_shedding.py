"""Refusing before parsing, and the reserve, as functions of how far behind the loop is (G2, G8)."""

from __future__ import annotations

import http.client
import io
import json

import pytest

from fanout.api import problems
from fanout.api.load_shedding import (
    BURST_PER_S,
    ITERATIONS_PER_ANSWER,
    MAX_RESERVE_MS,
    LoadShedder,
    LoadSheddingStatistics,
)
from fanout.observe.loop import LoopWatch


class Watch(LoopWatch):
    """A loop that is as late as a test says."""

    def __init__(self, behind_ms: float = 0, lateness_ms: float = 0, usual_iteration_ms: float = 0) -> None:
        super().__init__()
        self.behind_ms, self.lateness_ms, self.usual_iteration_ms = behind_ms, lateness_ms, usual_iteration_ms

    def behind_s(self) -> float:
        return self.behind_ms / 1000

    def is_behind(self, by_s: float) -> bool:
        return self.behind_s() > by_s

    def lateness_s(self) -> float:
        return self.lateness_ms / 1000

    def usual_iteration_s(self) -> float:
        return self.usual_iteration_ms / 1000


def shedder(watch: Watch, burst: int = 0) -> LoadShedder:
    return LoadShedder(watch, max_loop_lag_ms=3, reserve_ms=20, id_prefix="abcd1234", burst=burst)


@pytest.mark.parametrize(("behind_ms", "refused"), [(0, False), (3, False), (3.1, True), (500, True)])
def test_a_loop_that_is_too_far_behind_admits_nobody(behind_ms: float, refused: bool) -> None:
    assert (shedder(Watch(behind_ms)).shed() is not None) == refused


def test_once_it_has_caught_up_it_admits_again() -> None:
    watch = Watch(behind_ms=50)
    limiter = shedder(watch)
    assert limiter.shed() is not None
    watch.behind_ms = 0
    assert limiter.shed() is None
    assert limiter.statistics().refused == 1


def test_a_burst_is_let_through_once_and_again_only_after_some_time() -> None:
    """Clients that come together are no overload; clients that keep coming are."""
    watch = Watch(behind_ms=50)
    watch.iteration_began_at = 1000.0
    limiter = shedder(watch, burst=30)

    def let_through(of: int) -> int:
        return sum(limiter.shed() is None for _ in range(of))

    assert let_through(100) == 30
    watch.iteration_began_at += 0.5 / BURST_PER_S
    assert let_through(100) == 0
    watch.iteration_began_at += 1 - 0.5 / BURST_PER_S
    assert let_through(100) == BURST_PER_S
    watch.iteration_began_at += 3600
    assert let_through(100) == 30
    watch.behind_ms = 0
    assert let_through(100) == 100  # those who are admitted anyway use nothing up
    watch.behind_ms = 50
    watch.iteration_began_at += 30 / BURST_PER_S
    assert let_through(100) == 30


def test_a_refusal_is_a_complete_answer_with_an_id_of_its_own() -> None:
    class Socket:
        def __init__(self, data: bytes) -> None:
            self.data = data

        def makefile(self, *_: object) -> io.BytesIO:
            return io.BytesIO(self.data)

    limiter = shedder(Watch(behind_ms=50))
    ids = set()
    for _ in range(600):  # all but the last two digits of an id are written once for 256
        answer = limiter.shed()
        assert answer is not None
        response = http.client.HTTPResponse(Socket(answer))  # type: ignore[arg-type]  # all that it uses
        response.begin()
        document = json.loads(response.read())
        assert (response.status, document["reason"]) == (503, "overloaded")
        assert response.headers["x-request-id"] == document["request_id"]
        assert response.headers["retry-after"] == "1"
        assert response.headers["cache-control"] == "no-store"
        ids.add(document["request_id"])
    assert len(ids) == 600
    assert {len(each) for each in ids} == {24}


@pytest.mark.parametrize(
    ("lateness_ms", "reserve_ms"), [(0, 20), (5, 25), (79, 99), (80, MAX_RESERVE_MS), (900, MAX_RESERVE_MS)]
)
def test_the_reserve_follows_the_loops_lateness_within_bounds(lateness_ms: float, reserve_ms: float) -> None:
    assert shedder(Watch(lateness_ms=lateness_ms)).reserve_ms() == pytest.approx(reserve_ms)


@pytest.mark.parametrize(("in_flight", "more_ms"), [(0, 0), (100, 3), (5000, 150), (50_000, 150)])
def test_the_reserve_grows_with_what_may_end_together(in_flight: int, more_ms: float) -> None:
    """G2: deadlines that come in the same moment are answered one after another."""
    limiter = LoadShedder(
        Watch(lateness_ms=900), max_loop_lag_ms=3, reserve_ms=20, id_prefix="a", in_flight=lambda: in_flight
    )
    assert limiter.reserve_ms() == pytest.approx(MAX_RESERVE_MS + more_ms)


def test_the_reserve_holds_the_passes_that_an_answer_takes() -> None:
    """Refusing keeps a pass short, not an answer: that takes several passes, and each has its length."""
    watch = Watch(lateness_ms=7, usual_iteration_ms=4)
    assert shedder(watch).reserve_ms() == pytest.approx(20 + 7 + ITERATIONS_PER_ANSWER * 4)
    watch.usual_iteration_ms = 40
    assert shedder(watch).reserve_ms() == MAX_RESERVE_MS


def test_the_statistics_count_refusals_and_say_what_the_next_request_gets() -> None:
    watch = Watch()
    limiter = shedder(watch)
    assert limiter.statistics() == LoadSheddingStatistics(refused=0, reserve_ms=20)
    watch.behind_ms, watch.lateness_ms = 50, 1.23456
    for _ in range(3):
        limiter.shed()
    assert limiter.statistics() == LoadSheddingStatistics(refused=3, reserve_ms=21.235)


@pytest.mark.parametrize("id_prefix", ["w", "abcd1234", "a prefix that is too long"])
def test_a_refusal_is_like_every_other_problem_whatever_its_id_begins_with(id_prefix: str) -> None:
    limiter = LoadShedder(Watch(behind_ms=50), max_loop_lag_ms=3, reserve_ms=20, id_prefix=id_prefix, burst=0)
    answer = limiter.shed()
    assert answer is not None
    head, _, body = answer.partition(b"\r\n\r\n")
    request_id = json.loads(body)["request_id"]
    assert len(request_id) == 24
    assert request_id.startswith(f"{id_prefix[:8]}-r")
    assert body == problems.OVERLOADED.body(request_id)
    assert head.decode().split("\r\n") == [
        "HTTP/1.1 503 Service Unavailable",
        "content-type: application/problem+json",
        "cache-control: no-store",
        f"x-request-id: {request_id}",
        *(f"{name}: {value}" for name, value in problems.OVERLOADED.headers),
        f"content-length: {len(body)}",
    ]


async def test_a_burst_comes_back_with_the_passes_of_the_loop() -> None:
    now = 1000.0

    class Slow(Watch):
        def __init__(self) -> None:
            super().__init__(behind_ms=50)
            self._clock = lambda: now

    watch = Slow()
    limiter = LoadShedder(watch, max_loop_lag_ms=3, reserve_ms=20, id_prefix="w")
    watch.after_io_wait(0)
    while limiter.shed() is None:
        pass
    now += 1
    assert limiter.shed() is not None  # the pass began before
    watch.after_io_wait(0)
    let_through = [limiter.shed() is None for _ in range(int(BURST_PER_S) + 1)]
    assert let_through == [True] * int(BURST_PER_S) + [False]


@pytest.mark.parametrize(("beginning", "refused"), [(0, False), (10, False), (11, True), (100, True)])
def test_what_was_let_pass_and_has_yet_to_begin_counts_as_work(beginning: int, refused: bool) -> None:
    """Those who come together are asked about one after another, before any of them has cost anything."""
    assert (shedder(Watch(behind_ms=1)).shed(beginning) is not None) == refused
