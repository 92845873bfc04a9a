"""Mutation testing: would the tests notice?  python -m tests.mutation.run [PART ...]

A PART chooses mutants by a piece of their room or name: `race`, `pool.py`, `transport.py:PoolTransport._use`.

The files stand in a copy, so that the tree can be edited while this runs. A mutant that survives is killed
by a new test, or explained in `explained.toml`; an explanation that no longer holds is reported as well.
Verdicts are kept in `.mutants/`: a run that was interrupted continues, as long as the code and the tests are
the same, and `--survivors` judges again only those that lived.

`--sample` draws mutants from all rooms. It is red if so many live unexplained that rooms which kill their
share would show it less than once in a thousand runs.
"""

from __future__ import annotations

import hashlib
import json
import math
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
from collections.abc import Iterable, Mapping, Sequence, Set
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from tests.mutation.measured import Cache
from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.rooms import ROOMS, Room
from tests.mutation.session import RoomFailed, Verdict, judge

Name = tuple[str, str, str]  # of a mutant: its file, where in it, the change

_ROOT: Final = Path(__file__).parents[2]
_KEPT: Final = _ROOT / ".mutants"
_LIVES: Final = frozenset({"survived", "not reached"})
_TELL_EVERY_S: Final = 20.0
_ONCE_IN: Final = 1000
_ENOUGH_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Options:
    jobs: int
    enough_s: float
    survivors_alone: bool
    tree: str  # of the code and the tests, a digest


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
            each for each in self.verdicts if each.outcome in _LIVES and name_of(each) not in self.explained
        ]

    @property
    def killed(self) -> int:
        return sum(each.outcome not in _LIVES for each in self.verdicts)

    def percent(self) -> float:
        return 100 * self.killed / max(1, len(self.verdicts))

    def is_fine(self) -> bool:
        return not self.unexplained and not self.stale and self.percent() >= self.room.at_least_percent

    def counts(self, verdicts: Iterable[Verdict]) -> dict[str, int]:
        counts = Counter[str]()
        for each in verdicts:
            lives = each.outcome in _LIVES
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
        if verdict.outcome in _LIVES and name_of(verdict) not in self._explained:
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
    room: Room, chosen: Sequence[tuple[str, Mutant]], explained: Set[Name], options: Options | None
) -> list[Verdict]:
    """Judge the chosen mutants in a process for this room. No options: a sample, which keeps nothing."""
    known = _known(room, options) if options else {}
    wanted = [(path, mutant) for path, mutant in chosen if (path, mutant.where, mutant.change) not in known]
    progress = Progress(room, len(wanted), explained)
    verdicts = [
        known[name] for path, mutant in chosen if (name := (path, mutant.where, mutant.change)) in known
    ]
    if not wanted:
        return verdicts
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        code = 1
        try:
            judge(
                room,
                wanted,
                lambda verdict: _send(writing, asdict(verdict)),
                jobs=options.jobs if options else os.cpu_count() or 1,
                enough_s=options.enough_s if options else _ENOUGH_S,
                cache=Cache(_KEPT / f"{room.name}-measured.json" if options else None),
            )
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
            verdict = Verdict(**record)
            verdicts.append(verdict)
            if options:
                _keep(room, [verdict], options.tree, mode="a")
            progress.on_verdict(verdict)
    _, status = os.waitpid(pid, 0)
    if status:
        raise click.ClickException(f"{room.name}: the process of the room ended with {status}")
    return verdicts


def _send(to: int, record: Mapping[str, object]) -> None:
    data = json.dumps(record).encode() + b"\n"
    while data:
        data = data[os.write(to, data) :]


def _known(room: Room, options: Options) -> dict[Name, Verdict]:
    """What earlier runs found and still holds; the file is written again with it alone."""
    file = _KEPT / f"{room.name}.jsonl"
    kept: dict[Name, tuple[str, Verdict]] = {}
    for line in file.read_text("utf-8").splitlines() if file.exists() else ():
        record = json.loads(line)
        tree = record.pop("tree")
        verdict = Verdict(**record)
        if tree == options.tree or (options.survivors_alone and verdict.outcome not in _LIVES):
            kept[name_of(verdict)] = tree, verdict
    known = {name: verdict for name, (_, verdict) in kept.items()}
    if options.survivors_alone:
        known = {name: verdict for name, verdict in known.items() if verdict.outcome not in _LIVES}
    _KEPT.mkdir(exist_ok=True)
    _keep(room, known.values(), options.tree, mode="w")
    return known


def _keep(room: Room, verdicts: Iterable[Verdict], tree: str, mode: str) -> None:
    with (_KEPT / f"{room.name}.jsonl").open(mode, encoding="utf-8") as kept:
        for verdict in verdicts:
            kept.write(json.dumps({**asdict(verdict), "tree": tree}) + "\n")


def is_chosen(room: Room, path: str, where: str, parts: Sequence[str]) -> bool:
    return not parts or any(part in f"{room.name} {path}:{where}" for part in parts)


def choose(
    room: Room, parts: Sequence[str], made: Mapping[str, Sequence[Mutant]]
) -> list[tuple[str, Mutant]]:
    return [
        (path, mutant)
        for path in room.paths()
        if path in made
        for mutant in made[path]
        if is_chosen(room, path, mutant.where, parts)
    ]


def make(rooms: Iterable[Room], parts: Sequence[str], jobs: int) -> dict[str, list[Mutant]]:
    """By path, the mutants of the files that the parts may choose from."""
    paths = [path for room in rooms for path in room.paths() if may_be_chosen(room, path, parts)]
    with ProcessPoolExecutor(jobs) as executor:
        texts = [Path(path).read_text("utf-8") for path in paths]
        return dict(zip(paths, executor.map(mutants_of, texts), strict=True))


def may_be_chosen(room: Room, path: str, parts: Sequence[str]) -> bool:
    return not parts or any(part.partition(":")[0] in f"{room.name} {path}:" for part in parts)


def judge_rooms(parts: Sequence[str], explained: Set[Name], options: Options) -> list[Result]:
    results = []
    for room in ROOMS:
        chosen = choose(room, parts, make([room], parts, options.jobs))
        if not chosen:
            continue
        result = Result(room, run_room(room, chosen, explained, options))
        lives = {name_of(each) for each in result.verdicts if each.outcome in _LIVES}
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


def judge_sample(size: int, seed: int, explained: Set[Name]) -> list[Result]:
    click.echo(f"{size} mutants of all rooms, seed {seed} (--sample {size} --seed {seed} draws them again)")
    made = make(ROOMS, (), os.cpu_count() or 1)
    every = [(room, path, mutant) for room in ROOMS for path, mutant in choose(room, (), made)]
    drawn = random.Random(seed).sample(every, size)
    results = []
    for room in ROOMS:
        chosen = [(path, mutant) for its_room, path, mutant in drawn if its_room is room]
        if chosen:
            result = Result(room, run_room(room, chosen, explained, None))
            result.explained = {
                name_of(each) for each in result.verdicts if each.outcome in _LIVES
            } & explained
            results.append(result)
    return results


def is_unlikely(results: Sequence[Result]) -> bool:
    """Whether so many live unexplained as rooms that kill their share would hardly ever show."""
    mutants = sum(len(result.verdicts) for result in results)
    lived = sum(len(result.unexplained) for result in results)
    share = sum(len(result.verdicts) * (1 - result.room.at_least_percent / 100) for result in results) / max(
        1, mutants
    )
    at_least = sum(
        math.comb(mutants, n) * share**n * (1 - share) ** (mutants - n) for n in range(lived, mutants + 1)
    )
    return at_least < 1 / _ONCE_IN


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


def as_json(results: Sequence[Result], tree: str, seed: int | None) -> dict[str, Any]:
    return {
        "tree": tree,
        "python": platform.python_version(),
        "seed": seed,
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
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the results to this file.")
def main(
    parts: tuple[str, ...],
    jobs: int,
    enough_s: float,
    survivors: bool,
    sample: int | None,
    seed: int | None,
    json_file: Path | None,
) -> None:
    """Kill the mutants of each room, or of the chosen PARTS. Exit 1 when one survives unexplained."""
    entries = tomllib.loads((_ROOT / "tests/mutation/explained.toml").read_text("utf-8"))["explained"]
    explained = {(entry["file"], entry["where"], entry["change"].strip()) for entry in entries}
    json_file = json_file and json_file.absolute()
    with tempfile.TemporaryDirectory() as copy:
        for folder in ("fanout", "tests", "docs", "examples"):  # tests run what the documents show
            shutil.copytree(_ROOT / folder, f"{copy}/{folder}", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(_ROOT / "setup.cfg", copy)
        os.chdir(copy)
        sys.path[0] = copy
        tree = digest()
        if sample is None:
            results = judge_rooms(parts, explained, Options(jobs, enough_s, survivors, tree))
            is_fine = all(result.is_fine() for result in results)
            click.echo(f"{files_table(results)}\n\n{table(results)}")
        else:
            seed = random.SystemRandom().randrange(1 << 31) if seed is None else seed
            results = judge_sample(sample, seed, explained)
            is_fine = not is_unlikely(results)
            killed, lived = (
                sum(counts) for counts in zip(*((r.killed, len(r.unexplained)) for r in results), strict=True)
            )
            click.echo(f"\nseed {seed}: of {sample} mutants {killed} were killed, {lived} live unexplained")
        os.chdir(_ROOT)
    if json_file is not None:
        json_file.write_text(
            json.dumps(as_json(results, tree, seed), indent=1, ensure_ascii=False) + "\n", "utf-8"
        )
    sys.exit(not is_fine)


if __name__ == "__main__":
    main()
