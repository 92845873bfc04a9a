"""What docs/upstreaming.md reports is still there. Where it has been mended, a test says what to remove."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from tests.project.test_packaging import imports
from tests.upstreaming import reports
from tests.upstreaming.reports import DOCUMENT, PARTS, Report, Run, reports_in

REPORTS = reports_in(DOCUMENT.read_text("utf-8"))
RUNS = [(report, run) for report in REPORTS for run in report.runs]
MAX_LINES = 50  # without the docstring and empty lines


@pytest.mark.long
@pytest.mark.parametrize(("report", "run"), RUNS, ids=[str(run) for _, run in RUNS])
def test_the_reproduction_shows_what_the_report_says(report: Report, run: Run) -> None:
    if report.lacks:
        pytest.skip(f"{run}, because {report.lacks}")
    difference = report.difference(run, run.execute())
    assert not difference, difference


# What the test above says


def says(folder: Path, code: str, shown: str = "2 are left\n") -> str:
    """What is said of a reproduction with this code, which the report shows to print this."""
    path = folder / "slot.py"
    path.write_text(f"import sys\n{code}\n")
    run = Run(path, (), shown)
    report = Report("trio: a slot is lost", {"trio": "0.0"}, "", (run,), ("fanout/upstream/pool.py",))
    return report.difference(run, run.execute(timeout_s=5))


def test_a_defect_that_is_still_there_is_fine_whatever_its_numbers(tmp_path: Path) -> None:
    assert says(tmp_path, "sys.exit('3 are left')") == ""


def test_a_mended_one_names_the_library_the_workaround_and_the_report(tmp_path: Path) -> None:
    assert re.fullmatch(
        r"trio [\d.]+ has mended what slot\.py shows\. Remove the report from upstreaming\.md, "
        r"'trio: a slot is lost'\. With the report goes our workaround: fanout/upstream/pool\.py",
        says(tmp_path, ""),
    )


def test_another_defect_is_not_taken_for_the_one_reported(tmp_path: Path) -> None:
    said = says(tmp_path, "sys.exit('all are left')")
    assert said == "slot.py shows something else than upstreaming.md. Correct the report:\nall are left\n"


@pytest.mark.parametrize("code", ["1 / 0", "raise ExceptionGroup('', [OSError()])", "import no_such_library"])
def test_a_reproduction_that_fails_by_itself_is_not_taken_for_the_defect(code: str, tmp_path: Path) -> None:
    """Python ends with 1 then, as a reproduction does that shows its defect."""
    said = says(tmp_path, code, "...")
    assert said.startswith("slot.py fails by itself, which shows nothing. Correct the reproduction:\n")
    assert "Traceback" in said


def test_a_reproduction_that_hangs_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "slot.py"
    path.write_text("while True: pass")
    ended = Run(path, (), "").execute(timeout_s=0.1)
    assert "does not end" in REPORTS[0].difference(Run(path, (), ""), ended)


def test_a_report_about_a_newer_python_is_left_out_on_an_older_one(monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report("trio-asyncio: no import", {"trio-asyncio": "0.16.0", "Python": "3.14"}, "", (), ())
    monkeypatch.setattr(sys, "version_info", (3, 13, 9))
    assert report.lacks == "it is about Python 3.14"
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    assert report.lacks == ""


# What the document has


@pytest.mark.same_on_every_python
def test_each_report_is_complete() -> None:
    assert len(REPORTS) > 10
    for report in REPORTS:
        for part in PARTS:
            assert f"\n**{part}.** " in report.text, f"{report.title}: {part}"
        assert report.runs, report.title
        assert report.workarounds, report.title
        assert report.title.startswith(tuple(report.versions)), report.title


@pytest.mark.same_on_every_python
def test_each_reproduction_is_shown_by_exactly_one_report() -> None:
    shown = [run.path for _, run in RUNS]
    there = sorted((Path(reports.__file__).parent / "reproductions").glob("*.py"))
    assert sorted(set(shown)) == there
    assert len({str(run) for _, run in RUNS}) == len(RUNS)
    assert {
        path: len({report.title for report, run in RUNS if run.path == path}) for path in there
    } == dict.fromkeys(there, 1)


@pytest.mark.same_on_every_python
@pytest.mark.parametrize("path", sorted({run.path for _, run in RUNS}), ids=lambda path: path.name)
def test_a_maintainer_can_paste_a_reproduction(path: Path) -> None:
    """It is short, needs nothing of ours, and says how to run it."""
    text = path.read_text("utf-8")
    docstring = ast.get_docstring(ast.parse(text)) or ""
    code = [line for line in text.split('"""', 2)[2].splitlines() if line]
    assert len(code) <= MAX_LINES
    assert not {"fanout", "tests", "pytest"} & imports(path)
    assert f"python {path.name}" in docstring.replace("python3.14", "python")
    assert "pip install" in docstring


@pytest.mark.same_on_every_python
@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.title.partition(":")[0])
def test_the_versions_of_a_report_are_those_that_its_reproduction_ran_with(report: Report) -> None:
    outdated = report.outdated()
    assert not outdated, (
        f"{report.title!r} was seen with other versions. Write these into docs/upstreaming.md"
    )
