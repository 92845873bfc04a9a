"""The quantities in the documents' prose: a number with a unit of time, memory, share or rate, or N of N.

Each is measured and transcribed by hand (docs/figures/measured.json says by which command, and a commit in
which the document had it), a bound of the code (there, or in the table of bounds in docs/guarantees.md), or
chosen for an example or by somebody else (`CHOSEN`, with the reason). One that stands in a document several
times, or is also a bound, could be changed in one place: how often it stands there is noted as well.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
MEASURED: Final = "docs/figures/measured.json"
CLIENTS: Final = "benchmarks/results/pool.json"
DOCUMENTS: Final = [
    *sorted(ROOT.glob("*.md")),
    # docs/performance.md is made from this and from its figures; the tutorial shows what its reader chose.
    ROOT / "benchmarks/performance.md",
    *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.stem not in ("performance", "tutorial")),
]
CHOSEN: Final = {
    "benchmarks/performance.md": {
        "100 to 600 ms": "the upstream of the benchmark",
        "70 %": "advice: room for bursts",
        "280 ms": "an example",
        "500 per second": "the example's load",
    },
    "README.md": {"100 to 600 ms": "the simulator's default", "0.3 s": "of the client that disconnects"},
    "docs/architecture.md": {"15 ms": "fanout.upstream.asyncio_call.GRACE_MS"},
    "docs/bridge.md": {
        "15 ms": "fanout.upstream.asyncio_call.GRACE_MS",
        "10 ms": "the clean-up of the example",
        "400 ms": "the clean-up of the example",
    },
    "docs/clients.md": {"200 ms": "the example's own deadline"},
    "docs/deploy.md": {
        "4 s": "a sum that tests/project/test_operations.py holds",
        "70 %": "the autoscaler's target",
        "80 %": "advice: as in docs/operations.md",
        "256 MB": "the memory limit of the example",
    },
    "docs/discussion.md": {
        "300 ms": "the timeout of the example",
        "3 ms": "reserve per hundred requests in flight",
        "20 per second": "the load of the example",
        "500 per second": "the load of the figure",
    },
    "docs/extending.md": {
        "10 %": "the bound that is asked for, the share of failures, and the budget",
        "15 %": "the budget of the example",
        **dict.fromkeys(
            ("3.2 %", "1.51 %", "1.16 %", "67 to 69 %", "36.5 %", "77 ms", "2281 ms"),
            "of the block above: virtual time; tests/examples/strategies/test_figures.py holds it",
        ),
    },
    "docs/guarantees.md": {
        "0.28 s": "0.3 s and the time reserve",
        "8 s": "three keep-alive probes",
        "300 ms": "a test's timeout",
    },
    "docs/http.md": {"100 KB": "a case of Http11Probe"},
    "docs/lab.md": dict.fromkeys(("10 ms", "50 ms", "400 ms"), "an example, exact in virtual time"),
    "docs/live.md": {
        "80 ms": "the demo's client",
        "2 seconds": "the demo's flood",
        "250 ms": "as 0.25 s in the bounds",
        "40 ms": "fanout.admin.live.feed: between two batches while somebody watches",
    },
    "docs/operations.md": {
        "100 to 600 ms": "the simulator's default",
        "700 ms": "a threshold of the rules",
        "50 ms": "a threshold of the rules, and a timeout",
        "15 minutes": "a window of the rules",
        "20 s": "the scrape interval that the rules need",
        "10 ms": "fanout.loop.turns.MAX_DELAY_S",
        "0.3 s": "an example",
        "1,000 per second": "the load of the example",
        **dict.fromkeys(("4 s", "34 s"), "sums that tests/project/test_operations.py holds"),
    },
    "docs/tracing.md": {"5000 ms": "OpenTelemetry's default"},
    "docs/upstream.md": {
        "100 to 600 ms": "the simulator's default",
        "40 ms": "the handshake of the example",
        "500 ms": "a setting that was tried, and a round trip",
        "800 ms": "a setting that was tried",
        "1000 ms": "the timeout of the example",
        "5 s": "the first keep-alive probe",
        "8 s": "three keep-alive probes",
    },
    "CHANGELOG.md": {
        "15 per second": "fanout.api.load_shedding.BURST_PER_S",
        "5 s": "the first keep-alive probe",
        "15 ms": "fanout.upstream.asyncio_call.GRACE_MS",
    },
}
_UNIT: Final = r"(?:ms|µs|s|seconds|minutes|hours|KiB|MiB|MB|KB|%|million|per second)"
_NUMBER: Final = r"\d[\d,]*(?:\.\d+)?"
_SHARE: Final = rf"{_NUMBER} of {_NUMBER}"
_QUANTITY: Final = re.compile(
    rf"(?<![\w.:/=-])(?:{_NUMBER}(?:(?: to |–|, | and | or ){_NUMBER})*\s{_UNIT}(?![\w/])|{_SHARE}(?!\w))"
)
_ELSEWHERE: Final = r"```.*?```|<!-- figures?: .*?<!-- end -->"
_NO_PROSE: Final = re.compile(rf"{_ELSEWHERE}|`[^`]*`", re.DOTALL)
_TABLE: Final = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)
_COUNT: Final = re.compile(rf" {_NUMBER}(?: of {_NUMBER}| [a-z]+)* $")
_ROW: Final = re.compile(rf"^\| .+ \| ({_NUMBER} {_UNIT})[^|]*\| `", re.MULTILINE)
_IN_SMALLEST: Final = {"µs": 0.001, "ms": 1.0, "s": 1000.0, "seconds": 1000.0, "KiB": 1024.0}


def load(root: Path = ROOT) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((root / MEASURED).read_text("utf-8"))
    return loaded


def unsourced(root: Path, name: str, sources: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Of one document: the quantities without a source, and those of its sources that it does not have."""
    found = quantities((root / name).read_text("utf-8"))
    transcribed = {
        figure for each in sources["measured"] if each["document"] == name for figure in each["figures"]
    }
    bounds = bounds_in((root / "docs/guarantees.md").read_text("utf-8")) | set(sources["bounds"])
    known = transcribed | {*CHOSEN.get(name, {})}
    return found - bounds - known, known - found


def often(root: Path, name: str, sources: dict[str, Any]) -> dict[str, int]:
    """How often a document has each quantity that is noted, that it has twice, or that is also a bound."""
    text = (root / name).read_text("utf-8")
    bounds = bounds_in((root / "docs/guarantees.md").read_text("utf-8")) | set(sources["bounds"])
    counts = Counter(_quantities_in(text))
    noted = sources.get("often", {}).get(name, {})
    return {
        each: counts[each]
        for each in sorted(counts.keys() | noted.keys())
        if counts[each] > 1 or each in noted or each in bounds
    }


def shows_clients(text: str, clients: dict[str, Any]) -> bool:
    """Whether docs/upstream.md has the tables of `CLIENTS`: `python benchmarks/pool.py` measures them."""
    for scheme, rows in clients.items():
        _, _, after = text.partition(f"CPU per call over {scheme}, in µs")
        table = after.partition("\n\n")[2].partition("\n\n")[0]
        shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
        if shown != [
            [name, *(f"{cell:.0f}" if isinstance(cell, float) else cell for cell in cells.values())]
            for name, cells in rows.items()
        ]:
            return False
    return True


def quantities(text: str) -> set[str]:
    """Every quantity in the prose: not in code, in a console, or between the marks of another source."""
    return set(_quantities_in(text))


def _quantities_in(text: str) -> list[str]:
    return _QUANTITY.findall(" ".join(_NO_PROSE.sub(" ", text).split()))


def tables(text: str) -> list[str]:
    """Every table with figures: at least two in a row. Not those between the marks of another source."""
    found = _TABLE.findall(re.sub(_ELSEWHERE, "", text, flags=re.DOTALL))
    return [
        table
        for table in found
        if any(sum(bool(_COUNT.match(cell)) for cell in row.split("|")) > 1 for row in table.splitlines())
    ]


def bounds_in(guarantees: str) -> set[str]:
    """The quantities of the table of bounds, which tests/project/test_guarantees.py holds to the code."""
    return set(_ROW.findall(guarantees.partition("\n## Bounds\n")[2].partition("\n## ")[0]))


def value(quantity: str) -> float:
    """Milliseconds or bytes."""
    number, unit = quantity.split()
    return float(number.replace(",", "")) * _IN_SMALLEST[unit]
