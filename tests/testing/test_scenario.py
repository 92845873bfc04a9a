"""The scenario runner must be able to say no: it is what the guarantees are tested with."""

from __future__ import annotations

import pytest
import trio
from quart_trio import QuartTrio

from fanout.api.handlers import Races
from fanout.race.timings import CallTimings
from fanout.testing import LeftBehind, answers, hangs, run_scenario


def test_a_call_that_is_not_awaited_is_found() -> None:
    """G3: a handler that starts a call somewhere else and answers is caught at its first byte."""

    def leaky(races: Races) -> QuartTrio:
        app = QuartTrio("leaky")

        @app.get("/")
        async def handler() -> str:
            trio.lowlevel.spawn_system_task(races.calls[0], CallTimings("test", 0))
            await trio.lowlevel.checkpoint()
            return "early"

        return app

    with pytest.raises(LeftBehind, match=r"call 0 still runs.*a task is still alive.*leaked: 1 tasks"):
        run_scenario("/", [hangs()], make_app=leaky)


def test_a_token_that_is_kept_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """G3: a token released late is caught."""
    monkeypatch.setattr("fanout.race.admission.Admission.give_back", lambda _: None)
    with pytest.raises(LeftBehind, match="an admission token is still taken"):
        run_scenario("/api/first", [answers(1)])


def test_the_same_scenario_takes_the_same_virtual_time() -> None:
    assert {run_scenario("/api/first", [answers(123), hangs()]).took_s for _ in range(3)} == {0.123}
