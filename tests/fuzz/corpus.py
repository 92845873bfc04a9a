"""Inputs that are kept: one file each, in a folder per target, with a name that says what is in it.

A file has lines of Python's bytes literals, and comments. So it can be read, and no editor changes it.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.fuzz.search import Find

CORPUS: Final = Path(__file__).parent / "corpus"
FOUND: Final = "found_"  # the beginning of a name that `make fuzz` has given


def inputs(target: str, corpus: Path = CORPUS) -> Iterator[tuple[str, bytes]]:
    """The name and the bytes of each."""
    for path in sorted((corpus / target).glob("*.txt")):
        yield path.stem, read(path)


def read(path: Path) -> bytes:
    lines = [line for line in path.read_text("ascii").splitlines() if line and not line.startswith("#")]
    return b"".join(ast.literal_eval(line) for line in lines)


def write(find: Find, corpus: Path = CORPUS) -> Path:
    """Keep a find. Give its file a name once it is understood."""
    who, what = find.difference
    words = re.sub(r"[^a-z0-9]+", "_", f"{who}_{what}".lower()).strip("_")[:60]
    path = corpus / find.target / f"{FOUND}{words}_{hashlib.sha256(find.data).hexdigest()[:6]}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# {who}: {what}\n{as_text(find.data)}", "ascii")
    return path


def as_text(data: bytes) -> str:
    return "".join(f"{line!r}\n" for line in data.splitlines(keepends=True))
