"""What was found once is looked at again: in one piece, byte by byte, and in two pieces, cut anywhere."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import trio
import trio.testing

from tests.fuzz import corpus
from tests.fuzz.search import Find
from tests.fuzz.targets import Difference, targets

TARGETS = {each.name: each for each in targets()}


@pytest.mark.parametrize("target", TARGETS)
def test_no_kept_input_has_a_difference(target: str) -> None:
    kept = dict(corpus.inputs(target))
    assert kept

    async def look() -> dict[str, list[Difference]]:
        looks = {
            name: await TARGETS[target].look(data, Random(0), every_cut=True) for name, data in kept.items()
        }
        return {name: look.differences for name, look in looks.items() if look.differences}

    assert trio.run(look, clock=trio.testing.MockClock(autojump_threshold=0)) == {}


def test_each_kept_input_has_a_name_that_says_what_it_is() -> None:
    assert list(corpus.CORPUS.glob(f"*/{corpus.FOUND}*")) == []
    assert {path.name for path in corpus.CORPUS.iterdir()} <= TARGETS.keys()


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\nX: \xff'\"\\\r\n\r\n", bytes(range(256)), b"\r\n\n\r", b"#\n"]
)
def test_a_find_is_kept_byte_by_byte(tmp_path: Path, data: bytes) -> None:
    path = corpus.write(Find("head", Difference("h11", "takes what fanout answers with 400"), data), tmp_path)
    assert path.name.startswith("found_h11_takes_what_fanout_answers_with_400_")
    assert list(corpus.inputs("head", tmp_path)) == [(path.stem, data)]
