"""The search sees: each known mistake, put into the code, is found by the inputs of the short form."""

from __future__ import annotations

import pytest

from tests.fuzz import short
from tests.fuzz.planted import PLANTED, planted
from tests.fuzz.targets import targets

SEED = "planted"


@pytest.mark.long
@pytest.mark.parametrize("name", PLANTED)
def test_a_known_mistake_is_found(name: str) -> None:
    mistake = PLANTED[name]
    target = next(each for each in targets() if each.name == mistake.target)
    with planted(mistake):
        finds = short.search(target, SEED, until_found=True)
    assert finds
    assert not short.shows(target, finds[0])  # it is the mistake that was found
