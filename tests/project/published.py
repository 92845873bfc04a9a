"""Everything that is published, held together: samples, digests, pages, plots, the record, and git's history.

Each part is a function from a tree to what does not hold in it. A test gives it this tree, in which all
holds, and copies in which one figure was changed by hand: each of these changes has to be found.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from benchmarks import history, page, plots, provenance
from benchmarks.provenance import CHANGES_AT_MOST, ROOT, Entry, git, load
from benchmarks.sections import SECTIONS as MEASURED
from tests.project import figures, measured, record
from tests.project.figure_sections import SECTIONS

GUARANTEES: Final = "docs/figures/guarantees.json"
PERFORMANCE: Final = "docs/figures/performance.json"
HISTORY: Final = "docs/figures/history.json"

Part = Callable[[Path], Iterator[str]]
"""From the root of a tree to what does not hold in it, each as a sentence."""


def tables(root: Path) -> Iterator[str]:
    """docs/guarantees.md and its figures."""
    entries, text = load(root / GUARANTEES), _text(root, "docs/guarantees.md")
    if figures.shown(text, entries) != text:
        yield "docs/guarantees.md does not show its figures: run make documents"
    if not (list(entries) == list(SECTIONS) and sorted(figures.marks(text)) == sorted(figures.tables())):
        yield "docs/guarantees.md, its figures and the sections are not the same"
    for name, entry in entries.items():
        yield from (f"{name}: {problem}" for problem in figures.problems(name, entry))
        yield from (f"{name}: {problem}" for problem in _problems(json.dumps(entry)))


def benchmark(root: Path) -> Iterator[str]:
    """docs/performance.md, its figures, its plots, and what other documents quote."""
    entries = load(root / PERFORMANCE)
    if page.page(entries) != _text(root, "docs/performance.md"):
        yield "docs/performance.md does not show its figures: run make documents"
    for path in page.QUOTING:
        name = path.relative_to(ROOT).as_posix()
        if page.quoted(_text(root, name), entries) != _text(root, name):
            yield f"{name} quotes another figure: run make documents"
    for name, entry in entries.items():
        if is_short(entry):
            if entry != provenance.sealed(entry):
                yield f"{name}: a short run, and no command has written it"
        else:
            yield from (f"{name}: {problem}" for problem in _problems(json.dumps(entry)))
        if hasattr(MEASURED[name], "plot"):
            image = page.image(name).relative_to(ROOT).as_posix()
            if plots.stamped(_text(root, image), entry["found"]) != _text(root, image):
                yield f"{image}: drawn from other figures, or changed: run make bench ARGS=--render"


def results(root: Path) -> Iterator[str]:
    """docs/record.md, its plot and the record of all results."""
    found = history.records(root / HISTORY)
    whole = {name: entry for name, entry in load(root / PERFORMANCE).items() if not is_short(entry)}
    entries = load(root / GUARANTEES) | whole
    yield from history.problems(found, entries)
    for commit in _commits_of(HISTORY):
        earlier = _records_at(commit)
        if found[: len(earlier)] != earlier:
            yield f"{HISTORY}: not the records of commit {commit}, and what came after them"
    for name, entry in entries.items():
        last = next((each for each in reversed(found) if each["section"] == name), None)
        if last and last["figures"] != main_figures(name, entry):
            yield f"{name}: the record has other figures than the entry"
    for each in found:
        if "published" in each and _in_git(each["section"], each["published"]) != each["figures"]:
            yield f"{each['section']}: commit {each['published']} has not published this"
        if not {"published", "entry"} & each.keys():
            yield f"{each['section']}: a record of nothing"
    if record.page(_text(root, "docs/record.md"), found) != _text(root, "docs/record.md"):
        yield "docs/record.md does not show the record: run make documents"
    if record.svg(found) != _text(root, "docs/images/record.svg"):
        yield "docs/images/record.svg was not drawn from the record: run make documents"


def prose(root: Path) -> Iterator[str]:
    """The single figures in the documents."""
    sources = measured.load(root)
    for path in measured.DOCUMENTS:
        name = path.relative_to(ROOT).as_posix()
        unknown, unquoted = measured.unsourced(root, name, sources)
        if unknown:
            yield f"{name}: {', '.join(sorted(unknown))} not in docs/figures/measured.json"
        if unquoted:
            yield f"{name}: {', '.join(sorted(unquoted))} no longer there"
        found, noted = measured.often(root, name, sources), sources["often"].get(name, {})
        for each, count in found.items():
            if count != noted.get(each, 0):
                yield f"{name}: {each} stands there {count} times, not {noted.get(each, 0)} as noted"
    for each in sources["measured"]:
        commit, name = each["transcribed"]["commit"], each["document"]
        if not {*each["figures"]} <= _quantities_at(commit, name):
            yield f"{name}, {each['what']}: commit {commit} does not have these figures"
    yield from _tables(root, sources)
    for each in sources["files"]:
        if git("hash-object", str(root / each["file"])) != _blob_at(each["written"]["commit"], each["file"]):
            yield f"{each['file']} is not that of commit {each['written']['commit']}"
    if not measured.shows_clients(_text(root, "docs/upstream.md"), json.loads(_text(root, measured.CLIENTS))):
        yield f"docs/upstream.md does not show {measured.CLIENTS}"


def _tables(root: Path, sources: dict[str, Any]) -> Iterator[str]:
    """Those that are transcribed as a whole."""
    for path in measured.DOCUMENTS:
        name = path.relative_to(ROOT).as_posix()
        commits = [each["transcribed"]["commit"] for each in sources["tables"] if each["document"] == name]
        of_clients = json.loads(_text(root, measured.CLIENTS)) if name == "docs/upstream.md" else ()
        found = measured.tables(_text(root, name))
        if len(found) != len(commits) + len(of_clients):
            yield f"{name}: {len(found)} tables with figures, {len(commits)} in docs/figures/measured.json"
        known = {table for commit in commits for table in measured.tables(_file_at(commit, name))}
        if not of_clients and not {*found} <= known:
            yield f"{name}: a table that none of the commits of docs/figures/measured.json has"


PARTS: Final[dict[str, Part]] = {
    "docs/guarantees.md": tables,
    "docs/performance.md": benchmark,
    "docs/record.md": results,
    "prose": prose,
}


def main_figures(name: str, entry: Entry) -> dict[str, float]:
    """Those of an entry that its record has."""
    if name in SECTIONS:
        return SECTIONS[name].main(entry["samples"])
    return history.main_figures(MEASURED[name], entry["found"])


def is_short(entry: Entry) -> bool:
    """Whether a section of the benchmark was only tried. It has no record, and the page warns of each of its
    figures. Nothing else has a short form."""
    return isinstance(entry.get("measured"), dict) and bool(entry["measured"].get("short"))


def stale(name: str, entry: Entry) -> str:
    """Why an entry has to be measured again; empty if it does not."""
    paths = figures.paths_of(SECTIONS[name]) if name in SECTIONS else entry["measured"]["paths"]
    since = provenance.changes_since(entry["measured"]["commit"], paths)
    return f"{since} commits have changed what it measures, more than {CHANGES_AT_MOST}" * (
        since > CHANGES_AT_MOST
    )


@cache
def _problems(entry: str) -> list[str]:
    return provenance.problems(json.loads(entry))


@cache
def _in_git(section: str, commit: str) -> dict[str, float]:
    return history.figures_in_git(section, commit) if provenance.is_in_history(commit) else {}


@cache
def _commits_of(name: str) -> list[str]:
    """Those that have changed a file."""
    return git("log", "--format=%h", "--", name).split()


@cache
def _records_at(commit: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(_file_at(commit, HISTORY))["records"]
    return records


@cache
def _quantities_at(commit: str, name: str) -> set[str]:
    return measured.quantities(_file_at(commit, name))


@cache
def _blob_at(commit: str, name: str) -> str:
    return git("rev-parse", f"{commit}:{name}", check=False) if provenance.is_in_history(commit) else ""


@cache
def _file_at(commit: str, name: str) -> str:
    """Empty when there is none, or when the commit is not one before this one."""
    return git("show", f"{commit}:{name}", check=False) + "\n" if provenance.is_in_history(commit) else ""


def _text(root: Path, name: str) -> str:
    return (root / name).read_text("utf-8")
