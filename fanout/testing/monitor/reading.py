"""Reads a trace line by line: one that a simulation has written, or the log of a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec import DecodeError
from msgspec.json import Decoder

from fanout.testing.monitor.monitor import Monitor, Violation, all_clauses
from fanout.testing.monitor.receipts import ROUNDING_S, BadLine, LogRecords

_decode: Final = Decoder().decode
_KINDS: Final = frozenset({"run", *(clause.kind for _, clause in all_clauses())})


class Reading:
    """What a trace says, so far. `monitor` has a tally of each formula.

    lines, requests: how many there were.
    """

    def __init__(self, *, allowance_s: float) -> None:
        self.monitor = Monitor()
        self.lines = self.requests = 0
        self._allowance_s = allowance_s
        self._log: LogRecords | None = None

    def read(self, line: bytes) -> list[Violation]:
        """One more line, with or without its end. Raises `BadLine`."""
        self.lines += 1
        if not line.strip():
            return []
        try:
            entry = _decode(line)
        except DecodeError as error:
            raise BadLine(f"no JSON: {error}") from None
        except UnicodeDecodeError:
            raise BadLine("no UTF-8") from None
        if not isinstance(entry, dict):
            raise BadLine("no JSON object")
        return self._checked(self._records(entry))

    def end(self) -> list[Violation]:
        """There are no more lines."""
        return [] if self._log is None else self._checked(self._log.end())

    def _records(self, entry: dict[str, Any]) -> Iterable[tuple[Mapping[str, Any], int]]:
        kind = entry.get("kind")
        if kind is not None:
            if kind not in _KINDS:
                raise BadLine(f"kind is {kind!r}: there are {', '.join(sorted(_KINDS))}")
            self.requests += kind == "request"
            return [(entry, self.lines)]
        if self._log is None:
            self._log = LogRecords()
            self.monitor.use_real_clock(self._allowance_s, ROUNDING_S)
        return self._of_log(self._log, entry)

    def _of_log(self, log: LogRecords, entry: dict[str, Any]) -> Iterator[tuple[Mapping[str, Any], int]]:
        yield from log.feed(entry, self.lines)
        self.requests = log.requests

    def _checked(self, records: Iterable[tuple[Mapping[str, Any], int]]) -> list[Violation]:
        try:
            return [one for record, line in records for one in self.monitor.check(record, line)]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, BadLine):
                raise
            raise BadLine(f"a field has no value that its kind of record can have: {error}") from None
