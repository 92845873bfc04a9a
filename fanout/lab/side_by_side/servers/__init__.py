"""The server of each variant, a program of its own, which prints one line when it is ready.

    GET /api/first?timeout=MS&call=URL&call=URL&habit=swallows      what the variant's `first` gives
    GET /census                                                     what the server holds now, as `Census`

The real `fanout serve` has its calls and the habit from its start, and `/statistics` instead of the census.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import Final

SWALLOWS: Final = "swallows"  # a call that tries once more when it is cancelled, as a bare `except` does
OK: Final = 200
GC_THRESHOLD: Final = 1_000_000  # as our server's: else a socket that is left is closed by chance, or is not


@dataclass(slots=True)
class Census:
    """tasks: alive, those of this request included. slots: of the client's pool that calls hold."""

    tasks: int
    slots: int

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def say_ready(**urls: str) -> None:
    """Print the line in the form of `fanout serve`, so that one reader understands both."""
    sys.stdout.write(json.dumps({"message": "ready", **urls}, separators=(",", ":")) + "\n")
    sys.stdout.flush()
