"""The packages, or parts of them, whose mutants are judged together: which tests answer for which files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class Room:
    """Some files, the tests that answer for them, and the share of mutants that these must kill.

    title: in the table. files, tests: patterns. Tests run in the process that collects them: what they start
    in other processes is not mutated. apart: files that the pattern takes, and that another room answers for.
    """

    name: str
    title: str
    files: tuple[str, ...]
    tests: tuple[str, ...]
    at_least_percent: float
    apart: tuple[str, ...] = ()

    def paths(self) -> list[str]:
        apart = {*self.apart}
        found = {str(path) for pattern in self.files for path in Path().glob(pattern)}
        return sorted(found - {str(path) for pattern in apart for path in Path().glob(pattern)})

    def test_files(self) -> list[str]:
        return sorted({str(path) for pattern in self.tests for path in Path().glob(pattern)})


_POOL: Final = tuple(f"fanout/upstream/{name}.py" for name in ("pool", "transport", "messages"))
_ANSWERS: Final = tuple(f"fanout/upstream/{name}.py" for name in ("answer", "chunks", "decode"))
_BRIDGE: Final = ("fanout/upstream/asyncio_call.py",)

ROOMS: Final = (
    Room(
        "race",
        "the race and the admission (`fanout/race/`)",
        ("fanout/race/*.py",),
        ("tests/race/test_*.py",),
        95,
    ),
    Room(
        "pool",
        "the pool (`upstream/pool.py`, `transport.py`, `messages.py`)",
        _POOL,
        tuple(
            f"tests/upstream/test_{name}.py"
            for name in (
                "pool",
                "exchange",
                "messages",
                "transport",
                "transport_run",
                "idle_connections",
                "tls",
            )
        ),
        95,
    ),
    Room(
        "answers",
        "an upstream's answer (`upstream/answer.py`, `chunks.py`, `decode.py`)",
        _ANSWERS,
        tuple(f"tests/upstream/test_{name}.py" for name in ("answer*", "chunks", "rfc_answers")),
        90,
    ),
    Room(
        "upstream",
        "the rest of the upstream client (`fanout/upstream/`)",
        ("fanout/upstream/*.py",),
        tuple(
            f"tests/upstream/test_{name}.py"
            for name in (
                "addresses",
                "call",
                "connect",
                "dead_address",
                "idle_connections",
                "resolver*",
                "rfc_tls",
                "tls*",
                "transport",
                "wire_edges",
            )
        ),
        90,
        apart=(*_POOL, *_ANSWERS, *_BRIDGE),
    ),
    Room(
        "bridge",
        "the asyncio bridge (`upstream/asyncio_call.py`)",
        _BRIDGE,
        ("tests/upstream/test_asyncio_*.py",),
        90,
    ),
    Room(
        "server",
        "the connection driver (`fanout/server/`)",
        ("fanout/server/*.py",),
        ("tests/server/test_*.py",),
        90,
    ),
    Room(
        "api",
        "the handlers and load shedding (`fanout/api/`)",
        ("fanout/api/*.py",),
        ("tests/api/test_*.py",),
        90,
    ),
    Room(
        "observe",
        "what is observed (`fanout/observe/`)",
        ("fanout/observe/*.py",),
        ("tests/observe/test_*.py",),
        90,
    ),
    Room(
        "judge",
        "the judge and the oracle of the simulation (`fanout/testing/world/`)",
        tuple(
            f"fanout/testing/world/{name}.py"
            for name in ("judge*", "oracle", "dues", "endings", "ended", "leftovers", "met")
        ),
        ("tests/testing/world/test_*.py",),
        95,
    ),
    Room(
        "load",
        "the verdicts of `fanout load` (`fanout/tools/load/`)",
        tuple(
            f"fanout/tools/load/{name}.py"
            for name in (
                *("answer", "endpoint", "first_look", "histogram", "outcome", "report", "reporting"),
                *("shot", "tally"),
            )
        ),
        ("tests/tools/load/test_*.py",),
        90,
    ),
)


@cache
def answering(path: str) -> frozenset[str]:
    """The files of tests that answer for a file."""
    return frozenset(test for room in ROOMS if path in room.paths() for test in room.test_files())


@cache
def by_nearness(path: str) -> list[str]:
    """These tests: first the file that shares the most words of a file's name, and has the fewest others.

    Of those that share none, first the one that mentions most often what the file defines.
    """
    return sorted(answering(path), key=lambda test: (*(-each for each in _rank(path, test)), test))


def nearest(path: str) -> set[str]:
    """The first of them, unless it has nothing to do with the file."""
    return {test for test in by_nearness(path)[:1] if _rank(path, test) > (0, 0, 0)}


def _rank(path: str, test: str) -> tuple[int, int, int]:
    words, its_words = ({*Path(each).stem.split("_")} for each in (path, test))
    shared = len(words & its_words)
    defined = re.findall(
        r"^(?:async def |def |class |(?=[A-Z]))(\w+)", Path(path).read_text("utf-8"), re.MULTILINE
    )
    mentions = re.findall(rf"\b(?:{'|'.join(defined)})\b", Path(test).read_text("utf-8")) if defined else []
    return shared, -len(its_words) if shared else 0, len(mentions)


def is_chosen(room: Room, path: str, where: str, parts: Sequence[str]) -> bool:
    """Whether one of the parts, if there are any, is this room, or a piece of a mutant's name."""
    names = {each.name for each in ROOMS}
    return not parts or any(
        part == room.name if part in names else part in f"{path}:{where}" for part in parts
    )


def may_be_chosen(room: Room, path: str, parts: Sequence[str]) -> bool:
    """Whether a mutant of this file may be chosen."""
    return is_chosen(room, path, "", [part.partition(":")[0] for part in parts])
