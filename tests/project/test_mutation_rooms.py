"""Which mutants a command chooses, and which tests answer for them. All that needs mutmut is left out."""

from __future__ import annotations

import gc
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from fanout.race.admission import Admission
from tests.mutation.replace import functions_of
from tests.mutation.rooms import ROOMS, answering, is_chosen, may_be_chosen, nearest

pytestmark = pytest.mark.same_on_every_python

BY_NAME = {room.name: room for room in ROOMS}


def test_a_file_has_one_room_and_every_room_has_tests() -> None:
    paths = Counter(path for room in ROOMS for path in room.paths())
    assert set(paths.values()) == {1}
    assert all(room.test_files() for room in ROOMS)


def test_every_explanation_is_of_a_file_that_is_mutated() -> None:
    """Of any other nobody would notice that it is out of date."""
    entries = tomllib.loads(Path("tests/mutation/explained.toml").read_text("utf-8"))["explained"]
    assert {entry["file"] for entry in entries} <= {path for room in ROOMS for path in room.paths()}


def test_functions_are_found_that_the_collector_was_told_to_leave_alone() -> None:
    """Else every mutant imports everything again, which takes thirty times as long."""
    gc.freeze()
    found = functions_of(BY_NAME["race"])
    gc.freeze()  # as the other tests expect it
    init = Admission.__init__
    key = ("fanout/race/admission.py", "Admission.__init__", init.__code__.co_firstlineno)
    assert found[key] == [init]


@pytest.mark.parametrize("name", ["race", "upstream", "server", "api", "observe"])
def test_a_package_that_decides_or_shows_is_mutated_whole(name: str) -> None:
    mutated = {path for room in ROOMS for path in room.paths()}
    assert {str(path) for path in Path("fanout", name).glob("*.py")} <= mutated


@pytest.mark.parametrize(
    ("parts", "chosen"),
    [
        ([], ["race", "api"]),
        (["race"], ["race"]),  # though the function in api has it in its name
        (["answers.py"], ["api"]),
        (["answers.py:_race"], ["api"]),
        (["answers.py:_call"], []),
        (["pool"], []),
    ],
)
def test_a_part_is_a_room_or_a_piece_of_a_name(parts: list[str], chosen: list[str]) -> None:
    mutants = {"race": ("fanout/race/race.py", "Race.run"), "api": ("fanout/api/answers.py", "_race_problem")}
    assert [name for name, mutant in mutants.items() if is_chosen(BY_NAME[name], *mutant, parts)] == chosen
    for name in chosen:
        assert may_be_chosen(BY_NAME[name], mutants[name][0], parts)


def test_the_tests_of_a_room_answer_for_its_files_alone() -> None:
    assert answering("fanout/race/race.py") == {*BY_NAME["race"].test_files()}
    assert answering("fanout/upstream/pool.py") == {*BY_NAME["pool"].test_files()}  # not upstream


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("fanout/race/admission.py", {"test_admission"}),
        ("fanout/server/http1_reader.py", {"test_http1_reader"}),
        ("fanout/observe/log.py", {"test_log"}),  # not test_log_writer, which has one more word
        ("fanout/observe/receipt.py", {"test_receipts"}),  # which no word of its name says, but its text
        ("fanout/race/__init__.py", set()),
    ],
)
def test_the_nearest_tests_have_the_words_of_the_file_or_mention_what_it_defines(
    path: str, names: set[str]
) -> None:
    assert {Path(test).stem for test in nearest(path)} == names
