"""`make release`: each check with its line, nothing half done, and what is left to do by hand."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from deploy.packages import release
from deploy.packages.build import CannotBuild
from tests.lacking import needs

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Project

pytestmark = needs("git")
TODAY = datetime.date(2026, 11, 28)


def changelog(old: str, new: str) -> Callable[[Project], None]:
    def change(project: Project) -> None:
        project.replace("CHANGELOG.md", old, new)
        project.commit()

    return change


def test_a_project_that_is_ready_has_no_problems(project: Project) -> None:
    assert release.problems("1.2.3", TODAY, project.folder) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            changelog("## [1.2.3] - 2026-11-28", "## [1.2.2] - 2026-11-28"),
            "CHANGELOG.md has no entry for 1.2.3: write `## [1.2.3] - 2026-11-28` below",
        ),
        (changelog(" - 2026-11-28", ""), "CHANGELOG.md: '## [1.2.3]' has no date that has been: write"),
        (changelog("2026-11-28", "2026-11-29"), "CHANGELOG.md: '## [1.2.3] - 2026-11-29' has no date that"),
        (changelog("2026-11-28", "28/11/2026"), "CHANGELOG.md: '## [1.2.3] - 28/11/2026' has no date that"),
        (changelog("- A thing.", ""), "CHANGELOG.md: the entry for 1.2.3 is empty: say what changes"),
        (
            changelog("- A thing.", "## [1.2.2] - 2026-11-01\n\n- Older."),
            "CHANGELOG.md: the entry for 1.2.3 is empty: say what changes",
        ),
        (lambda project: project.git("switch", "-qc", "topic"), "the branch is topic: git switch main"),
        (lambda project: project.git("switch", "-q", "--detach"), "the branch is none: git switch main"),
        (lambda project: project.git("tag", "v1.2.3"), "the tag v1.2.3 is there already: use the next"),
        (lambda project: project.write("new.py", ""), "the tree has new.py, not committed: commit or remove"),
        (
            lambda project: [project.write("README.md", ""), project.write("new.py", "")],
            "the tree has README.md and 1 more, not committed: commit or remove it",
        ),
    ],
)
def test_each_check_has_a_line_with_the_fix(
    project: Project, change: Callable[[Project], None], line: str
) -> None:
    change(project)

    (found,) = release.problems("1.2.3", TODAY, project.folder)
    assert found.startswith(line)


def test_another_version_is_another_problem_and_all_are_reported(project: Project) -> None:
    assert release.problems("1.3.0", TODAY, project.folder) == [
        'fanout/__init__.py says 1.2.3: write __version__ = "1.3.0" there, and commit it',
        "CHANGELOG.md has no entry for 1.3.0: write `## [1.3.0] - 2026-11-28` below `## [Unreleased]`",
    ]


@pytest.mark.parametrize("version", ["", "v1.2.3", "1.2", "1.2.3rc1", "01.2.3", "1.2.3 "])
def test_a_version_is_three_numbers(version: str, tmp_path: Path) -> None:
    assert release.problems(version, TODAY, tmp_path) == [
        f"VERSION={version!r}: use three numbers, such as make release VERSION=1.2.3"
    ]


@pytest.mark.long
def test_a_dry_run_checks_builds_and_says_what_is_left_to_do_and_keeps_nothing(project: Project) -> None:
    done = run(project, "1.2.3", "--dry-run")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("dry run, so without make check, make test-all and make bare\n")
    assert "Built twice with the same bytes, thrown away:\n" in done.stdout
    assert "  git tag --sign v1.2.3 " in done.stdout
    assert not (project.folder / "dist").exists()
    assert not list((project.folder / "build").iterdir())


def test_a_check_that_fails_ends_before_anything_is_built(project: Project) -> None:
    project.git("tag", "v1.2.3")
    project.write("new.py", "")
    done = run(project, "1.2.3")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "make release: the tree has new.py, not committed: commit or remove it\n"
        "make release: the tag v1.2.3 is there already: use the next version\n"
    )
    assert not (project.folder / "build").exists()


PROVES = "check:\n\t@echo checked >> build/log\ntest-all:\n\t@echo tested $(ARGS) >> build/log; {}\n"


@pytest.fixture
def ready(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Its packages are two files, since their making has tests of its own."""

    @contextmanager
    def built(root: Path) -> Iterator[Path]:
        made = root / "build" / "made"
        made.mkdir(parents=True)
        (made / "fanout_server-1.2.3-py3-none-any.whl").write_bytes(b"")
        (made / "SHA256SUMS").write_text("a sum\n")
        yield made

    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "nobody")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "nobody@example.org")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("ARGS", "of this call")
    monkeypatch.setattr(release, "built", built)
    monkeypatch.setattr(
        release, "try_bare", lambda wheel: (project.folder / "build" / "tried").write_text(wheel.name)
    )
    return project


@pytest.mark.parametrize(
    ("test", "line", "tried"),
    [
        ("false", "make test-all fails: mend it, commit, and begin again", False),
        ("touch left", "while the tests ran: the tree has left, not committed: commit or remove it", True),
        ("git commit -q --allow-empty -m more", "while the tests ran: HEAD moved: begin again", True),
    ],
)
def test_nothing_is_kept_when_the_tests_fail_or_the_tree_changes(
    ready: Project, test: str, line: str, tried: bool
) -> None:
    ready.write("Makefile", PROVES.format(test))
    ready.commit()

    with pytest.raises(CannotBuild, match=line):
        release.release("1.2.3", is_dry=False, root=ready.folder)

    assert (ready.folder / "build" / "log").read_text() == "checked\ntested\n"
    assert (ready.folder / "build" / "tried").exists() is tried
    assert not (ready.folder / "dist").exists()


def test_a_release_leaves_its_packages_in_dist(ready: Project) -> None:
    ready.write("Makefile", PROVES.format("true"))
    ready.commit()

    assert release.release("1.2.3", is_dry=False, root=ready.folder) == ["a sum"]
    assert (ready.folder / "build" / "tried").read_text() == "fanout_server-1.2.3-py3-none-any.whl"
    assert len(list((ready.folder / "dist").iterdir())) == 2


def run(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deploy.packages.release", *arguments]
    return subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=False)
