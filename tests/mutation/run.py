"""Mutation testing: would the tests notice?  python -m tests.mutation.run [PART ...]

A PART chooses mutants by their room, or by a piece of their name: `race`, `pool.py`,
`transport.py:PoolTransport._use`.

The files stand in a copy, so that the tree can be edited while this runs. A mutant that survives is killed by
a new test, or explained in `explained.toml`; an explanation that no longer holds is reported as well.
Verdicts are kept in `.mutants/`, and a run continues where the last one ended. A verdict holds until the code
changes that the room's tests import, or these tests (for a kill: the file of the test that noticed). So a new
test costs the mutants that lived, and those that tests of its file have killed. `--survivors` judges again
only those that lived, whatever has changed.

`--sample` draws mutants from all rooms, for CI. Those that are explained are not judged again. The others
first meet the file of tests that is nearest to theirs, which kills most of them. The tests of a room are
measured only for the rest. The run is red when more than `--allow` survive, or when the time was over before
half of them were judged. It says how many were not.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import random
import shutil
import sys
import tempfile
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import click

from tests.mutation.imports import code_digest, digest_of
from tests.mutation.measured import Cache
from tests.mutation.mutants import Mutant, candidates_of, mutants_of, named
from tests.mutation.rooms import ROOMS, Room, is_chosen, may_be_chosen, nearest
from tests.mutation.session import LIVES, Limits, RoomFailed, Verdict, judge

Name = tuple[str, str, str]  # of a mutant: its file, where in it, the change

_ROOT: Final = Path(__file__).parents[2]
_KEPT: Final = _ROOT / ".mutants"
_TELL_EVERY_S: Final = 20.0
_ENOUGH_S: Final = 20.0
_SAMPLE_S: Final = 100.0  # the rest of a sample, drawing and reporting, takes twenty seconds more
_SLOW_S: Final = 3.0  # of a test, for a sample


class Kept:
    """What earlier runs found of a room, and what of it still holds. survivors_alone: every kill does."""

    def __init__(self, room: Room, *, survivors_alone: bool) -> None:
        self._room = room
        self._survivors_alone = survivors_alone
        self._file = _KEPT / f"{room.name}.jsonl"
        self._code = code_digest(room)
        self.cache = Cache(_KEPT / f"{room.name}-measured.json", self._code)

    def known(self) -> dict[Name, Verdict]:
        """What holds. The file is written again with it alone."""
        known: dict[Name, Verdict] = {}
        bases: dict[Name, str] = {}
        for line in self._file.read_text("utf-8").splitlines() if self._file.exists() else ():
            record = json.loads(line)
            basis = record.pop("basis")
            verdict = Verdict(**record)
            if verdict.outcome not in LIVES if self._survivors_alone else basis == self._basis_of(verdict):
                known[name_of(verdict)], bases[name_of(verdict)] = verdict, basis
        _KEPT.mkdir(exist_ok=True)
        self._file.write_text(
            "".join(_line(verdict, bases[name]) for name, verdict in known.items()), "utf-8"
        )
        return known

    def add(self, verdict: Verdict) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(_line(verdict, self._basis_of(verdict)))

    def _basis_of(self, verdict: Verdict) -> str:
        """A digest of all that the verdict follows from."""
        noticed = verdict.by.partition("::")[0]
        return f"{self._code}-{_tests_digest((noticed,) if noticed else tuple(self._room.test_files()))}"


def _line(verdict: Verdict, basis: str) -> str:
    return json.dumps({**asdict(verdict), "basis": basis}) + "\n"


@cache
def _tests_digest(files: tuple[str, ...]) -> str:
    return digest_of(path for file in files if (path := Path(file)).exists())


@dataclass(slots=True)
class Result:
    """The verdicts on a room's chosen mutants."""

    room: Room
    verdicts: list[Verdict] = field(default_factory=list)
    explained: set[Name] = field(default_factory=set)  # of those that live
    stale: set[Name] = field(default_factory=set)  # explained, but killed or gone

    @property
    def unexplained(self) -> list[Verdict]:
        return [
            each for each in self.verdicts if each.outcome in LIVES and name_of(each) not in self.explained
        ]

    @property
    def killed(self) -> int:
        return sum(each.outcome not in LIVES for each in self.verdicts)

    def percent(self) -> float:
        return 100 * self.killed / max(1, len(self.verdicts))

    def is_fine(self) -> bool:
        return not self.unexplained and not self.stale and self.percent() >= self.room.at_least_percent

    def counts(self, verdicts: Iterable[Verdict]) -> dict[str, int]:
        counts = Counter[str]()
        for each in verdicts:
            lives = each.outcome in LIVES
            counts["mutants"] += 1
            counts["killed"] += not lives
            counts["explained"] += lives and name_of(each) in self.explained
            counts["survived"] += lives and name_of(each) not in self.explained
            counts["hung"] += each.outcome == "hung"  # of the killed
            counts["not_reached"] += each.outcome == "not reached"  # of those that live
        return {
            key: counts[key] for key in ("mutants", "killed", "hung", "explained", "survived", "not_reached")
        }


def name_of(verdict: Verdict) -> Name:
    return verdict.path, verdict.where, verdict.change


class Progress:
    """Says how far a room is, and each mutant that lives unexplained."""

    def __init__(self, room: Room, total: int, explained: Set[Name]) -> None:
        self._room = room
        self._total = total
        self._explained = explained
        self._started = self._told = time.monotonic()
        self._done = self._lived = 0

    def on_verdict(self, verdict: Verdict) -> None:
        self._done += 1
        if verdict.outcome in LIVES and name_of(verdict) not in self._explained:
            self._lived += 1
            click.echo(f"\n{verdict.outcome}: {verdict.path}:{verdict.where}\n{verdict.change}")
        now = time.monotonic()
        if now - self._told > _TELL_EVERY_S:
            self._told = now
            left_s = (now - self._started) / self._done * (self._total - self._done)
            click.echo(
                f"{self._room.name}: {self._done} of {self._total}, {self._lived} live unexplained, "
                f"about {left_s / 60:.0f} minutes left",
                err=True,
            )


def run_room(
    room: Room,
    chosen: Sequence[tuple[str, Mutant]],
    on_verdict: Callable[[Verdict], None],
    limits: Limits,
    cache: Cache,
) -> None:
    """Judge these mutants in a process of their own."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        code = 1
        try:
            judge(room, chosen, lambda verdict: _send(writing, asdict(verdict)), limits, cache)
            code = 0
        except RoomFailed as failed:
            _send(writing, {"failed": str(failed)})
        except Exception:  # noqa: BLE001 - the room's process reports and ends
            _send(writing, {"failed": traceback.format_exc()})
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as lines:
        for line in lines:
            record = json.loads(line)
            if "failed" in record:
                raise click.ClickException(f"{room.name}: {record['failed']}")
            on_verdict(Verdict(**record))
    _, status = os.waitpid(pid, 0)
    if status:
        raise click.ClickException(f"{room.name}: the process of the room ended with {status}")


def verdicts_of(
    room: Room, chosen: Sequence[tuple[str, Mutant]], explained: Set[Name], limits: Limits, kept: Kept
) -> list[Verdict]:
    """Of earlier runs, as far as they hold, and of this one."""
    known = kept.known()
    wanted = [(path, mutant) for path, mutant in chosen if _name(path, mutant) not in known]
    verdicts = [known[name] for path, mutant in chosen if (name := _name(path, mutant)) in known]
    progress = Progress(room, len(wanted), explained)

    def on_verdict(verdict: Verdict) -> None:
        verdicts.append(verdict)
        kept.add(verdict)
        progress.on_verdict(verdict)

    if wanted:
        run_room(room, wanted, on_verdict, limits, kept.cache)
    return verdicts


def _send(to: int, record: Mapping[str, object]) -> None:
    data = json.dumps(record).encode() + b"\n"
    while data:
        data = data[os.write(to, data) :]


def choose(room: Room, parts: Sequence[str], jobs: int) -> list[tuple[str, Mutant]]:
    """The mutants of a room that the parts choose, with their paths."""
    paths = [path for path in room.paths() if may_be_chosen(room, path, parts)]
    with ProcessPoolExecutor(jobs) as executor:
        made = executor.map(mutants_of, [Path(path).read_text("utf-8") for path in paths])
        return [
            (path, mutant)
            for path, mutants in zip(paths, made, strict=True)
            for mutant in mutants
            if is_chosen(room, path, mutant.where, parts)
        ]


def judge_rooms(parts: Sequence[str], limits: Limits, *, survivors_alone: bool) -> list[Result]:
    explained = limits.explained
    results = []
    for room in ROOMS:
        chosen = choose(room, parts, limits.jobs)
        if not chosen:
            continue
        kept = Kept(room, survivors_alone=survivors_alone)
        result = Result(room, verdicts_of(room, chosen, explained, limits, kept))
        lives = {name_of(each) for each in result.verdicts if each.outcome in LIVES}
        result.explained = lives & explained
        paths = {*room.paths()}
        result.stale = {
            name
            for name in explained - lives
            if name[0] in paths and is_chosen(room, name[0], name[1], parts)
        }
        for path, where, change in sorted(result.stale):
            click.echo(f"\nexplained, but killed or gone: {path}:{where}\n{change}")
        click.echo(
            f"{room.name}: {len(result.verdicts)} mutants, {result.percent():.1f} % killed "
            f"(at least {room.at_least_percent:g}), {len(result.explained)} explained, "
            f"{len(result.unexplained)} survived\n"
        )
        results.append(result)
    return results


# --- a sample


def draw(size: int, seed: int, jobs: int) -> list[tuple[str, Mutant]]:
    """Of the mutants of all rooms, each as likely as the other."""
    sources = {path: Path(path).read_text("utf-8") for room in ROOMS for path in room.paths()}
    with ProcessPoolExecutor(jobs) as executor:
        candidates = dict(zip(sources, executor.map(candidates_of, sources.values()), strict=True))
    every = [(path, place) for path, made in candidates.items() for place in range(len(made))]
    drawn = random.Random(seed).sample(every, size + 10)  # a few do not compile
    mutants = {
        (path, mutant.made): mutant
        for path in {path for path, _ in drawn}
        for mutant in named(sources[path], candidates[path], {place for each, place in drawn if each == path})
    }
    names = [(path, candidates[path][place]) for path, place in drawn]
    return [(path, mutants[path, made]) for path, made in names if (path, made) in mutants][:size]


def judge_sample(drawn: Sequence[tuple[str, Mutant]], explained: Set[Name], limits: Limits) -> list[Verdict]:
    """By the tests that are nearest to a mutant's file, and if it lives, by all of its room."""
    verdicts = {_name(*each): Verdict(*_name(*each), "not reached") for each in drawn}

    def on_verdict(verdict: Verdict) -> None:
        if verdict.outcome != "not reached":
            verdicts[name_of(verdict)] = verdict

    wanted = [each for each in drawn if _name(*each) not in explained]
    near = {test for path, _ in wanted for test in nearest(path)}
    unmeasured, limits = replace(limits, measures=False), replace(limits, in_turns=True)
    run_room(_some("sample", wanted, near), wanted, on_verdict, unmeasured, Cache(None))
    for room in ROOMS:
        lives = [
            (path, mutant)
            for path, mutant in wanted
            if path in room.paths() and verdicts[_name(path, mutant)].outcome in LIVES
        ]
        if lives:
            run_room(_some(room.name, lives, {*room.test_files()}), lives, on_verdict, limits, Cache(None))
    return list(verdicts.values())


def _name(path: str, mutant: Mutant) -> Name:
    return path, mutant.where, mutant.change


def _some(name: str, mutants: Sequence[tuple[str, Mutant]], tests: Set[str]) -> Room:
    """The files of these mutants, with these tests."""
    return Room(name, name, tuple({path for path, _ in mutants}), tuple(tests), 0)


def report_sample(verdicts: Sequence[Verdict], explained: Set[Name], command: str, allowed: int) -> bool:
    """Say what was found; whether at most so many survived as are allowed, and enough were judged."""
    survived = [each for each in verdicts if each.outcome in LIVES and name_of(each) not in explained]
    for each in survived:
        click.echo(f"\n{each.outcome}: {each.path}:{each.where}\n{each.change}")
    counts = Counter(
        "explained" if name_of(each) in explained
        else "survived" if each.outcome in LIVES
        else "not judged" if each.outcome == "not judged"
        else "killed"
        for each in verdicts
    )  # fmt: skip
    left_out = f"{counts['not judged']} of {len(verdicts)} mutants, for which there was no time"
    if counts["not judged"] and (file := os.environ.get("NOTED_LEFT_OUT")):
        with Path(file).open("a", encoding="utf-8") as noted:
            noted.write(f"{left_out}\n")
    click.echo(f"{', '.join(f'{number} {what}' for what, number in counts.items())}: {command}")
    judged = len(verdicts) - counts["explained"] - counts["not judged"]
    if judged < counts["not judged"]:
        click.echo(f"only {judged} were judged, fewer than half: give it more time with --sample-s", err=True)
        return False
    return len(survived) <= allowed


def table(results: Sequence[Result]) -> str:
    """Markdown, which `python -m tests.project.figures mutants` takes."""
    columns = ("mutants", "killed", "explained", "survived")
    lines = [("package", *columns), ("---",) * (1 + len(columns))]
    for result in results:
        counts = result.counts(result.verdicts)
        lines.append((result.room.title, *(f"{counts[column]:,}" for column in columns)))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def files_table(results: Sequence[Result]) -> str:
    """For a terminal: one line per file."""
    lines = []
    for result in results:
        for path, counts in by_file(result).items():
            percent = 100 * counts["killed"] / counts["mutants"]
            shown = ", ".join(f"{value} {key.replace('_', ' ')}" for key, value in counts.items() if value)
            lines.append(f"{path:38} {percent:5.1f} %  {shown}")
    return "\n".join(lines)


def by_file(result: Result) -> dict[str, dict[str, int]]:
    paths = sorted({each.path for each in result.verdicts})
    return {path: result.counts(each for each in result.verdicts if each.path == path) for path in paths}


def as_json(results: Sequence[Result], parts: Sequence[str], tree: str) -> dict[str, Any]:
    return {
        "parts": list(parts),
        "tree": tree,
        "python": platform.python_version(),
        "rooms": [
            {
                "name": result.room.name,
                "title": result.room.title,
                "at_least_percent": result.room.at_least_percent,
                **result.counts(result.verdicts),
                "files": by_file(result),
                "unexplained": [asdict(each) for each in result.unexplained],
                "stale": sorted(result.stale),
            }
            for result in results
        ],
    }


def digest() -> str:
    """Of all that a verdict follows from, in the current folder."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in ("fanout", "tests") for path in Path(folder).rglob("*.py")):
        if path.parts[1] not in {"project", "mutation"}:
            digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@click.command()
@click.argument("parts", nargs=-1)
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, show_default="one per processor")
@click.option("--enough-s", type=float, default=_ENOUGH_S, show_default=True, help="Of tests, per mutant.")
@click.option("--survivors", is_flag=True, help="Judge again only the mutants that lived, or are new.")
@click.option("--sample", type=click.IntRange(1), help="So many mutants at random, from all rooms.")
@click.option("--seed", type=int, help="Of the sample; drawn and printed if not given.")
@click.option("--sample-s", type=float, default=_SAMPLE_S, show_default=True, help="What a sample may take.")
@click.option(
    "--allow", type=click.IntRange(0), default=0, help="So many of a sample may survive unexplained."
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the results to this file.")
def main(
    parts: tuple[str, ...],
    jobs: int,
    enough_s: float,
    survivors: bool,
    sample: int | None,
    seed: int | None,
    sample_s: float,
    allow: int,
    json_file: Path | None,
) -> None:
    """Kill the mutants of each room, or of the chosen PARTS. Exit 1 when one survives unexplained."""
    if sample is not None and (parts or survivors or json_file):
        raise click.UsageError("--sample draws from all rooms, and only says what it found")
    until = time.monotonic() + sample_s
    entries = tomllib.loads((_ROOT / "tests/mutation/explained.toml").read_text("utf-8"))["explained"]
    explained = {(entry["file"], entry["where"], entry["change"].strip()) for entry in entries}
    json_file = json_file and json_file.absolute()
    with tempfile.TemporaryDirectory() as copy:
        for folder in ("fanout", "tests", "docs", "examples"):  # tests run what the documents show
            shutil.copytree(_ROOT / folder, f"{copy}/{folder}", ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("requirements-dev.lock", "setup.cfg"):
            shutil.copy(_ROOT / file, copy)
        os.chdir(copy)
        sys.path[0] = copy
        if sample is not None:
            seed = random.SystemRandom().randrange(1 << 31) if seed is None else seed
            command = f'make mutants ARGS="--sample {sample} --seed {seed}"'
            click.echo(command)
            limits = Limits(jobs, enough_s, test_s=_SLOW_S, until=until)
            verdicts = judge_sample(draw(sample, seed, jobs), explained, limits)
            is_fine = report_sample(verdicts, explained, command, allow)
        else:
            tree = digest()
            results = judge_rooms(parts, Limits(jobs, enough_s, explained), survivors_alone=survivors)
            is_fine = all(result.is_fine() for result in results)
            click.echo(f"{files_table(results)}\n\n{table(results)}")
            if json_file is not None:
                found = json.dumps(as_json(results, parts, tree), indent=1, ensure_ascii=False)
                json_file.write_text(f"{found}\n", "utf-8")
        os.chdir(_ROOT)
    sys.exit(not is_fine)


if __name__ == "__main__":
    main()
