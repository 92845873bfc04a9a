"""Refusing before parsing, and the reserve, as functions of how long the loop's passes are (G2, G8)."""

from __future__ import annotations

import http.client
import io
import json

import pytest

from fanout.observe.loop import LoopWatch
from fanout.web.overload import MAX_RESERVE_MS, Overload


class Watch(LoopWatch):
    """A loop whose passes are as long as a test says."""

    def __init__(self, pass_ms: float = 0, lateness_ms: float = 0) -> None:
        super().__init__()
        self.pass_ms, self.lateness_ms = pass_ms, lateness_ms

    def pass_s(self) -> float:
        return self.pass_ms / 1000

    def lateness_s(self) -> float:
        return self.lateness_ms / 1000


def overload(watch: Watch) -> Overload:
    return Overload(watch, max_pass_ms=10, reserve_ms=20, id_prefix="abcd1234")


@pytest.mark.parametrize(("pass_ms", "refused"), [(0, False), (10, False), (10.1, True), (500, True)])
def test_a_pass_that_has_run_too_long_admits_nobody(pass_ms: float, refused: bool) -> None:
    assert (overload(Watch(pass_ms)).refuse() is not None) == refused


def test_the_next_pass_begins_anew() -> None:
    watch = Watch(pass_ms=50)
    limiter = overload(watch)
    assert limiter.refuse() is not None
    watch.pass_ms = 0
    assert limiter.refuse() is None
    assert limiter.statistics().refused == 1


def test_a_refusal_is_a_complete_answer_with_an_id_of_its_own() -> None:
    class Socket:
        def __init__(self, data: bytes) -> None:
            self.data = data

        def makefile(self, *_: object) -> io.BytesIO:
            return io.BytesIO(self.data)

    limiter = overload(Watch(pass_ms=50))
    ids = set()
    for _ in range(300):
        answer = limiter.refuse()
        assert answer is not None
        response = http.client.HTTPResponse(Socket(answer))  # type: ignore[arg-type]  # all that it uses
        response.begin()
        document = json.loads(response.read())
        assert (response.status, document["reason"]) == (503, "overloaded")
        assert response.headers["x-request-id"] == document["request_id"]
        assert response.headers["retry-after"] == "1"
        assert response.headers["cache-control"] == "no-store"
        ids.add(document["request_id"])
    assert len(ids) == 300


@pytest.mark.parametrize(
    ("lateness_ms", "reserve_ms"), [(0, 20), (5, 25), (79, 99), (80, MAX_RESERVE_MS), (900, MAX_RESERVE_MS)]
)
def test_the_reserve_follows_the_loops_lateness_within_bounds(lateness_ms: float, reserve_ms: float) -> None:
    assert overload(Watch(lateness_ms=lateness_ms)).reserve_ms() == pytest.approx(reserve_ms)
