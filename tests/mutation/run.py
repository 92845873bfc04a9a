"""Mutation testing: would the tests notice?  python -m tests.mutation.run [PART ...]

A PART chooses mutants by a piece of their room or name: `race`, `pool.py`, `transport.py:PoolTransport._use`.

Every mutant gets a process of its own, in which the mutated module is imported instead of the file, and the
tests of its room run until one fails. Nothing is written: the files stand in a copy, so that the tree can be
edited meanwhile. A mutant that survives is killed by a new test, or explained in `explained.toml`; an
explanation that no longer holds is reported as well.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import io
import json
import os
import resource
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Sequence, Set
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import click
import pytest

if TYPE_CHECKING:
    from tests.mutation.mutants import Mutant

Name = tuple[str, str, str]  # of a mutant: its file, where in it, the change

_CPU_S: Final = 60  # the slowest room takes a tenth of it
_MEMORY_BYTES: Final = 4 << 30  # a mutant that fills memory ends alone
_NOTICED: Final = {pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR}
# A measurement may fail by itself on a busy machine, and would seem to have noticed something.
_PYTEST: Final = ("-x", "-q", "-p", "no:cacheprovider", "-o", "timeout=10", "-k", "not cost_the_same")

_POOL: Final = ("pool", "transport", "messages")
_POOL_TESTS: Final = ("pool", "exchange", "messages", "transport", "transport_run", "idle_connections", "tls")


@dataclass(frozen=True, slots=True)
class Room:
    """The tests that answer for some files, quick ones first, and the share of mutants they must kill."""

    name: str
    files: tuple[str, ...]
    tests: tuple[str, ...]
    at_least_percent: float


ROOMS: Final = (
    Room("race", ("fanout/race/*.py",), ("tests/race",), 95),
    Room(
        "pool",
        tuple(f"fanout/upstream/{name}.py" for name in _POOL),
        tuple(f"tests/upstream/test_{name}.py" for name in _POOL_TESTS),
        90,
    ),
    Room("overload", ("fanout/api/load_shedding.py",), ("tests/api/test_load_shedding.py",), 90),
)


class MutatedImport(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a text, and nothing else."""

    def __init__(self, path: str, source: str) -> None:
        self._path = path
        self._source = source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._path.removesuffix(".py").replace("/", "."):
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=self._path)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._source, self._path, "exec"), module.__dict__)


def is_noticed(path: str, source: str, tests: Sequence[str], *, output: str = os.devnull) -> bool:
    """Whether a test fails when `source` stands in the place of the file, or the tests never end."""
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT), 1)
        os.dup2(1, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        sys.meta_path.insert(0, MutatedImport(path, source))
        os._exit(pytest.main([*_PYTEST, *tests]))
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return True
    code = os.WEXITSTATUS(status)
    if code not in {pytest.ExitCode.OK, *_NOTICED}:
        raise click.ClickException(f"pytest could not run: exit code {code}")
    return code in _NOTICED


def prepare(room: Room) -> None:
    """Import once what the tests import, but nothing of ours, and see that they pass and can fail."""
    with redirect_stdout(io.StringIO()):
        pytest.main(["--collect-only", "-p", "no:cacheprovider", *room.tests])
    for name in [name for name in sys.modules if name.partition(".")[0] in {"fanout", "tests"}]:
        del sys.modules[name]
    path = next(path for path in files_of(room) if not path.endswith("__init__.py"))
    if is_noticed(path, Path(path).read_text(), room.tests, output="output"):
        raise click.ClickException(f"the tests fail without a mutant:\n{Path('output').read_text()}")
    if not is_noticed(path, "raise ZeroDivisionError", room.tests):
        raise click.ClickException(f"the tests of {room.name} do not use {path}")


def files_of(room: Room) -> list[str]:
    return sorted(str(path) for pattern in room.files for path in Path().glob(pattern))


def survivors_of(path: str, mutants: Sequence[Mutant], room: Room, explained: Set[Name]) -> set[Name]:
    survived = set()
    with click.progressbar(mutants, label=f"{path:32}", show_pos=True, file=sys.stderr) as shown:
        for mutant in shown:
            if not is_noticed(path, mutant.source, room.tests):
                name = path, mutant.where, mutant.change
                survived.add(name)
                if name not in explained:
                    click.echo(f"\nsurvived: {path}:{mutant.where}\n{mutant.change}", err=True)
    return survived


def run_room(room: Room, parts: Sequence[str], explained: Set[Name], samples: dict[str, Any]) -> bool:
    """Report one room; True when nothing is left to do about it.

    samples: gets its mutants by file: how many there are, and the names of those that survived.
    """

    from tests.mutation.mutants import mutants_of  # here, because mutmut has an environment of its own

    def is_chosen(path: str, where: str) -> bool:
        return not parts or any(part in f"{room.name} {path}:{where}" for part in parts)

    chosen = {
        path: [mutant for mutant in mutants_of(Path(path).read_text()) if is_chosen(path, mutant.where)]
        for path in files_of(room)
    }
    total = sum(len(mutants) for mutants in chosen.values())
    if not total:
        return True
    prepare(room)
    survived: set[Name] = set()
    for path, mutants in chosen.items():
        if mutants:
            lived = survivors_of(path, mutants, room, explained)
            survived |= lived
            samples.setdefault(room.name, {})[path] = {
                "mutants": len(mutants),
                "explained": sorted(f"{where}\n{change}" for _, where, change in lived & explained),
                "survived": sorted(f"{where}\n{change}" for _, where, change in lived - explained),
            }
    stale = {
        (path, where, change)
        for path, where, change in explained - survived
        if path in chosen and is_chosen(path, where)
    }
    for path, where, change in sorted(stale):
        click.echo(f"\nexplained, but killed or gone: {path}:{where}\n{change}", err=True)
    percent = 100 * (total - len(survived)) / total
    unexplained = len(survived - explained)
    click.echo(
        f"{room.name}: {total} mutants, {percent:.1f} % killed (at least {room.at_least_percent:g}), "
        f"{len(survived) - unexplained} explained, {unexplained} survived\n",
        err=True,
    )
    return not unexplained and not stale and percent >= room.at_least_percent


@click.command()
@click.argument("parts", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print the mutants of each file as JSON.")
def main(parts: tuple[str, ...], as_json: bool) -> None:
    """Kill the mutants of each room, or of the chosen PARTS. Exit 1 when one survives unexplained."""
    entries = tomllib.loads(Path("tests/mutation/explained.toml").read_text())["explained"]
    explained = {(entry["file"], entry["where"], entry["change"].strip()) for entry in entries}
    with tempfile.TemporaryDirectory() as copy:
        for folder in ("fanout", "tests"):
            shutil.copytree(folder, f"{copy}/{folder}", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy("setup.cfg", copy)
        os.chdir(copy)
        sys.path[0] = copy
        samples: dict[str, Any] = {}
        results = [run_room(room, parts, explained, samples) for room in ROOMS]
    if as_json:
        click.echo(json.dumps(samples))
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
