"""A published figure is that of its command: a change by hand is found, in whatever one place it was made."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks import history, plots, provenance
from benchmarks.comparison import Comparison
from benchmarks.provenance import FIELDS, Entry, has_history, load, sealed, write
from benchmarks.sections import SECTIONS as MEASURED
from fanout.lab.broken import in_order
from fanout.testing.breakages.patches import LAYERS, breakages
from fanout.testing.prove.scenarios import SCENARIOS as PROGRAMS
from fanout.testing.world import met
from tests.breakages.layers import CONTROL, control
from tests.lacking import reason
from tests.mutation.rooms import ROOMS
from tests.project import figures, measured, published
from tests.project.figure_sections import SECTIONS
from tests.project.figures import ROOT
from tests.project.published import GUARANTEES, HISTORY, PARTS, PERFORMANCE, Part
from tests.sweep.actions import ACTIONS
from tests.sweep.situations import ENDPOINTS, SITUATIONS

ENTRIES = {**load(ROOT / GUARANTEES), **load(ROOT / PERFORMANCE)}

pytestmark = [
    pytest.mark.same_on_every_python,
    pytest.mark.skipif(
        not has_history(), reason=reason("the history of git", "git fetch --unshallow, in a clone")
    ),
]


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS.keys())
def test_everything_published_is_what_its_commands_have_found(part: Part) -> None:
    assert list(part(ROOT)) == []


@pytest.mark.parametrize("name", [*SECTIONS, *MEASURED])
def test_what_is_measured_has_not_changed_more_often_than_it_may(name: str) -> None:
    entry = ENTRIES[name]
    if name in MEASURED and published.is_short(entry):
        pytest.xfail(f"a short run: measure it with {command_of(name)}")
    assert published.stale(name, entry) == "", f"measure it with {command_of(name)}"


@pytest.mark.parametrize("name", ["sweep", "cpu"])
@pytest.mark.parametrize(("changes", "is_stale"), [(provenance.CHANGES_AT_MOST, False), (41, True)])
def test_an_entry_is_stale_after_too_many_changes(
    name: str, changes: int, is_stale: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "changes_since", lambda commit, paths: changes if paths else 0)
    entry = {"measured": {"commit": "0" * 12, "paths": ["fanout"]}}
    assert bool(published.stale(name, entry)) is is_stale


def command_of(name: str) -> str:
    return f"make figures ARGS={name}" if name in SECTIONS else f'make bench ARGS="--only {name}"'


# --- a change by hand


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of all that is published."""
    for pattern in (
        "*.md",
        "docs/*.md",
        "docs/figures/*.json",
        "docs/images/*.svg",
        "benchmarks/performance.md",
    ):
        for path in ROOT.glob(pattern):
            to = tmp_path / path.relative_to(ROOT)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to)
    shutil.copytree(ROOT / "benchmarks/results", tmp_path / "benchmarks/results")
    return tmp_path


def in_text(name: str, pattern: str, new: str) -> Callable[[Path], None]:
    """Writes something else for the first place in a file that fits."""

    def change(root: Path) -> None:
        before = (root / name).read_text("utf-8")
        after = re.sub(pattern, new, before, count=1)
        assert after != before, f"{name} does not have {pattern}"
        (root / name).write_text(after, "utf-8")

    return change


def in_json(name: str, change_of: Callable[[Any], None]) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        figures_of = load(root / name)
        change_of(figures_of)
        assert figures_of != load(root / name)
        write(root / name, figures_of)

    return change


def lower_one(value: Any) -> bool:
    """Take a tenth off the first fraction, which is some sample. False when there is none."""
    for place, each in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(each, float):
            value[place] = each * 0.9
            return True
        if isinstance(each, dict | list) and lower_one(each):
            return True
    return False


def _requests(entries: Any) -> None:
    entries["worlds"]["samples"]["runs"]["requests"][0] += 98_999_999


def _sweep_with_its_digest(entries: Any) -> None:
    """A careful hand: the digest of the entry is written again, and the page as well."""
    entries["sweep"]["samples"]["both succeed"][0]["runs"]["drain"] -= 1
    entries["sweep"] = sealed(entries["sweep"])


def _a_short_sweep(entries: Any) -> None:
    """Short runs of the benchmark have no record and are never stale. Nothing else has short runs."""
    entries["sweep"]["measured"] |= {"short": True, "commit": "0" * 12}
    entries["sweep"] = sealed(entries["sweep"])


def _another_command(entries: Any) -> None:
    entries["sweep"]["measured"]["command"] = "make sweep ARGS=--json"
    entries["sweep"] = sealed(entries["sweep"])


def _fewer_paths(entries: Any) -> None:
    """As if the simulation were not measured, which has changed since."""
    measured_as = entries["sweep"]["measured"]
    measured_as["commit"] = "7075c853b6b0"
    measured_as["paths"] = [path for path in measured_as["paths"] if path != "fanout/testing"]
    measured_as["tree"] = provenance.tree_at(measured_as["commit"], measured_as["paths"])
    entries["sweep"] = sealed(entries["sweep"])


def _commit_of_zeros(entries: Any) -> None:
    entries["sweep"]["measured"]["commit"] = "0" * 12
    entries["sweep"] = sealed(entries["sweep"])


def _other_tree(entries: Any) -> None:
    entries["sweep"]["measured"]["tree"] = "0" * 16
    entries["sweep"] = sealed(entries["sweep"])


def _without_digest(entries: Any) -> None:
    del entries["sweep"]["digest"]


def _quieter(entries: Any) -> None:
    entries["cpu"]["measured"]["load_before"] = 0.0


def _faster(entries: Any) -> None:
    assert lower_one(entries["cpu"]["found"])


def _lighter(entries: Any) -> None:
    assert lower_one(entries["memory"]["found"])


def _older_result(found: Any) -> None:
    found["records"][1]["figures"]["runs of the sweep"] = 9999


def _in_one_chain(found: Any) -> None:
    before = ""
    for number, each in enumerate(found["records"]):
        found["records"][number] = sealed({**each, "before": before})
        before = found["records"][number]["digest"]


def _older_result_with_its_digests(found: Any) -> None:
    found["records"][1]["figures"]["runs of the sweep"] = 9999
    _in_one_chain(found)


def _superseded_result_with_its_digests(found: Any) -> None:
    """One that a command has published, and that a later one has replaced."""
    each = next(each for each in found["records"] if "entry" in each and each["section"] == "sweep")
    each["figures"]["runs of the sweep"] = 9999
    _in_one_chain(found)


def _no_superseded_result(found: Any) -> None:
    each = next(each for each in found["records"] if "entry" in each and each["section"] == "sweep")
    found["records"].remove(each)
    _in_one_chain(found)


def _no_bad_result(found: Any) -> None:
    del found["records"][3]


def _source_as_well(sources: Any) -> None:
    (entry,) = (each for each in sources["measured"] if "50 KiB" in each["figures"])
    entry["figures"] = ["5 KiB"]
    often = sources["often"][entry["document"]]
    often["5 KiB"] = often.pop("50 KiB")


def _short(entries: Any) -> None:
    entries["tls"]["measured"]["short"] = True


def _moon(sources: Any) -> None:
    sources["measured"][0]["figures"].append("77 %")


def _more_runs_than_points(entries: Any) -> None:
    entries["sweep"]["samples"]["both succeed"][0]["runs"]["drain"] = 99


def _result_of_nothing(found: Any) -> None:
    del found["records"][-1]["entry"]


BY_HAND = {
    "a cell of a table": (
        in_text("docs/guarantees.md", r"(?m)^\| drain \| [\d,]+ \|$", "| drain | 9,999 |"),
        "docs/guarantees.md does not show its figures",
    ),
    "the commit below a table": (
        in_text("docs/guarantees.md", r"(?<=seeds 1 --json\"`, )(.*)commit \w+", r"\1commit 000000000000"),
        "docs/guarantees.md does not show its figures",
    ),
    "a whole table, taken away": (
        in_text("docs/guarantees.md", r"(?s)<!-- figures: lab -->.*?<!-- end -->", ""),
        "its figures and the sections are not the same",
    ),
    "the requests of a simulation run": (in_json(GUARANTEES, _requests), "worlds: "),
    "a sample of the sweep": (
        in_json(GUARANTEES, _more_runs_than_points),
        "sweep: both succeed: more runs of one interruption than there are points",
    ),
    "a sample of the sweep, and its digest": (
        in_json(GUARANTEES, _sweep_with_its_digest),
        "sweep: not the entry that was published last",
    ),
    "a sweep that is said to be short, and its digest": (
        in_json(GUARANTEES, _a_short_sweep),
        "sweep: no commit 000000000000 before this one",
    ),
    "the command of the sweep, and its digest": (
        in_json(GUARANTEES, _another_command),
        "sweep: measured by another command",
    ),
    "what the sweep has measured, and its digest": (
        in_json(GUARANTEES, _fewer_paths),
        "sweep: measured without fanout/testing, ",
    ),
    "the commit of the sweep, and its digest": (
        in_json(GUARANTEES, _commit_of_zeros),
        "sweep: no commit 000000000000 before this one",
    ),
    "the measured tree, and its digest": (
        in_json(GUARANTEES, _other_tree),
        "sweep: its tree is not that of commit",
    ),
    "the digest, taken away": (in_json(GUARANTEES, _without_digest), "sweep: its digest is another"),
    "the load of the machine": (in_json(PERFORMANCE, _quieter), "cpu: "),
    "a round of the benchmark": (in_json(PERFORMANCE, _faster), "cpu: "),
    "a figure of the benchmark": (in_json(PERFORMANCE, _lighter), "memory: "),
    "how short a run was": (in_json(PERFORMANCE, _short), "tls: a short run, and no command has written it"),
    "a ratio of the page": (
        in_text("docs/performance.md", r"\b\d\.\d\d ±", "0.50 ±"),
        "docs/performance.md does not show its figures",
    ),
    "a figure in README": (
        in_text("README.md", r"(\| memory of a request in flight \|) [\d.]+", r"\1 1.0"),
        "README.md quotes another figure",
    ),
    "a bar of a plot": (
        in_text("docs/images/performance-cpu.svg", r'(<path d="M [\d.]+) ', r"\g<1>9 "),
        "docs/images/performance-cpu.svg: drawn from other figures, or changed",
    ),
    "the stamp of a plot": (
        in_text("docs/images/performance-cpu.svg", r"drawn from \w+", f"drawn from {'0' * 64}"),
        "docs/images/performance-cpu.svg: drawn from other figures, or changed",
    ),
    "a point of the record's plot": (
        in_text("docs/images/record.svg", r'cy="\d+', 'cy="1'),
        "docs/images/record.svg was not drawn from the record",
    ),
    "a row of the record's page": (
        in_text("docs/record.md", r"8,875", "9,875"),
        "docs/record.md does not show the record",
    ),
    "an older result": (in_json(HISTORY, _older_result), "record 2, sweep: changed, or not in its place"),
    "an older result, and all digests": (
        in_json(HISTORY, _older_result_with_its_digests),
        "sweep: commit 2eb55e916362 has not published this",
    ),
    "a superseded result, and all digests": (
        in_json(HISTORY, _superseded_result_with_its_digests),
        "docs/figures/history.json: not the records of commit",
    ),
    "a superseded result, taken away, and all digests": (
        in_json(HISTORY, _no_superseded_result),
        "docs/figures/history.json: not the records of commit",
    ),
    "an older result, taken away": (in_json(HISTORY, _no_bad_result), "changed, or not in its place"),
    "where a result comes from": (in_json(HISTORY, _result_of_nothing), "a record of nothing"),
    "a figure in the prose": (
        in_text("docs/architecture.md", r"\b50 KiB\b", "5 KiB"),
        "docs/architecture.md: 5 KiB not in docs/figures/measured.json",
    ),
    "a source of the prose": (
        in_json("docs/figures/measured.json", _source_as_well),
        "commit dcb8061a541e does not have these figures",
    ),
    "a source of nothing": (
        in_json("docs/figures/measured.json", _moon),
        "docs/architecture.md: 77 % no longer there",
    ),
    "a cell of a table in the prose": (
        in_text("docs/discussion.md", r"11 of 37", "1 of 37"),
        "docs/discussion.md: a table that none of the commits",
    ),
    "a count in a cell of the prose": (
        in_text("docs/discussion.md", r"738 of 9,010", "38 of 9,010"),
        "docs/discussion.md: 38 of 9,010 not in docs/figures/measured.json",
    ),
    "a rate in a cell of the prose": (
        in_text("docs/discussion.md", r"145\.5 per second", "185.5 per second"),
        "docs/discussion.md: 185.5 per second not in docs/figures/measured.json",
    ),
    "a count in a finding": (
        in_text("docs/guarantees.md", r"131 of 1,200", "13 of 1,200"),
        "docs/guarantees.md: 13 of 1,200 not in docs/figures/measured.json",
    ),
    "millions in the prose": (
        in_text("docs/architecture.md", r"1\.52 million", "1.22 million"),
        "docs/architecture.md: 1.22 million not in docs/figures/measured.json",
    ),
    "one bound for another": (
        in_text("docs/guarantees.md", r"\b75 s later", "30 s later"),
        "docs/guarantees.md: 30 s stands there",
    ),
    "one of two places": (
        in_text("docs/architecture.md", r"(?s)(\b50 KiB\b.*?)\b50 KiB\b", r"\g<1>64 KiB"),
        "docs/architecture.md: 50 KiB stands there 1 times, not 2 as noted",
    ),
    "the source of such a table": (
        in_json("docs/figures/measured.json", lambda sources: sources["tables"].pop()),
        "docs/http.md: 1 tables with figures, 0 in",
    ),
    "a byte of a picture": (
        lambda root: (root / "benchmarks/results/pool.png").write_bytes(b"drawn by hand"),
        "benchmarks/results/pool.png is not that of commit",
    ),
    "a cell of a client": (in_text(measured.CLIENTS, r"209\.67", "209.68"), "is not that of commit"),
    "a cell of a client, on the page": (
        in_text("docs/upstream.md", r"(\| fanout \|) \d+", r"\1 99"),
        f"docs/upstream.md does not show {measured.CLIENTS}",
    ),
}


def found_in(root: Path) -> list[str]:
    return [problem for part in PARTS.values() for problem in part(root)]


def test_a_copy_is_as_whole_as_the_tree(tree: Path) -> None:
    assert found_in(tree) == []


@pytest.mark.parametrize(("change", "found"), BY_HAND.values(), ids=BY_HAND.keys())
def test_a_figure_changed_by_hand_is_found(change: Callable[[Path], None], found: str, tree: Path) -> None:
    change(tree)
    assert [problem for problem in found_in(tree) if found in problem]


def test_a_figure_of_the_prose_changed_with_its_source_is_found(tree: Path) -> None:
    """The commit that the source names did not have it."""
    in_json("docs/figures/measured.json", _source_as_well)(tree)
    text = (tree / "docs/architecture.md").read_text("utf-8")
    (tree / "docs/architecture.md").write_text(text.replace("50 KiB", "5 KiB"), "utf-8")
    (problem,) = found_in(tree)
    assert problem.endswith("does not have these figures")


@pytest.mark.parametrize("short", [False, True])
def test_a_sample_changed_with_its_digest_and_its_page_is_found_by_the_record(
    short: bool, tree: Path
) -> None:
    """Also one that claims to be a short run: those of the benchmark have no record."""

    def by_hand(entries: Any) -> None:
        entries["sweep"]["measured"] |= {"short": True} if short else {}
        _sweep_with_its_digest(entries)

    in_json(GUARANTEES, by_hand)(tree)
    text = (tree / "docs/guarantees.md").read_text("utf-8")
    (tree / "docs/guarantees.md").write_text(figures.shown(text, load(tree / GUARANTEES)), "utf-8")
    assert found_in(tree) == [
        "sweep: not the entry that was published last",
        "sweep: the record has other figures than the entry",
    ]


# --- what a section finds in its samples

SWEPT: Any = {
    situation.name: [
        {
            "endpoint": endpoint,
            "seed": 0,
            "points": 5,
            "runs": {a.name: 5 for a in ACTIONS},
            "broken": 0,
        }
        for endpoint in ENDPOINTS
    ]
    for situation in SITUATIONS
}
RAN: Any = {
    "seeds": 2,
    "requests": 2000,
    "violations": 0,
    "requests_per_cpu_hour": 3_600_000,
    "missed": [],
    "met": dict.fromkeys(met.SITUATIONS, 3),
    "runs": {"seed": [0, 1], "requests": [999, 1001], "violations": [0, 0], "cpu_s": [1.0, 1.0]},
}
CAUGHT: Any = {
    each.name: {
        layer: {"after": "1 run" if layer in each.caught_by else None, "why": "", "took_s": 1.0}
        for layer in LAYERS
    }
    for each in [control(breakages().values()), *breakages().values()]
}
IN_THE_LAB: Any = {each.name: [{"missed": "", "took_s": 2.0, "seen": ["G1"]}] * 2 for each in in_order()}
LOST, KEPT = ({"tried": 5, "rounds": 2, "lost": lost} for lost in ("a slot", ""))
POOLS: Any = {
    name: {"simulation": dict(search), "sweep": dict(search)}
    for name, search in (("httpx's, httpcore 1", LOST), ("fanout's", KEPT))
}
COUNTS = {"mutants": 100, "killed": 99, "explained": 1, "survived": 0}
NO_MUTANTS = dict.fromkeys(COUNTS, 0)
MUTATED: Any = {
    f"mutants-{room.name}": {
        "parts": [room.name],
        "rooms": [
            {
                "name": room.name,
                "title": room.title,
                "files": {
                    **{path: dict(NO_MUTANTS) for path in room.paths()},
                    room.paths()[-1]: dict(COUNTS),
                },
                **COUNTS,
            }
        ],
    }
    for room in ROOMS
}
CHECKED: Any = [[{"default": {"cpu_us": 103.0}, "logs and metrics": {"cpu_us": 100.0}}] * 2] * 2
PROVEN: Any = {
    "deviations": 2,
    "failing": None,
    "took_s": 1.0,
    **{what: each * len(PROGRAMS) for what, each in (("runs", 6), ("traces", 5), ("states", 4))},
    "scenarios": {
        name: {"title": name, "runs": 6, "runs_by_deviations": [1, 2, 3], "traces": 5, "states": 4}
        for name in PROGRAMS
    },
}
SAMPLES = {
    "worlds": RAN,
    "prove": PROVEN,
    "sweep": SWEPT,
    "breakages": CAUGHT,
    "lab": IN_THE_LAB,
    **MUTATED,
    "httpcore": POOLS,
    "leak_check": CHECKED,
}


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_makes_its_table_and_its_main_figures_of_good_samples(name: str) -> None:
    section, samples = SECTIONS[name], SAMPLES[name]
    columns, rows = section.table(samples)
    assert section.wrong(samples) == []
    assert {len(row) for row in rows} == {len(columns)}
    assert all(isinstance(value, int | float) for value in section.main(samples).values())


def _put(place: list[Any], value: Any) -> Callable[[Any], None]:
    def change(samples: Any) -> None:
        for each in place[:-1]:
            samples = samples[each]
        samples[place[-1]] = value

    return change


RACE = ROOMS[0].paths()[-1]
IN_RACE = ["rooms", 0, "files"]
BOTH, FIRST, LAB = SITUATIONS[0].name, next(iter(breakages())), next(iter(IN_THE_LAB))
LAST_MET = [*met.SITUATIONS][-1]


def _never_slow(samples: Any) -> None:
    """In so many requests that it should have been met; and the command has not noticed."""
    samples["runs"] = {
        "seed": [*range(20)],
        "requests": [1000] * 20,
        "violations": [0] * 20,
        "cpu_s": [1] * 20,
    }
    samples["met"]["a head comes too slowly"] = 0


@pytest.mark.parametrize(
    ("name", "change", "found"),
    [
        ("worlds", _put(["requests"], 99_999_999), "not the sum of its samples, 2,000"),
        ("worlds", _put(["violations"], 1), "not the sum of its samples, 0"),
        ("worlds", _put(["requests_per_cpu_hour"], 4_000_000), "do not follow from the samples"),
        ("worlds", _put(["runs", "seed"], [0, 2]), "a seed is left out"),
        ("worlds", _put(["runs", "cpu_s"], [2.0]), "a run lacks a sample"),
        ("worlds", _put(["met", "the moon is full"], 1), "the moon is full gone"),
        ("worlds", lambda samples: samples["met"].popitem(), f"{LAST_MET} new"),
        ("worlds", _put(["missed"], ["a head comes too slowly"]), "not met: a head"),
        ("worlds", _never_slow, "not met: a head comes too slowly"),
        ("sweep", lambda samples: samples.pop(BOTH), f"{BOTH} new"),
        ("sweep", _put(["a situation of yesterday"], SWEPT[BOTH]), "a situation of yesterday gone"),
        ("sweep", lambda samples: samples[BOTH].pop(), "an endpoint or a seed is left out"),
        ("sweep", _put([BOTH, 0, "runs", "drain"], 6), "more runs of one interruption than there are points"),
        ("prove", lambda samples: samples["scenarios"].pop("first"), "first new"),
        ("prove", _put(["deviations"], 1), "not run up to it"),
        ("prove", _put(["failing"], {"repeat": "fanout prove --schedule 1"}), "a schedule broke a guarantee"),
        ("prove", _put(["runs"], 99_999_999), "the runs are not the sum over the programs"),
        ("prove", _put(["scenarios", "first", "runs"], 7), "first: its runs are not those of each number"),
        ("breakages", lambda samples: samples.pop(FIRST), f"{FIRST} new"),
        ("breakages", _put([FIRST, "unit", "after"], None), f"{FIRST}: caught by"),
        ("breakages", _put([CONTROL, "sweep", "after"], "1 run"), "nothing: caught by sweep"),
        ("breakages", lambda samples: samples.pop(CONTROL), "nothing new"),
        ("lab", lambda samples: samples.pop(LAB), f"{LAB} new"),
        ("lab", _put([LAB, 0], {"missed": "exit code 0", "took_s": 1.0, "seen": ["G1"]}), "exit code 0"),
        ("lab", _put([LAB], IN_THE_LAB[LAB][:1]), "the same number of rounds"),
        ("lab", _put([LAB, 0, "seen"], []), "nothing seen"),
        ("mutants-race", lambda samples: samples["rooms"].pop(), "race new"),
        ("mutants-race", _put(["parts"], [RACE]), "some of the mutants, not all of them"),
        ("mutants-race", _put(["rooms", 0, "killed"], 100), "race: killed is not the sum over its files"),
        (
            "mutants-race",
            _put(["rooms", 0, "files", RACE, "killed"], 60),
            f"{RACE}: its mutants are not those",
        ),
        (
            "mutants-race",
            _put(["rooms", 0, "files", RACE, "killed"], 60),
            "race: fewer than 95 % of the mutants",
        ),
        (
            "mutants-race",
            _put(["rooms", 0, "files", "fanout/race/gone.py"], COUNTS),
            "is not mutated any more",
        ),
        ("mutants-race", lambda samples: samples["rooms"][0]["files"].pop(RACE), f"{RACE} is new, and"),
        ("breakages", _put([FIRST, "the moon"], None), f"{FIRST}: the layers are no longer"),
        ("httpcore", _put(["fanout's", "sweep", "lost"], "a slot"), "fanout's pool has lost a slot"),
        ("httpcore", _put(["httpx's, httpcore 1", "sweep", "lost"], ""), "loses no slot in the sweep"),
        ("httpcore", _put(["fanout's", "sweep", "rounds"], 1), "not the same number of runs in the sweep"),
        ("leak_check", lambda samples: samples[0][0].pop("default"), "1 rounds lack a variant"),
    ],
)
def test_samples_that_contradict_themselves_or_the_code_are_found(
    name: str, change: Callable[[Any], object], found: str
) -> None:
    samples = json.loads(json.dumps(SAMPLES[name]))
    change(samples)
    assert [problem for problem in SECTIONS[name].wrong(samples) if found in problem]


def test_a_median_follows_from_its_samples() -> None:
    ((_, cell),) = SECTIONS["leak_check"].table(CHECKED)[1]
    assert cell == "3.0 ± 0.0 %"


# --- the command


@pytest.fixture
def publishing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`make figures` writes below this folder; its section is measured by whatever the test puts there."""
    for module, name in ((figures, "DOCUMENT"), (figures, "FIGURES"), (history, "HISTORY")):
        path = tmp_path / getattr(module, name).name
        shutil.copy(getattr(module, name), path)
        monkeypatch.setattr(module, name, path)
    monkeypatch.setattr(provenance, "changed_in", lambda paths: [])
    return tmp_path


@pytest.fixture
def kept_in(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where files are kept that have no place of their own."""
    folder = tmp_path_factory.mktemp("kept")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def section_that(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    section = replace(SECTIONS["leak_check"], command=command)
    monkeypatch.setitem(SECTIONS, "leak_check", section)


def files_in(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in sorted(folder.iterdir())}


def test_a_command_that_ends_well_publishes_entry_table_and_record(
    publishing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (publishing / "samples").write_text("progress\n" + json.dumps(CHECKED) + "\nmake: leaving", "utf-8")
    section_that(monkeypatch, f"cat {publishing / 'samples'}")
    result = CliRunner().invoke(figures.main, ["leak_check"])
    assert (result.output, result.exit_code) == ("leak_check: published\n", 0)
    entry = load(figures.FIGURES)["leak_check"]
    assert entry["samples"] == CHECKED
    assert set(entry["measured"]) == set(FIELDS)
    assert provenance.problems(entry, changes_at_most=0) == []
    assert history.records()[-1]["figures"] == {"leak check, % of a request": 3.0}
    assert history.problems(history.records(), {"leak_check": entry}) == []
    assert "| 3.0 ± 0.0 % |" in figures.DOCUMENT.read_text("utf-8")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("false", "false has ended with 1: nothing is published"),
        ("sh -c 'echo [[{}]]; exit 3'", "has ended with 3: nothing is published"),
        ("sh -c 'echo survived: a mutant; echo [[{}]]; exit 3'", "survived: a mutant\n"),
        ("sh -c 'echo [[{}]]; kill -INT $$'", "has ended with -2: nothing is published"),
        ("echo no samples", "nothing is published"),
        ("echo '[[{}]]'", "1 rounds lack a variant: nothing is published"),
    ],
)
def test_a_command_that_fails_publishes_nothing(
    command: str, why: str, publishing: Path, kept_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section_that(monkeypatch, command)
    before = files_in(publishing)
    result = CliRunner().invoke(figures.main, ["leak_check"])
    assert result.exit_code == 1
    assert why in result.output
    assert files_in(publishing) == before


def test_what_a_command_that_fails_has_printed_is_kept(
    publishing: Path, kept_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have run for half an hour, and the samples say what was wrong."""
    section_that(monkeypatch, "sh -c 'echo [[{}]]; exit 3'")
    result = CliRunner().invoke(figures.main, ["leak_check"])
    (kept,) = kept_in.iterdir()
    assert f"{kept} has what it has printed" in result.output
    assert kept.read_text("utf-8") == "[[{}]]\n"


def test_packages_that_are_judged_apart_are_rows_of_one_table(
    publishing: Path, kept_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that fails does not keep the next from being published, and stays out of the table."""
    names = ("mutants-race", "mutants-pool", "mutants-api")
    monkeypatch.setattr(figures, "TOGETHER", {"mutants": names})
    before = {name: entry for name, entry in load(figures.FIGURES).items() if name not in names}
    figures.FIGURES.write_text(json.dumps(before), "utf-8")
    for name in names:
        (publishing / name).write_text(json.dumps(MUTATED[name]), "utf-8")
        command = "false" if name == "mutants-pool" else f"cat {publishing / name}"
        monkeypatch.setitem(SECTIONS, name, replace(SECTIONS[name], command=command))
    result = CliRunner().invoke(figures.main, ["mutants"])
    assert result.exit_code == 1
    assert re.findall("mutants-[a-z]+: published", result.output) == [
        "mutants-race: published",
        "mutants-api: published",
    ]
    published_now = load(figures.FIGURES)
    assert {*names} & published_now.keys() == {"mutants-race", "mutants-api"}
    text = figures.DOCUMENT.read_text("utf-8")
    table = text.partition("<!-- figures: mutants -->")[2].partition("<!-- end -->")[0]
    rows = [line for line in table.splitlines() if line.startswith("| the")]
    assert [row.partition(" (")[0] for row in rows] == [
        "| the race and the admission",
        "| the handlers and load shedding",
    ]
    measured_as = published_now["mutants-api"]["measured"]
    how = f"{measured_as['date']}, commit {measured_as['commit']}, "
    assert f"| 100 | 99 | 1 | 0 | 99.0 % | {how}" in rows[1]
    assert "Not measured yet: mutants-pool." in table
    assert text == figures.shown(text, published_now)


def test_the_overview_lists_every_section_with_its_command() -> None:
    result = CliRunner().invoke(figures.main)
    lines = result.output.splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(SECTIONS)
    assert all(line.endswith(section.command) for line, section in zip(lines, SECTIONS.values(), strict=True))


# --- plots and records


def test_a_stamp_is_that_of_the_figures_and_of_the_drawing() -> None:
    drawn = plots.stamped("<svg>\n</svg>\n", {"a": 1})
    assert plots.stamped(drawn, {"a": 1}) == drawn
    assert plots.stamped(drawn, {"a": 2}) != drawn
    assert plots.stamped(drawn.replace("<svg>", "<svg >"), {"a": 1}) != drawn.replace("<svg>", "<svg >")


def test_a_record_is_behind_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "HISTORY", tmp_path / "history.json")
    path = tmp_path / "figures.json"
    how = dict.fromkeys(("commit", "tree", "machine", "python"), "x")
    entries: dict[str, Entry] = {}
    for number in range(3):
        entries = {**entries, f"section {number % 2}": sealed({"measured": how, "samples": [number]})}
        history.publish(path, entries, f"section {number % 2}", {"figure": number})
    found = history.records(tmp_path / "history.json")
    assert [(each["section"], each["figures"]["figure"]) for each in found] == [
        ("section 0", 0),
        ("section 1", 1),
        ("section 0", 2),
    ]
    assert load(path) == entries
    assert history.problems(found, entries) == []
    assert history.problems([found[1], *found[1:]], entries) != []
    assert history.problems(found[1:], entries) != []
    assert history.problems(found[:2], entries) == ["section 0: not the entry that was published last"]


def test_the_record_has_our_figure_and_that_of_the_best_peer_in_python() -> None:
    """An infinite one, of a server without any useful answer, is none."""
    samples = {"fanout": [3.0, 1.0, 2.0], "aiohttp, tuned": [5.0], "aiohttp, uvloop": [4.0], "Go": [1.0]}
    comparisons = [Comparison("CPU", "µs", samples), Comparison("cost", "µs", {**samples, "fanout": [inf]})]
    section: Any = SimpleNamespace(compared=lambda found: comparisons)
    figures = history.main_figures(section, {})
    assert figures == {"CPU": 2.0, "CPU: aiohttp, uvloop": 4.0, "cost: aiohttp, uvloop": 4.0}
    assert history.peer_in(figures, "CPU") == ("aiohttp, uvloop", 4.0)
    assert history.peer_in(figures, "memory") is None
    assert history.main_figures(MEASURED["profile"], {}) == {}
