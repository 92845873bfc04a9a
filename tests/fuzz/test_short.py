"""G1, G10: at random, and against three parsers that nobody here wrote, nothing is read in two ways."""

from __future__ import annotations

import pytest

from tests.fuzz import corpus, short
from tests.fuzz.targets import targets

SEED = short.seed()
IN_MAKE_TEST = "head"


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(each.name, marks=() if each.name == IN_MAKE_TEST else pytest.mark.long)
        for each in targets()
    ],
)
def test_no_difference_has_no_entry(target: str) -> None:
    """The long form is `make fuzz`. Another seed: `FUZZ_SEED=x make test ARGS=tests/fuzz/test_short.py`."""
    finds = short.search(next(each for each in targets() if each.name == target), SEED)
    shown = [f"{find.difference.who} {find.difference.what}\n{corpus.as_text(find.data)}" for find in finds]
    assert not shown, f"FUZZ_SEED={SEED}\n" + "\n".join(shown)
