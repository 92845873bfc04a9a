"""Recorded races: the player shows what happened, and each disconnect is a recorded run of its own."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from fanout.lab.experiments import EXPERIMENTS
from fanout.lab.page.races import RACES
from fanout.lab.page.record import record
from fanout.lab.side_by_side import matrix

Json = dict[str, Any]
SHIPPED: Json = json.loads((resources.files("fanout.lab.page") / "recorded.json").read_text("utf-8"))


@cache
def winner() -> Json:
    return record(RACES[0])


def without_line_numbers(race: Json) -> Json:
    """A change above a line moves it; what a race does at it stays."""
    places = [[file.partition(":")[0], function, line] for file, function, line in race["places"]]
    return {**race, "places": places}


def test_a_winner_cancels_the_nursery_and_its_loser_ends_an_iteration_before_the_answer() -> None:
    race = winner()
    said = [frame["said"] for frame in race["frames"]]
    assert said[-3:] == [
        ["call 0 ends: success"],
        ["call 1 ends: cancelled"],
        ["the answer is written: 200", "the connection is closed"],
    ]
    settled = race["frames"][-3]["scopes"]
    assert settled == [
        ["connection", 0, None, None],
        ["race", 1, 989.97, None],  # a reserve of 10 ms, and 0.03 for the one request in flight
        ["nursery", 2, None, "call 0 settled the race"],
    ]
    assert race["frames"][-2]["lanes"]["call 1"] == ["cancelled", "call 0 settled the race"]
    assert (race["status"], race["answered_ms"], race["wrong"]) == (200, 57.0, [])


def test_a_waiting_task_is_shown_at_the_line_of_the_server_that_waits() -> None:
    race = winner()
    waits_at = race["frames"][1]["lanes"]["request"]
    file, function, line = race["places"][waits_at]
    assert file.startswith("fanout/api/handlers.py:")
    assert (function, line) == ("run_race", "async with trio.open_nursery() as nursery:")
    assert not [place for place in race["places"] if "testing/" in place[0]]


def test_there_is_a_run_for_a_disconnect_at_every_checkpoint_and_nothing_is_left_of_any() -> None:
    race = winner()
    points = [point[0] for frame in race["frames"] for point in frame["points"]]
    assert points == [cut["point"] for cut in race["cuts"]] == list(range(1, len(points) + 1))
    assert {cut["status"] for cut in race["cuts"]} == {None, 200}, "after the answer, too"
    assert [cut["wrong"] for cut in race["cuts"]] == [[]] * len(points)
    for cut in race["cuts"]:
        frame = race["frames"][cut["at"]]
        assert cut["point"] in [point[0] for point in frame["points"]]
        assert "the client's FIN arrives" in cut["frames"][0]["said"]


def test_a_disconnect_while_both_calls_wait_ends_both_for_that_reason() -> None:
    waits = next(point for frame in winner()["frames"] for point in frame["points"] if point[0] == 11)
    (cut,) = [cut for cut in winner()["cuts"] if cut["point"] == 11]
    assert waits[1:] == ["call 0", "blocks"]
    assert cut["status"] is None
    ends = [frame["lanes"]["call 1"] for frame in cut["frames"]]
    assert ends[-1] == ["cancelled", "the client disconnected"]
    assert ["connection", 0, None, "the client disconnected"] in cut["frames"][1]["scopes"]


def test_the_recorded_races_of_the_demo_are_those_of_todays_code() -> None:
    """If not, `make lab-recorded` records them again."""
    assert [race["name"] for race in SHIPPED["races"]] == [race.name for race in RACES]
    assert without_line_numbers(SHIPPED["races"][0]) == without_line_numbers(winner())
    assert [race["wrong"] for race in SHIPPED["races"]] == [[]] * len(RACES)


def test_the_recorded_experiments_of_the_demo_are_those_of_today_and_all_kept() -> None:
    """If not, `make lab-recorded` records them again."""
    about = ("id", "title", "claim", "code", "test", "breakages")
    assert [[each[name] for name in about] for each in SHIPPED["experiments"]] == [
        [each.id, each.title, each.claim, each.code, each.test, list(each.breakages)]
        for each in EXPERIMENTS.values()
    ]
    assert [each["id"] for each in SHIPPED["experiments"] if not each["kept"]] == []


def test_the_recorded_matrix_of_the_demo_has_the_rows_of_today() -> None:
    """If not, `make lab-recorded` records them again."""
    recorded = {
        section["name"]: tuple(dict.fromkeys(row["name"] for row in section["rows"]))
        for section in SHIPPED["matrix"]["sections"]
    }
    assert recorded == {name: matrix.row_names(name) for name in matrix.SECTIONS}


def test_what_the_demo_ships_stays_small() -> None:
    sizes = {name: len(json.dumps(part, separators=(",", ":"))) for name, part in SHIPPED.items()}
    assert sizes["races"] < 200_000
    assert sum(sizes.values()) < 600_000
