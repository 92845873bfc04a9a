"""Judges the mutants of one room: a process that collects the room's tests once, and forks for each mutant.

1. The tests run once under coverage: which lines does each of them run, and how long does it take?
2. A mutant's fork runs only the tests that run its lines, those first that take least and have killed most
   in its file. Functions that differ get their new code in place, so nothing is imported again.
3. For a mutant on lines that run at import the fork imports everything again, with the mutated text instead
   of the file, and runs all tests.

A test that runs none of a mutant's lines cannot notice it, so a mutant on lines that no test runs survives at
once. Two limits let a mutant survive that some test would kill, and never the other way round: if a cache
spares a test some work, that test does not count as running the lines of that work; and of tests that take
longer than `_ENOUGH_S` together only the first are run.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import select
import signal
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Final

import coverage
import pytest

from tests.mutation.mutants import Mutant
from tests.mutation.rooms import Room

_HANGS_AFTER_S: Final = 5.0  # no test of a room takes a second of processor time; or ten times what it took
_ENOUGH_S: Final = 30.0
_CPU_S: Final = 60
_MEMORY_BYTES: Final = 4 << 30  # a mutant that fills memory ends alone
# Measurements may fail by themselves on a busy machine, and would seem to have noticed something.
_PYTEST: Final = (
    "-q", "-s", "-p", "no:cacheprovider", "-o", "timeout=0", "-m", "not alone", "-k", "not cost_the_same"
)  # fmt: skip
_KILLED, _SURVIVED, _IMPORT_ANEW = 10, 11, 12  # exit codes; any other is that of a process that hung or died
_CO_OPTIMIZED: Final = 1  # a function's code, not a class's or a module's


@dataclass(frozen=True, slots=True)
class Verdict:
    """outcome: killed, hung (or died), survived, not reached. by: the test that noticed, if one said so."""

    path: str
    where: str
    change: str
    outcome: str
    by: str = ""
    took_s: float = 0.0


class RoomFailed(Exception):
    """The room's tests fail without a mutant, or cannot be collected."""


def judge(
    room: Room, mutants: Sequence[tuple[str, Mutant]], jobs: int, report: Callable[[Verdict], None]
) -> None:
    """Judge mutants with their paths. The process is of no other use afterwards. Raises `RoomFailed`."""
    output = os.open("output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    session = _Session(room, mutants, jobs, report)
    code = pytest.main([*_PYTEST, *room.test_files()], plugins=[session])
    if session.failed is not None:
        raise session.failed
    if not session.has_run:
        raise RoomFailed(f"pytest could not run: exit code {code}\n{Path('output').read_text()[-3000:]}")


@dataclass(slots=True)
class _Measured:
    """What a run without mutants has shown. runs: by path and line, the tests (at import: none of them)."""

    took_s: dict[str, float] = field(default_factory=dict)
    runs: dict[str, dict[int, set[str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(set))
    )
    at_import: dict[str, set[int]] = field(default_factory=dict)


class _Session:
    """A plugin whose tests are run in forks."""

    def __init__(
        self,
        room: Room,
        mutants: Sequence[tuple[str, Mutant]],
        jobs: int,
        report: Callable[[Verdict], None],
    ) -> None:
        self._room = room
        self._mutants = mutants
        self._jobs = jobs
        self._report = report
        self._measured = _Measured()
        self._kills: Counter[tuple[str, str]] = Counter()
        self._said: int | None = None  # in a fork: where to write which test has failed
        self.has_run = False
        self.failed: RoomFailed | None = None
        self._coverage = _coverage(room)
        self._coverage.start()

    def pytest_configure(self) -> None:
        import hypothesis  # not before pytest, which rewrites its assertions

        hypothesis.settings.register_profile("mutants", derandomize=True, database=None, deadline=None)
        hypothesis.settings.load_profile("mutants")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            return False  # a file of tests could not be imported
        for path in self._room.paths():
            importlib.import_module(_module_of(path))
        self._coverage.stop()
        self._measured.at_import = _lines_of(self._coverage)[0]
        self._items = {item.nodeid: item for item in session.items}
        try:
            self._measure(session.items)
            self._functions = _functions_of(self._room)
            gc.collect()
            gc.freeze()
            self._judge_all()
        except RoomFailed as failed:
            self.failed = failed
        self.has_run = True
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and self._said is not None:
            os.write(self._said, report.nodeid.encode()[:4000])
            os._exit(_KILLED)

    # --- in forks

    def _run_tests(self, tests: Sequence[str]) -> None:
        items = [self._items[test] for test in tests]
        for item, following in pairwise([*items, None]):
            assert item is not None
            faulthandler.dump_traceback_later(self._limit_s(item.nodeid), exit=True)
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
        faulthandler.cancel_dump_traceback_later()

    def _limit_s(self, test: str) -> float:
        return max(_HANGS_AFTER_S, 10 * self._measured.took_s.get(test, _CPU_S))

    def _forked(self, run: Callable[[], int], max_cpu_s: int = _CPU_S) -> _Fork:
        """Start a process that ends with what `run` returns, or with the failure of a test."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = _KILLED
            try:
                os.setpgid(0, 0)
                resource.setrlimit(resource.RLIMIT_CPU, (max_cpu_s, max_cpu_s))
                resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
                self._said = writing
                code = run()
            finally:
                os._exit(code)
        os.close(writing)
        with suppress(PermissionError, ProcessLookupError):
            os.setpgid(pid, pid)
        return _Fork(pid, reading, time.monotonic())

    # --- measuring

    def _measure(self, items: Sequence[pytest.Item]) -> None:
        shares = [list(items[job :: self._jobs]) for job in range(self._jobs)]
        forks = [
            self._forked(partial(self._measure_some, share, f"measured-{job}"), max_cpu_s=1000)
            for job, share in enumerate(shares)
        ]
        failed = set()
        for job, fork in enumerate(forks):
            code, said = fork.wait()
            if code != _SURVIVED:
                raise RoomFailed(f"the tests fail without a mutant, exit code {code}: {said}\n{_output()}")
            measured = json.loads(Path(f"measured-{job}").read_text())
            failed |= {*measured["failed"]}
            self._measured.took_s |= measured["took_s"]
            for path, lines in measured["runs"].items():
                for line, tests in lines.items():
                    self._measured.runs[path][int(line)] |= {*tests}
        for test in sorted(failed):
            code, _ = self._forked(partial(self._outcome_of, [test])).wait()
            if code != _SURVIVED:
                raise RoomFailed(f"{test} fails without a mutant\n{_output()}")

    def _measure_some(self, items: Sequence[pytest.Item], file: str) -> int:
        """What was run and how long it took, and who failed, as JSON."""
        self._said = None
        failed: set[str] = set()
        took_s = {}

        class Failures:
            def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
                if report.failed:
                    failed.add(report.nodeid)

        items[0].config.pluginmanager.register(Failures())
        measuring = _coverage(self._room)
        measuring.start()
        for item, following in pairwise([*items, None]):
            assert item is not None
            measuring.switch_context(item.nodeid)
            started = time.perf_counter()
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
            took_s[item.nodeid] = time.perf_counter() - started
        measuring.stop()
        _, runs = _lines_of(measuring)
        Path(file).write_text(json.dumps({"took_s": took_s, "runs": runs, "failed": sorted(failed)}))
        return _SURVIVED

    def _outcome_of(self, tests: Sequence[str]) -> int:
        self._run_tests(tests)
        return _SURVIVED

    # --- judging

    def _judge_all(self) -> None:
        waiting = deque((path, mutant, self._imports_anew(path, mutant)) for path, mutant in self._mutants)
        running: dict[int, tuple[_Fork, str, Mutant, bool]] = {}
        poll = select.poll()
        while waiting or running:
            while waiting and len(running) < self._jobs:
                path, mutant, anew = waiting.popleft()
                tests = self._tests_for(path, mutant, anew)
                if not tests:
                    self._report(Verdict(path, mutant.where, mutant.change, "not reached"))
                    continue
                fork = self._start(path, mutant, tests, anew)
                running[fork.pidfd] = fork, path, mutant, anew
                poll.register(fork.pidfd, select.POLLIN)
            for pidfd, _ in poll.poll(1000):
                fork, path, mutant, anew = running.pop(pidfd)
                poll.unregister(pidfd)
                code, by = fork.wait()
                if code == _IMPORT_ANEW and not anew:
                    waiting.appendleft((path, mutant, True))
                    continue
                if code == _KILLED:
                    self._kills[path, by] += 1
                outcome = {_KILLED: "killed", _SURVIVED: "survived"}.get(code, "hung")
                took_s = time.monotonic() - fork.started
                self._report(Verdict(path, mutant.where, mutant.change, outcome, by, round(took_s, 2)))
            for fork, *_ in running.values():
                if time.monotonic() - fork.started > 4 * _ENOUGH_S + 60:
                    os.kill(fork.pid, signal.SIGKILL)

    def _imports_anew(self, path: str, mutant: Mutant) -> bool:
        return not self._measured.at_import.get(path, set()).isdisjoint(mutant.lines)

    def _tests_for(self, path: str, mutant: Mutant, anew: bool) -> list[str]:
        of_file = self._measured.runs[path]
        reaching = {test for line in mutant.lines for test in of_file.get(line, ())}
        if anew:
            reaching = {test for tests in of_file.values() for test in tests}
        took_s = self._measured.took_s

        def last(test: str) -> tuple[bool, float]:
            return test not in reaching, (took_s[test] + 0.005) / (1 + self._kills[path, test])

        chosen: list[str] = []
        sum_s = 0.0
        for test in sorted(took_s if anew else reaching, key=last):
            sum_s += took_s[test]
            if chosen and sum_s > _ENOUGH_S:
                break
            chosen.append(test)
        return chosen

    def _start(self, path: str, mutant: Mutant, tests: Sequence[str], anew: bool) -> _Fork:
        def in_place() -> int:
            if not _replace_functions(path, mutant.source, self._functions):
                return _IMPORT_ANEW
            return self._outcome_of(tests)

        def imported() -> int:
            for name in [name for name in sys.modules if name.partition(".")[0] in {"fanout", "tests"}]:
                if not name.startswith("tests.mutation"):
                    del sys.modules[name]
            sys.meta_path.insert(0, _MutatedImport(path, mutant.source))
            chosen = _Chosen(self, tests)
            faulthandler.dump_traceback_later(60, exit=True)
            pytest.main(
                [*_PYTEST, *dict.fromkeys(test.partition("::")[0] for test in tests)], plugins=[chosen]
            )
            return _SURVIVED if chosen.has_run else _KILLED

        return self._forked(imported if anew else in_place)


class _Chosen:
    """Runs these tests alone, in this order: in a fork that imports anew."""

    def __init__(self, session: _Session, tests: Sequence[str]) -> None:
        self._session = session
        self._tests = tests
        self.has_run = False

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            return False
        known = self._session._items
        self._session._items = items = {item.nodeid: item for item in session.items}
        renamed = [
            test for test in items if test not in known
        ]  # by the mutant: a parameter is in their names
        self._session._run_tests([*renamed, *(test for test in self._tests if test in items)])
        self.has_run = len(self._session._items) > 0
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._session.pytest_runtest_logreport(report)


@dataclass(frozen=True, slots=True)
class _Fork:
    pid: int
    said: int
    started: float
    pidfd: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pidfd", os.pidfd_open(self.pid))

    def wait(self) -> tuple[int, str]:
        """Its exit code, and which test it named. What it has started is ended."""
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        said = os.read(self.said, 4096).decode() if select.select([self.said], [], [], 0)[0] else ""
        os.close(self.said)
        os.close(self.pidfd)
        return os.waitstatus_to_exitcode(status), said


class _MutatedImport(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a text, and nothing else."""

    def __init__(self, path: str, source: str) -> None:
        self._path = path
        self._source = source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _module_of(self._path):
            return None
        is_package = self._path.endswith("__init__.py")
        origin = str(Path(self._path).resolve())
        spec = importlib.util.spec_from_loader(fullname, self, origin=origin, is_package=is_package)
        if spec is not None and is_package:
            spec.submodule_search_locations = [str(Path(origin).parent)]
        return spec

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(Path(self._path).resolve())
        exec(compile(self._source, module.__file__, "exec", dont_inherit=True), module.__dict__)


_Functions = dict[tuple[str, str, int], list[FunctionType]]  # by path, qualified name, first line


def _functions_of(room: Room) -> _Functions:
    paths = {str(Path(path).resolve()): path for path in room.paths()}
    functions: _Functions = defaultdict(list)
    for each in gc.get_objects():
        if isinstance(each, FunctionType) and (path := paths.get(each.__code__.co_filename)):
            functions[path, each.__code__.co_qualname, each.__code__.co_firstlineno].append(each)
    return functions


def _replace_functions(path: str, source: str, functions: _Functions) -> bool:
    """Give every function that differs its mutated code; whether that was possible."""
    name = str(Path(path).resolve())
    before, after = (
        list(_outermost(compile(text, name, "exec", dont_inherit=True)))
        for text in (Path(path).read_text("utf-8"), source)
    )
    if len(before) != len(after):
        return False
    differing = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    for old, new in differing:
        found = functions.get((path, old.co_qualname, old.co_firstlineno))
        if not found or old.co_freevars != new.co_freevars:
            return False
        for function in found:
            function.__code__ = new
    return bool(differing)


def _outermost(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & _CO_OPTIMIZED:
                yield constant
            else:
                yield from _outermost(constant)


def _coverage(room: Room) -> coverage.Coverage:
    return coverage.Coverage(
        data_file=None,
        config_file=False,
        branch=False,
        include=[str(Path(p).resolve()) for p in room.paths()],
    )


def _lines_of(measured: coverage.Coverage) -> tuple[dict[str, set[int]], dict[str, dict[int, list[str]]]]:
    """By path: the lines, and the tests by line."""
    data = measured.get_data()
    lines: dict[str, set[int]] = {}
    runs: dict[str, dict[int, list[str]]] = {}
    for file in data.measured_files():
        path = str(Path(file).relative_to(Path.cwd()))
        lines[path] = {*(data.lines(file) or ())}
        runs[path] = {
            line: [context for context in contexts if context]
            for line, contexts in data.contexts_by_lineno(file).items()
        }
    return lines, runs


def _module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _output() -> str:
    return Path("output").read_text(errors="replace")[-3000:]
