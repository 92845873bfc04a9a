"""The packages, or parts of them, whose mutants are judged together: which tests answer for which files."""

from __future__ import annotations

from dataclasses import dataclass
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
_BRIDGE: Final = ("fanout/upstream/asyncio_call.py",)

_CLIENT_TESTS: Final = (
    *("answer", "answer_whole", "call", "cancelled", "conformance", "connect", "dead_address", "exchange"),
    *("resolver", "resolver_survives", "tls", "tls_records", "transport", "wire_edges"),
)

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
        "upstream",
        "the rest of the upstream client (`fanout/upstream/`)",
        ("fanout/upstream/*.py",),
        tuple(f"tests/upstream/test_{name}.py" for name in _CLIENT_TESTS),
        90,
        apart=(*_POOL, *_BRIDGE),
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
