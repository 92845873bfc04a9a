"""The formulas of docs/guarantees.md: the texts that `fanout check-trace` and `fanout simulate` evaluate.

    python -m tests.project.formulas      write them, and which breakage breaks which, into the page

Each stands between `<!-- formula: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
from typing import Final

from fanout.testing.monitor.formulas import DEFINITIONS, FORMULAS
from tests.project.figures import DOCUMENT
from tests.testing.monitor.__main__ import all_breakages
from tests.testing.monitor.seen import SEEN

_MARK: Final = re.compile(r"(?<=<!-- formula: )(\w+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)


def shown(document: str) -> str:
    """The document with these texts between their marks. Raises `KeyError` for a mark without a text."""
    texts = {name: _block(text) for name, text in FORMULAS.items()}
    texts |= {"definitions": _block(DEFINITIONS), "breakages": _table()}
    return _MARK.sub(lambda mark: f"{mark[1]}{mark[2]}{texts[mark[1]]}", document)


def marks(document: str) -> list[str]:
    return [name for name, _ in _MARK.findall(document)]


def _block(text: str) -> str:
    return f"\n```python\n{text.strip()}\n```\n\n"


def _table() -> str:
    known = all_breakages()
    rows = [
        (guarantee, [known[name].title for name, broken in SEEN.items() if guarantee in broken])
        for guarantee in FORMULAS
    ]
    lines = ["| formula | broken by |", "| --- | --- |"]
    lines += [f"| {guarantee} | {'; '.join(titles)} |" for guarantee, titles in rows]
    unseen = "; ".join(known[name].title for name, broken in SEEN.items() if not broken)
    return "\n" + "\n".join(lines) + f"\n| none | {unseen} |\n\n"


if __name__ == "__main__":
    DOCUMENT.write_text(shown(DOCUMENT.read_text("utf-8")), "utf-8")
