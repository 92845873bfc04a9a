"""Where a figure comes from: what its command notes, and what is found of it when it is changed by hand."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import provenance
from benchmarks.provenance import (
    FIELDS,
    Entry,
    Measuring,
    changed_in,
    changes_since,
    digest,
    git,
    has_history,
    load,
    problems,
    sealed,
    tree_at,
    write,
)
from tests.lacking import needs

pytestmark = [pytest.mark.same_on_every_python, needs("git")]

PATHS = ["product", "tests/sweep", ":!product/page.md"]


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One with a product, its tests, and a document that quotes the figures."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "a")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@example.org")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    git("init", "--quiet")
    for name in ("product/server.py", "product/page.md", "tests/sweep/run.py", "docs/figures.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    commit(tmp_path, "product/server.py", "product/page.md", "tests/sweep/run.py", "docs/figures.json")
    return tmp_path


def commit(repository: Path, *names: str) -> str:
    for name in names:
        with (repository / name).open("a", encoding="utf-8") as file:
            file.write("a line\n")
    git("add", ".")
    git("commit", "--quiet", "--message=one more")
    return git("rev-parse", "--short=12", "HEAD")


def measured() -> Entry:
    return sealed({"measured": Measuring("make x", PATHS).done(), "samples": [1, 2, 3.5]})


def test_an_entry_says_what_was_measured_when_where_and_how(repository: Path) -> None:
    entry = measured()
    how = entry["measured"]
    assert {name: type(value) for name, value in how.items()} == FIELDS
    assert (how["command"], how["commit"]) == ("make x", git("rev-parse", "--short=12", "HEAD"))
    assert problems(entry, changes_at_most=0) == []
    assert problems(json.loads(json.dumps(entry, indent=3))) == []


def test_the_tree_is_that_of_the_measured_files_only(repository: Path) -> None:
    before = tree_at("HEAD", PATHS)
    commit(repository, "docs/figures.json", "product/page.md")
    assert tree_at("HEAD", PATHS) == before
    commit(repository, "tests/sweep/run.py")
    assert tree_at("HEAD", PATHS) != before


def test_what_is_not_committed_is_not_published_and_is_noted_when_it_is_tried(repository: Path) -> None:
    (repository / "docs/figures.json").write_text("written by a run", "utf-8")
    Measuring("make x", PATHS).done()
    (repository / "product/new.py").write_text("", "utf-8")
    (repository / "product/server.py").write_text("", "utf-8")
    with pytest.raises(click.ClickException, match=r"2 of the files .* are not committed: product/\w+\.py, "):
        Measuring("make x", PATHS)
    tried = sealed({"measured": Measuring("make x", PATHS, published=False).done()})
    assert sorted(tried["measured"]["changed"]) == ["product/new.py", "product/server.py"]
    assert problems(tried) == [
        "measured with files that are not committed: product/new.py, product/server.py"
    ]


def test_a_run_during_which_the_measured_tree_changes_has_no_figure(repository: Path) -> None:
    run = Measuring("make x", PATHS)
    (repository / "product/server.py").write_text("", "utf-8")
    with pytest.raises(click.ClickException, match=r"not committed: product/server\.py"):
        run.done()
    commit(repository)
    with pytest.raises(click.ClickException, match="another commit"):
        run.done()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda entry: entry.update(samples=[1, 2, 4.5]), "its digest is another"),
        (lambda entry: entry.update(more=1), "its digest is another"),
        (lambda entry: entry.pop("digest"), "its digest is another"),
        (lambda entry: entry["measured"].pop("machine"), "no machine"),
        (lambda entry: entry["measured"].update(load_before="0"), "no load_before"),
    ],
)
def test_a_change_by_hand_is_found(change: Any, found: str) -> None:
    entry = measured()
    change(entry)
    assert [problem for problem in problems(entry) if problem.startswith(found)]


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("commit", "0" * 12, f"no commit {'0' * 12} before this one"),
        ("tree", "0" * 16, "its tree is not that of commit"),
        ("paths", ["product"], "its tree is not that of commit"),
    ],
)
def test_where_it_comes_from_is_held_to_git_whatever_the_digest_says(
    name: str, value: Any, found: str
) -> None:
    entry = measured()
    entry["measured"][name] = value
    assert [problem[: len(found)] for problem in problems(sealed(entry))] == [found]


def test_a_commit_of_another_branch_is_not_in_the_history(repository: Path) -> None:
    git("checkout", "--quiet", "-b", "other")
    commit(repository, "product/server.py")
    entry = measured()
    git("checkout", "--quiet", "-")
    assert problems(entry) == [f"no commit {entry['measured']['commit']} before this one"]


def test_it_is_stale_after_more_than_so_many_changes_to_what_it_measures(repository: Path) -> None:
    entry = measured()
    began = entry["measured"]["commit"]
    commit(repository, "docs/figures.json")
    commit(repository, "product/page.md")
    assert changes_since(began, PATHS) == 0
    commit(repository, "product/server.py")
    commit(repository, "tests/sweep/run.py", "product/server.py")
    assert changes_since(began, PATHS) == 2
    assert problems(entry, changes_at_most=2) == []
    (stale,) = problems(entry, changes_at_most=1)
    assert stale.startswith("2 commits have changed what it measures since, at most 1 may: measure again")


def test_a_shallow_clone_knows_no_history(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(repository, "product/server.py")
    assert has_history()
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--depth=1", repository.as_uri(), clone], check=True)
    monkeypatch.setattr(provenance, "ROOT", clone)
    assert not has_history()
    monkeypatch.setattr(provenance, "ROOT", Path("/"))
    assert not has_history()
    with pytest.raises(click.ClickException, match="in a clone of the repository"):
        Measuring("make x", PATHS)
    tried = Measuring("make x", PATHS, published=False).done()
    assert (tried["commit"], tried["tree"]) == ("unknown", "unknown")
    monkeypatch.setenv("PATH", "")
    assert not has_history()


def test_the_digest_is_that_of_the_content_and_not_of_its_layout() -> None:
    assert digest({"a": 1, "b": [1.5, "ü"]}) == digest({"b": [1.5, "ü"], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2}) != digest({"a": "2"})
    with pytest.raises(ValueError, match="JSON"):
        digest(float("nan"))


def test_a_file_of_figures_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    write(path, {"cpu": 1})
    with pytest.raises(ValueError, match="JSON"):
        write(path, {"cpu": float("nan")})
    assert json.loads(path.read_text("utf-8")) == {"cpu": 1}


@settings(max_examples=30, deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_the_layout_of_a_file_changes_nothing_in_it(value: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "figures.json", {"of a section": [value] * 9})
        assert load(Path(folder) / "figures.json") == {"of a section": [value] * 9}


def test_what_fits_into_a_line_is_one(tmp_path: Path) -> None:
    write(tmp_path / "figures.json", {"short": [1, 2], "long": [1000] * 40, "words": ["a, b" * 20] * 2})
    lines = (tmp_path / "figures.json").read_text("utf-8").splitlines()
    assert lines[:2] == ["{", ' "short": [1, 2],']
    assert len(lines) == 2 + 5 + 4 + 1
    assert max(map(len, lines)) <= 110


def test_the_files_that_changed_are_named_with_their_folders(repository: Path) -> None:
    (repository / "tests/sweep/run.py").write_text("", "utf-8")
    (repository / "product/of two words.py").write_text("", "utf-8")
    assert changed_in(PATHS) == ["tests/sweep/run.py", '"product/of two words.py"']
