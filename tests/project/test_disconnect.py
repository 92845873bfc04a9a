"""The section `disconnect` of the benchmark in its short form, on servers that the tests have anyway."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.programs import running
from benchmarks.sections import disconnect
from benchmarks.sections.disconnect import OWN, end_of, measure, programs, runs_of, verdict, witness

GOES_ON_S = 1.0
CORES = ",".join(map(str, os.sched_getaffinity(0)))


@pytest.mark.long
def test_only_an_app_that_watches_receive_stops(tmp_path: Path) -> None:
    """Real servers and sockets: a bare app goes on for nobody. fanout stops, and so does a watching app."""
    name = "hypercorn (asyncio)"
    apps = {app: server for app, server in programs(name, tmp_path).items() if app in ("bare", "watching")}
    with running(witness(), "", CORES) as upstream:
        asgi = measure(name, apps, upstream, 1, CORES, GOES_ON_S)
        own = measure("fanout", programs("fanout", tmp_path), upstream, 1, CORES, GOES_ON_S)
    assert asgi["bare"] == [None]
    for (stopped_ms,) in (asgi["watching"], own[OWN]):
        assert stopped_ms is not None
        assert 0 <= stopped_ms < GOES_ON_S * 1000


def call(end: str, started_at: float = 9.8, closed_ms: float | None = None) -> dict[str, Any]:
    return {"end": end, "started_at": started_at, "client_closed_ms": closed_ms}


def test_a_request_stops_when_its_last_call_does_and_not_if_one_goes_on() -> None:
    calls = [call("client_closed", 9.8, 202), call("client_closed", 9.9, 105)]
    calls += [call("client_closed", 19.8, 202), call("answered")]
    first, second = runs_of(calls, [10.0, 20.0])
    assert first == pytest.approx(5)
    assert second is None


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        ([call("answered")] * 3, "3 calls of 1 requests"),
        ([call("answered")], "1 calls of 1 requests"),
        ([call("client_closed", 9.8, 199)] * 2, "calls ended before their client disconnected"),
    ],
)
def test_calls_that_the_disconnect_cannot_explain_are_an_error(calls: list[Any], said: str) -> None:
    """A handler that fails at once would otherwise look like one that stops."""
    with pytest.raises(RuntimeError, match=said):
        runs_of(calls, [10.0])


@pytest.mark.parametrize(
    ("runs", "end", "shown"),
    [
        ([2.0, 4.0, 9.0], "at once", "yes, 4 ms"),
        ([3002.0, 3009.0], "after 3 s", "after 3 s"),
        ([None, None], "no", "no"),
        ([2.0, None], "1 of 2 times", "1 of 2 times"),
        ([2.0, 3002.0], "2 of 2 times", "2 of 2 times"),
    ],
)
def test_a_cell_says_if_it_was_not_the_same_each_time(runs: disconnect.Runs, end: str, shown: str) -> None:
    assert end_of(runs) == end
    assert verdict(runs) == shown
