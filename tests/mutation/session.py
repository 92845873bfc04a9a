"""Judges the mutants of one room: a process that collects the room's tests once, and forks for each mutant.

1. The tests run once under coverage: which lines does each of them run, and how long does it take?
2. A mutant's fork runs only the tests that run its lines: first the quickest, those near its file, and those
   with most kills in it. Functions that differ get their new code in place: nothing is imported again.
3. For a mutant on lines that run at import the fork imports everything again, with the mutated text instead
   of the file, and runs all tests. First each of these tests must pass when everything is imported again
   unchanged: else it would seem to notice every such mutant.

A test that runs none of a mutant's lines cannot notice it, so a mutant on lines that no test runs survives at
once. For two reasons a mutant may survive that some test would kill, and never the other way round. A test
whose work a cache spares does not count as running the lines of that work. And tests run only until they have
taken `enough_s` together, or a quarter of it for a mutant that is explained.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import logging
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import count, pairwise
from math import ceil, inf
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar, Final, TextIO

import pytest

from tests.mutation.measured import Cache, Measured, coverage_of, lines_of
from tests.mutation.mutants import Mutant
from tests.mutation.replace import MutatedImport, functions_of, module_of, replace_functions
from tests.mutation.rooms import Room, answering, by_nearness, nearest

_PR_SET_CHILD_SUBREAPER: Final = 36  # of prctl(2)
_HANGS_AFTER_S: Final = 5.0  # no test of a room takes a second of processor time; or ten times what it took
_CPU_S: Final = 60
_LONGEST_S: Final = 300
_MEMORY_BYTES: Final = 4 << 30  # a mutant that fills memory ends alone
# Measurements may fail by themselves on a busy machine, and would seem to have noticed something. What is the
# same on every Python is mostly a page in a browser, which two forks cannot share.
_PYTEST: Final = (
    "-q", "-s", "-p", "no:cacheprovider", "-o", "timeout=0", "-m", "not alone and not same_on_every_python",
    "-k", "not cost_the_same",
)  # fmt: skip
LIVES: Final = frozenset({"survived", "not reached"})  # outcomes
_KILLED, _SURVIVED, _IMPORT_AGAIN = 10, 11, 12  # exit codes; any other is that of a process that hung or died


@dataclass(frozen=True, slots=True)
class Verdict:
    """outcome: killed, hung (or died), survived, not reached, or not judged: the time was over.

    by: the test that noticed, if one said so.
    """

    path: str
    where: str
    change: str
    outcome: str
    by: str = ""
    took_s: float = 0.0


class RoomFailed(Exception):
    """The room's tests fail without a mutant, or cannot be collected."""


@dataclass(frozen=True, slots=True)
class Limits:
    """jobs: processes. enough_s: of tests, per mutant; of those that are explained, a quarter of it.

    test_s: of one test. What takes longer is not measured, and judges last.
    until: of `time.monotonic`. Mutants that are not judged by then are reported as such.
    measures: if not, a mutant meets the file of tests that is nearest to its own, up to the first that fails.
    in_turns: the nearest files of tests are measured first, and the next ones only for mutants that live.
    """

    jobs: int
    enough_s: float = 20.0
    explained: Set[tuple[str, str, str]] = frozenset()  # by path, where, change
    test_s: float = 60.0
    until: float = inf
    measures: bool = True
    in_turns: bool = False


def judge(
    room: Room,
    mutants: Sequence[tuple[str, Mutant]],
    report: Callable[[Verdict], None],
    limits: Limits,
    cache: Cache,
) -> None:
    """Judge mutants with their paths. The process is of no other use afterwards. Raises `RoomFailed`."""
    _adopt_orphans()
    output = os.open("output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    errors = os.fdopen(os.dup(2), "w")
    os.dup2(output, 1)
    os.dup2(output, 2)
    session = _Session(room, mutants, report, limits, cache, errors)
    code = pytest.main([*_PYTEST, *room.test_files()], plugins=[session])
    if session.failed is not None:
        raise session.failed
    if not session.has_run:
        raise RoomFailed(f"pytest could not run: exit code {code}\n{Path('output').read_text()[-3000:]}")


class _Session:
    """A plugin whose tests are run in forks."""

    def __init__(
        self,
        room: Room,
        mutants: Sequence[tuple[str, Mutant]],
        report: Callable[[Verdict], None],
        limits: Limits,
        cache: Cache,
        errors: TextIO,
    ) -> None:
        self._room = room
        self._mutants = mutants
        self._limits = limits
        self._cache = cache
        self._report = report
        self._measured: dict[str, Measured] = {}
        self._at_import: dict[str, set[int]] = {}
        self._tests_at: dict[tuple[str, int], set[str]] = defaultdict(set)  # by path and line
        self._slow: set[str] = set()  # tests that took too long to be measured
        self._turn: set[str] = set()  # the tests that judge now
        self._passes_again: dict[str, bool] = {}  # when everything is imported again, and nothing is mutated
        self._kills: Counter[tuple[str, str]] = Counter()
        self._said: int | None = None  # in a fork: where to write which test has failed
        self.has_run = False
        self.failed: RoomFailed | None = None
        self._errors = errors
        self._coverage = coverage_of(room)
        self._coverage.start()

    def pytest_configure(self) -> None:
        import hypothesis  # not before pytest, which rewrites its assertions

        hypothesis.settings.register_profile("mutants", derandomize=True, database=None, deadline=None)
        hypothesis.settings.load_profile("mutants")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            return False  # a file of tests could not be imported
        for path in self._room.paths():
            importlib.import_module(module_of(path))
        self._coverage.stop()
        self._at_import = {path: {*lines} for path, lines in lines_of(self._coverage, "").items()}
        self._items = {item.nodeid: item for item in session.items}
        self._functions = functions_of(self._room)
        gc.collect()
        gc.freeze()
        try:
            if self._limits.measures:
                self._judge_in_turns(session.items)
            else:
                for verdict in self._held([*self._judge_all()]):
                    self._report(verdict)
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
            if self._limits.measures:
                faulthandler.dump_traceback_later(self._limit_s(item.nodeid), exit=True)
            else:
                self._limit_test()
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
        faulthandler.cancel_dump_traceback_later()

    def _limit_s(self, test: str) -> float:
        busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # all takes longer then
        took_s = self._measured[test].took_s if test in self._measured else _CPU_S
        return max(busy * _HANGS_AFTER_S, 10 * took_s)

    def _limit_test(self) -> None:
        """A test that begins now may take no longer: of processors, and ten times as long with waiting."""
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        until = min(hard, ceil(time.process_time() + self._limits.test_s))
        resource.setrlimit(resource.RLIMIT_CPU, (until, hard))
        faulthandler.dump_traceback_later(10 * self._limits.test_s, exit=True)

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
            except BaseException:
                traceback.print_exc()  # into the output
                raise
            finally:
                os._exit(code)
        os.close(writing)
        with suppress(PermissionError, ProcessLookupError):
            os.setpgid(pid, pid)
        return _Fork(pid, reading, time.monotonic())

    # --- measuring

    def _measure(self, items: Sequence[pytest.Item]) -> None:
        """Run the tests that no earlier run has measured, with the same code and the same file of tests."""
        known = self._cache.read()
        fresh, failed = self._run_and_measure([item for item in items if item.nodeid not in known])
        known |= fresh
        names = [item.nodeid for item in items if item.nodeid in known]
        self._measured |= {name: Measured(**known[name]) for name in names}
        self._leave_out_failing(failed)
        if self._is_over():
            return
        self._cache.write({test: asdict(measured) for test, measured in self._measured.items()})
        limit_s = self._limits.test_s
        self._measured |= {test: Measured(limit_s, limit_s, None) for test in self._slow}
        for test, measured in self._measured.items():
            for path, lines in (measured.lines or {}).items():
                for line in lines:
                    self._tests_at[path, line].add(test)

    def _run_and_measure(self, items: Sequence[pytest.Item]) -> tuple[dict[str, Any], set[str]]:
        """The fields of `Measured`, by test, and those that failed. One that takes too long has none."""
        jobs = self._limits.jobs
        shares = deque(share for job in range(jobs) if (share := items[job::jobs]))
        running: dict[int, tuple[_Fork, Sequence[pytest.Item], Path]] = {}
        poll = select.poll()
        numbers = count()
        found: dict[str, Any] = {}
        failed = set()
        while (shares or running) and not self._is_over():
            while shares and len(running) < jobs:
                share = shares.popleft()
                file = Path(f"measured-{next(numbers)}")
                file.touch()
                fork = self._forked(partial(self._measure_some, share, file), max_cpu_s=1000)
                running[fork.pidfd] = fork, share, file
                poll.register(fork.pidfd, select.POLLIN)
            for pidfd, _ in poll.poll(1000):
                fork, share, file = running.pop(pidfd)
                poll.unregister(pidfd)
                code, said = fork.wait()
                records = [json.loads(line) for line in file.read_text().splitlines()]
                for record in records:
                    test = record.pop("test")
                    if record.pop("failed"):
                        failed.add(test)
                    found[test] = record
                if code != _SURVIVED:
                    if len(records) == len(share):
                        raise RoomFailed(f"measured, and then: exit code {code}, {said}\n{_output()}")
                    slow = share[len(records)].nodeid
                    self._slow.add(slow)
                    if not self._limits.in_turns:
                        print(f"{slow} was not measured: exit code {code}", file=self._errors, flush=True)
                    if rest := share[len(records) + 1 :]:
                        shares.append(rest)
        for fork, *_ in running.values():
            fork.end()
        return found, failed

    def _leave_out_failing(self, failed: Iterable[str]) -> None:
        """Those that fail again by themselves; the others did because of tests that ran before."""
        for test in sorted(failed):
            code, _ = self._forked(partial(self._outcome_of, [test])).wait()
            if code != _SURVIVED:
                print(f"{test} fails without a mutant, and is left out", file=self._errors, flush=True)
                del self._measured[test]

    def _measure_some(self, items: Sequence[pytest.Item], file: Path) -> int:
        """Write a line of JSON per test: what was run, how long it took, and whether it failed."""
        self._said = None
        failed: set[str] = set()

        class Failures:
            def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
                if report.failed:
                    failed.add(report.nodeid)

        items[0].config.pluginmanager.register(Failures())
        measuring = coverage_of(self._room)
        measuring.start()
        with file.open("w", encoding="utf-8") as lines:
            for item, following in pairwise([*items, None]):
                assert item is not None
                measuring.switch_context(item.nodeid)
                self._limit_test()
                started, cpu_s = time.perf_counter(), time.process_time()
                item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
                took_s = time.perf_counter() - started
                cost_s = time.process_time() - cpu_s + took_s / 20
                faulthandler.cancel_dump_traceback_later()
                record = {
                    "test": item.nodeid,
                    "failed": item.nodeid in failed,
                    "took_s": round(took_s, 3),
                    "cost_s": round(cost_s, 4),
                    "lines": lines_of(measuring, item.nodeid),
                }
                lines.write(json.dumps(record) + "\n")
                lines.flush()
        return _SURVIVED

    def _outcome_of(self, tests: Sequence[str]) -> int:
        self._run_tests(tests)
        return _SURVIVED

    # --- judging

    def _judge_in_turns(self, items: Sequence[pytest.Item]) -> None:
        lives: dict[tuple[str, str, str], Verdict] = {}
        turns = self._turns([*dict.fromkeys(_file_of(item.nodeid) for item in items)])
        for files in turns:
            tests = [item for item in items if _file_of(item.nodeid) in files]
            self._turn = {item.nodeid for item in tests}
            self._measure(tests)
            for verdict in self._judge_all():
                name = verdict.path, verdict.where, verdict.change
                if verdict.outcome == "not reached":
                    verdict = lives.get(name, verdict)
                if files is turns[-1] or verdict.outcome not in LIVES:
                    lives.pop(name, None)
                    self._report(verdict)
                else:
                    lives[name] = verdict
            self._mutants = [
                (path, mutant)
                for path, mutant in self._mutants
                if (path, mutant.where, mutant.change) in lives
            ]
            if not self._mutants:
                return

    def _turns(self, files: list[str]) -> list[list[str]]:
        """Two files, then four, and so on. What is nearest to some mutant's file comes first."""
        if not self._limits.in_turns:
            return [files]
        orders = [by_nearness(path) for path in {path for path, _ in self._mutants}]
        files.sort(key=lambda file: min((order.index(file) for order in orders if file in order), default=0))
        turns: list[list[str]] = []
        while files:
            size = 2 << len(turns)
            turns.append(files[:size])
            files = files[size:]
        return turns

    def _judge_all(self) -> Iterator[Verdict]:
        mutants = [(path, mutant, self._imports_again(path, mutant)) for path, mutant in self._mutants]
        waiting = deque(sorted(mutants, key=itemgetter(2)))  # those that take long come last
        running: dict[int, tuple[_Fork, str, Mutant, bool]] = {}
        poll = select.poll()
        while (waiting or running) and not self._is_over():
            while waiting and len(running) < self._limits.jobs:
                path, mutant, imports_again = waiting.popleft()
                tests = self._tests_for(path, mutant, imports_again)
                while imports_again and self._check_imported_again(path, tests):
                    tests = self._tests_for(path, mutant, imports_again)
                if not tests:
                    yield Verdict(path, mutant.where, mutant.change, "not reached")
                    continue
                fork = self._start(path, mutant, tests, imports_again)
                running[fork.pidfd] = fork, path, mutant, imports_again
                poll.register(fork.pidfd, select.POLLIN)
            for pidfd, _ in poll.poll(1000):
                fork, path, mutant, imports_again = running.pop(pidfd)
                poll.unregister(pidfd)
                code, by = fork.wait()
                if code == _IMPORT_AGAIN and not imports_again:
                    waiting.appendleft((path, mutant, True))
                    continue
                if code == _KILLED:
                    self._kills[path, by] += 1
                outcome = {_KILLED: "killed", _SURVIVED: "survived"}.get(code, "hung")
                took_s = time.monotonic() - fork.started
                yield Verdict(path, mutant.where, mutant.change, outcome, by, round(took_s, 2))
            for fork, *_ in running.values():
                if time.monotonic() - fork.started > _LONGEST_S:
                    os.kill(fork.pid, signal.SIGKILL)
        for fork, path, mutant, imports_again in running.values():
            fork.end()
            waiting.append((path, mutant, imports_again))
        for path, mutant, _ in waiting:
            yield Verdict(path, mutant.where, mutant.change, "not judged")

    def _check_imported_again(self, path: str, tests: Sequence[str]) -> bool:
        """Import everything again, unchanged. A test that fails by that alone judges no such mutant.

        Returns whether there was a test to check. Without measurements `_held` asks for more than this.
        """
        left = [test for test in tests if test not in self._passes_again] if self._limits.measures else []
        found_any = bool(left)
        source = Path(path).read_text("utf-8")
        while left:
            code, by = self._forked(partial(self._outcome_imported, path, source, left), 1000).wait()
            if code == _SURVIVED:
                self._passes_again |= dict.fromkeys(left, True)
                return True
            if code != _KILLED or by not in left:
                raise RoomFailed(f"imported again, without a mutant: exit code {code}, {by}\n{_output()}")
            print(f"{by} fails when it is imported again, and judges no mutant of imports", file=self._errors)
            self._errors.flush()
            self._passes_again[by] = False
            left.remove(by)
        return found_any

    def _held(self, verdicts: Sequence[Verdict]) -> Iterator[Verdict]:
        """Without measurements a mutant is killed only if the test that failed passes without it.

        Any other may have met a test that fails or takes long by itself.
        """
        killers = [self._items[test] for test in {each.by for each in verdicts} if test in self._items]
        found, failed = self._run_and_measure(killers)
        good = found.keys() - failed
        for verdict in verdicts:
            is_held = verdict.by in good or verdict.outcome == "not judged"
            yield verdict if is_held else replace(verdict, outcome="not reached")

    def _is_over(self) -> bool:
        return time.monotonic() > self._limits.until

    def _imports_again(self, path: str, mutant: Mutant) -> bool:
        """Outside of functions also what did not run: a test may import the file where it does."""
        return not mutant.where or not self._at_import.get(path, set()).isdisjoint(mutant.made.lines)

    def _tests_for(self, path: str, mutant: Mutant, imports_again: bool) -> list[str]:
        if not self._limits.measures:
            near = nearest(path)
            return [test for test in self._items if _file_of(test) in near]
        files = answering(path)
        mine = {test for test in self._measured.keys() & self._turn if _file_of(test) in files}
        if imports_again:
            mine = {test for test in mine if self._passes_again.get(test, True)}
        reaching = {test for line in mutant.made.lines for test in self._tests_at.get((path, line), ())}
        if imports_again:
            reaching = {test for test in mine if path in (self._measured[test].lines or ())}

        far = {file: place for place, file in enumerate(by_nearness(path), start=1)}

        def rank(test: str) -> tuple[bool, float]:
            cost_s = (self._measured[test].cost_s + 0.005) * far[_file_of(test)]
            return test not in reaching, cost_s / (1 + self._kills[path, test])

        is_explained = (path, mutant.where, mutant.change) in self._limits.explained
        enough_s = self._limits.enough_s / (4 if is_explained else 1)
        chosen: list[str] = []
        sum_s = 0.0
        for test in sorted(mine if imports_again else mine & (reaching | self._slow), key=rank):
            sum_s += self._measured[test].cost_s
            if chosen and sum_s > enough_s:
                break
            chosen.append(test)
        return chosen

    def _start(self, path: str, mutant: Mutant, tests: Sequence[str], imports_again: bool) -> _Fork:
        source = mutant.made.applied_to(Path(path).read_text("utf-8"))

        def in_place() -> int:
            if not replace_functions(path, source, self._functions):
                return _IMPORT_AGAIN
            return self._outcome_of(tests)

        imported = partial(self._outcome_imported, path, source, tests)
        return self._forked(imported if imports_again else in_place)

    def _outcome_imported(self, path: str, source: str, tests: Sequence[str]) -> int:
        """Import everything again, this text instead of a file, and run some tests."""
        for name in [name for name in sys.modules if name.partition(".")[0] in {"fanout", "tests"}]:
            if not name.startswith("tests.mutation"):
                del sys.modules[name]
        for logger in logging.Logger.manager.loggerDict.values():
            if isinstance(logger, logging.Logger):
                logger.setLevel(logging.NOTSET)  # which an import may set once more
        sys.meta_path.insert(0, MutatedImport(path, source))
        known = self._items
        first = _file_of(tests[0])  # kills most of them, and a file is imported in a third of the time
        parts = [[test for test in tests if (_file_of(test) == first) is near] for near in (True, False)]
        for some in filter(None, parts):
            chosen = _Chosen(self, some, known)
            faulthandler.dump_traceback_later(60, exit=True)
            pytest.main([*_PYTEST, *dict.fromkeys(map(_file_of, some))], plugins=[chosen])
            if not chosen.has_run:
                return _KILLED
        return _SURVIVED


class _Chosen:
    """Runs these tests alone, in this order: in a fork that imports everything again."""

    def __init__(self, session: _Session, tests: Sequence[str], known: Container[str]) -> None:
        """known: the names of all tests without the mutant."""
        self._session = session
        self._tests = tests
        self._known = known
        self.has_run = False

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            return False
        self._session._items = items = {item.nodeid: item for item in session.items}
        renamed = [
            test for test in items if test not in self._known
        ]  # by the mutant: a parameter is in their names
        self._session._run_tests([*renamed, *(test for test in self._tests if test in items)])
        self.has_run = len(self._session._items) > 0
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._session.pytest_runtest_logreport(report)


@dataclass(frozen=True, slots=True)
class _Fork:
    running: ClassVar[set[int]] = set()
    pid: int
    said: int
    started: float
    pidfd: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pidfd", os.pidfd_open(self.pid))
        self.running.add(self.pid)

    def end(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> tuple[int, str]:
        """Its exit code, and which test it named. What it has started is ended."""
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self.running.remove(self.pid)
        _end_orphans()
        said = os.read(self.said, 4096).decode() if select.select([self.said], [], [], 0)[0] else ""
        os.close(self.said)
        os.close(self.pidfd)
        return os.waitstatus_to_exitcode(status), said


def _adopt_orphans() -> None:
    """A test that is cut off leaves processes, such as servers in a group of their own: they become ours."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_orphans() -> None:
    """All children of this process but the forks are such. What an orphan leaves is the next one."""
    while orphans := [pid for pid in _children() if pid not in _Fork.running]:
        for pid in orphans:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def _file_of(test: str) -> str:
    return test.partition("::")[0]


def _output() -> str:
    return Path("output").read_text(errors="replace")[-3000:]
