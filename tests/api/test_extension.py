"""The extension example of docs/architecture.md, run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from quart_trio import QuartTrio

import fanout.api.handlers
import fanout.race.ledger
import fanout.race.outcome
import fanout.race.verdict
from fanout.api.handlers import Races
from fanout.testing import ScriptedCall, answers, fails, hangs, run_scenario

TEXT = Path(__file__).parents[2] / "docs" / "architecture.md"


def quorum_app(races: Races) -> QuartTrio:
    (example,) = re.findall(r"```python\n(def two_agree.*?)```", TEXT.read_text(), re.DOTALL)
    app = QuartTrio("quorum")
    names: dict[str, Any] = {"api": app, "races": races}
    for module in (fanout.race.ledger, fanout.race.outcome, fanout.race.verdict, fanout.api.handlers):
        names.update(vars(module))
    exec("from __future__ import annotations\n" + example, names | {"api": app, "races": races})
    return app


@pytest.mark.parametrize(
    ("calls", "status", "took_s"),
    [
        ([answers(30, b'{"time":1}'), answers(10, b'{"time":2}'), answers(20, b'{"time":1}')], 200, 0.03),
        ([answers(10, b'{"time":1}'), hangs(), answers(20, b'{"time":1}')], 200, 0.02),
        ([answers(10, b'{"time":1}'), fails(20), answers(30, b'{"time":2}')], 500, 0.03),
        ([answers(10, b'{"time":1}'), hangs(), hangs()], 500, 0.1),
    ],
)
def test_the_quorum_example_works_as_printed(calls: list[ScriptedCall], status: int, took_s: float) -> None:
    replay = run_scenario("/api/quorum?timeout=100", calls, make_app=quorum_app)
    assert replay.status == status
    assert replay.took_s == pytest.approx(took_s)
