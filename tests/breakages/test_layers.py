"""A layer that has gone blind is red: with the others, and alone. The layers here only pretend to try."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fanout.testing.breakages.patches import LAYERS as NAMES
from fanout.testing.breakages.patches import Breakage, breakages
from tests.breakages import __main__ as command
from tests.breakages.layers import CONTROL, LAYERS, Catch, NoVerdict

pytestmark = pytest.mark.same_on_every_python

ALL = "losers_not_cancelled"  # caught by every layer, and by none of them late
LATE = "limit_off_by_one"  # caught by the sweep, and late
UNSEEN = "answers_in_order_of_arrival"  # by the sweep, which knows nothing of the order of results


def run(
    monkeypatch: pytest.MonkeyPatch, *arguments: str, blind: str = "", seeing: tuple[str, str] = ("", "")
) -> Result:
    """`make breakages`, with layers that see what they must, but for one that is blind, or sees too much.

    seeing: the layer, and what it should not see."""

    def layer(name: str, breakage: Breakage) -> Catch:
        sees = (name, breakage.name) == seeing or (name in breakage.caught_by and name != blind)
        return Catch("1 run" if sees else None, "a test that fails", 0.0)

    for name in NAMES:

        def pretend(tree: Path, breakage: Breakage, name: str = name) -> Catch:
            return layer(name, breakage)

        monkeypatch.setitem(LAYERS, name, pretend)
    monkeypatch.setattr(command, "copy_of_tree", lambda folder: folder)
    monkeypatch.setattr(command, "apply", lambda diff, tree: None)
    return CliRunner().invoke(command.main, arguments)


def test_all_is_well_while_every_layer_sees_what_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, ALL, LATE, UNSEEN)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("| breakage | breaks | unit | sweep | simulation | prove | lab |\n")


@pytest.mark.parametrize("blind", NAMES)
@pytest.mark.parametrize("alone", [True, False])
def test_a_blind_layer_is_red(monkeypatch: pytest.MonkeyPatch, blind: str, alone: bool) -> None:
    options = ("--layer", blind) if alone else ()
    result = run(monkeypatch, ALL, *options, blind=blind)
    assert (result.exit_code, result.stderr) == (1, f"{blind} must catch {ALL}, and does not\n")


def test_a_layer_that_need_not_see_it_is_not_red(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, UNSEEN, blind="sweep").exit_code == 0


def test_a_layer_that_sees_more_than_is_written_has_to_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, UNSEEN, seeing=("sweep", UNSEEN))
    assert (result.exit_code, result.stderr) == (
        1,
        f"sweep catches {UNSEEN}: name it in the patch, so that it has to\n",
    )


@pytest.mark.parametrize("sees_all", NAMES)
@pytest.mark.parametrize("options", [(), ("--short",)])
def test_a_layer_that_is_red_without_a_breakage_is_red(
    monkeypatch: pytest.MonkeyPatch, sees_all: str, options: tuple[str, ...]
) -> None:
    """Else all that it catches could be that."""
    result = run(monkeypatch, ALL, *options, seeing=(sees_all, CONTROL))
    is_tried = sees_all != "lab" or not options
    line = f"{sees_all} is red although nothing is broken: a test that fails\n"
    assert (result.exit_code, result.stderr) == ((1, line) if is_tried else (0, ""))


@pytest.mark.parametrize("program", ["raise SystemExit(3)", "", "print('{}')"])
def test_a_layer_that_does_not_run_is_no_catch(tmp_path: Path, program: str) -> None:
    """Whatever else it does than to say what it tried, and what it found."""
    folder = tmp_path / "tests" / "breakages"
    folder.mkdir(parents=True)
    (folder / "search.py").write_text(program)
    with pytest.raises(NoVerdict):
        LAYERS["simulation"](tmp_path, breakages()[ALL])


def test_a_run_that_hangs_is_a_catch(tmp_path: Path) -> None:
    folder = tmp_path / "tests" / "breakages"
    folder.mkdir(parents=True)
    (folder / "search.py").write_text(
        "import faulthandler, time; faulthandler.dump_traceback_later(0.1, exit=True); time.sleep(60)"
    )
    assert LAYERS["simulation"](tmp_path, breakages()[ALL]).after == "it hangs"


def test_the_short_form_leaves_out_the_lab_and_what_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, "--short", ALL, LATE, UNSEEN)
    rows = result.stdout.splitlines()
    assert (result.exit_code, rows[0]) == (0, "| breakage | breaks | unit | sweep | simulation | prove |")
    assert [row.split(" | ")[3] == "·" for row in rows[2:]] == [False, False, True, True]
    assert run(monkeypatch, "--short", LATE, blind="simulation").exit_code == 1


def test_the_short_form_still_tries_every_other_layer_on_most_breakages() -> None:
    soon = [set(each.caught_by) - set(each.late) for each in breakages().values()]
    for layer in ("unit", "sweep", "simulation", "prove"):
        assert sum(layer in layers for layers in soon) >= len(soon) / 2
