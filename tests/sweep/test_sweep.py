"""Every checkpoint that one request passes through the whole stack, interrupted in every way.

Over memory and in virtual time, with the real connection driver, app, admission, race and pool. See `actions`
for what is done at each point, `situations` for what is going on meanwhile, `run` for what is checked.
`make sweep` does the same for more orders of tasks, and prints how many runs that is. `make test` strikes at
one place in five, `make test-all` at each.
"""

from __future__ import annotations

import pytest

from tests.sweep.actions import ACTIONS
from tests.sweep.situations import ENDPOINTS, SITUATIONS, Endpoint, Situation
from tests.sweep.sweep import sweep


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
def test_an_interruption_at_any_point_leaves_nothing_behind_and_nothing_unsaid(
    situation: Situation, endpoint: Endpoint, every: int
) -> None:
    """G1–G4, G6, G7, G9, G11."""
    swept = sweep(situation, endpoint, every=every)
    assert swept.wrong == []
    assert swept.runs.total() * every >= swept.points


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.name)
def test_every_action_finds_what_it_strikes(action: object) -> None:
    """Should a task or a scope get another name, the sweep must not go quiet."""
    swept = sweep(SITUATIONS[0], "all", actions=tuple(each for each in ACTIONS if each is action))
    assert swept.runs.total() > 4
