"""The tables of differences in docs/http.md, made from those that the fuzzing is held to.

python -m tests.project.witnesses_page      write them into the page
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tests.fuzz.entries import ENTRIES, REQUESTS
from tests.fuzz.http2_rules import MALFORMED, RULES

PAGE: Final = Path(__file__).parents[2] / "docs/http.md"
_MARK: Final = re.compile(r"(?<=<!-- differences: )([\w.]+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)


def shown(document: str) -> str:
    """The document with the tables between their marks."""
    tables = {"http1": _http1(), "http2": _http2()}
    return _MARK.sub(lambda mark: f"{mark[1]}{mark[2]}\n{tables[mark[1]]}\n", document)


def marks(document: str) -> list[str]:
    return [name for name, _ in _MARK.findall(document)]


def _http1() -> str:
    return "".join(_lines(("in", "what", "the other parser", "right", "because"), _http1_rows()))


def _http1_rows() -> Iterator[tuple[str, ...]]:
    for entry in ENTRIES:
        of = "request" if entry.of == REQUESTS else "answer"
        who = ", ".join(entry.witnesses)
        yield of, entry.name, f"{who}: {entry.does}", entry.right, f"{entry.rule}: {entry.why}"


def _http2() -> str:
    rows = [
        (
            rule.what,
            "reset" if rule.outcome == MALFORMED else f"a {rule.outcome}",
            f"RFC 9113 §{rule.section}",
        )
        for rule in RULES
        if rule.h2 != (rule.outcome == MALFORMED)
    ]
    return "".join(_lines(("what", "fanout", "rule"), rows))


def _lines(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for row in (titles, ("---",) * len(titles), *rows):
        yield f"| {' | '.join(row)} |\n"


if __name__ == "__main__":
    PAGE.write_text(shown(PAGE.read_text("utf-8")), "utf-8")
