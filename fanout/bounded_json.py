"""JSON from outside, with a bound on its depth that is the same on every Python.

Without it, Python's parser would set the bound: about 900 levels on 3.11, less the frames on the stack, and
tens of thousands on 3.14. Then the same answer of an upstream could be a success on one Python only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import accumulate
from typing import Any, Final

# .NET's default, the lowest of the widely used parsers (Ruby 100, Rust's serde 128, Go 10,000), so every
# client can read an answer.
MAX_DEPTH: Final = 64
_LEVELS: Final = bytes.maketrans(b"[{}]", b"\x01\x01\xff\xff")  # as signed bytes: +1 opens, -1 closes
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[{}]"))


def loads(body: bytes, max_depth: int = MAX_DEPTH, parse: Callable[[str], Any] = json.loads) -> Any:
    """The value that `parse` returns for this UTF-8 text, which may nest arrays and objects `max_depth` deep.

    Raises `ValueError` if the text is not UTF-8, not JSON or deeper.
    """
    if _is_deeper(body, max_depth):
        raise ValueError(f"more than {max_depth} arrays and objects inside one another")
    return parse(body.decode("utf-8"))


def _is_deeper(body: bytes, max_depth: int) -> bool:
    """Exact for JSON. For other text: true if the part before the first mistake is deeper.

    No Python code runs per byte: any 64 KiB take about as long to check as the slowest 64 KiB take to parse.
    """
    if body.count(b"[") + body.count(b"{") <= max_depth:
        return False
    # Without escapes, every second piece between quotes is outside of strings.
    outside = b"".join(body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    levels = memoryview(outside.translate(_LEVELS, _NO_BRACKETS)).cast("b")
    return max(accumulate(levels), default=0) > max_depth
