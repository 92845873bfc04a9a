"""docs/figures/history.json: every figure that was published, of which commit and on which machine, in order.

A command that publishes calls `publish`: it writes the entry into its file, and appends a record. A record
has the digests of its entry and of the record before. So an entry that is changed by hand no longer matches
its record, and a record that is changed no longer matches the next one.

    python -m benchmarks.history     what it has, one line per record

Results from before this file come from the history of git. Each names the commit that published it, so that
it can be read again there (`figures_in_git`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any, Final

import click

from benchmarks.contenders import FANOUT_NAME, UVLOOP_NAME
from benchmarks.provenance import ROOT, Entry, git, load, sealed, write
from benchmarks.section import Found, Section

HISTORY: Final = ROOT / "docs/figures/history.json"
GUARANTEES: Final = "docs/figures/guarantees.json"
PERFORMANCE: Final = "docs/figures/performance.json"

Record = dict[str, Any]
"""{"section", "at": UTC, "commit", "tree", "machine", "python", "figures": {name: number}, "entry": its
digest, "before": the digest of the record before, "digest"}

One from git has "published", a commit, and neither tree nor entry."""

CPU: Final = "CPU per useful answer, `first` at 500/s"
CPU_PER_REQUEST: Final = "CPU per request, `first` at 500/s"  # until the benchmark counted whole lives
PEER_IN_GIT: Final = UVLOOP_NAME
PEAK: Final = "goodput in answers per second, 1,000 clients"
LATENCY: Final = "added latency at 100/s, p50"
MEMORY: Final = "memory of a request in flight"
_NUMBER: Final = re.compile(r"-?[\d,]*\.?\d+")


def records(path: Path | None = None) -> list[Record]:
    """Of one file, by default `HISTORY`, oldest first."""
    found: list[Record] = load(path or HISTORY).get("records", [])
    return found


def publish(path: Path, entries: Mapping[str, Entry], name: str, figures: Mapping[str, float]) -> None:
    """Write a file of figures with a new entry, and the record of it.

    path: the file, below docs/figures. entries: all that it is to have, sealed. name: the new one.
    figures: those of it that are worth comparing with earlier ones.
    """
    entry = entries[name]
    record = {
        "section": name,
        "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%MZ}",
        **{field: entry["measured"][field] for field in ("commit", "tree", "machine", "python")},
        "figures": dict(figures),
        "entry": entry["digest"],
    }
    write(HISTORY, {"records": [*records(), _behind(records(), record)]})
    write(path, entries)


def main_figures(section: Section, found: Found) -> dict[str, float]:
    """What a section of the benchmark compares: ours, and that of the best peer in Python in the same run."""
    figures: dict[str, float] = {}
    for one in section.compared(found) if hasattr(section, "compared") else ():
        if peer := one.best_peer():
            both = {one.label: one.value(one.ours), of_peer(one.label, peer): one.value(peer)}
            figures |= {name: value for name, value in both.items() if isfinite(value)}
    return figures


def of_peer(name: str, peer: str) -> str:
    """What the same figure of a peer is called."""
    return f"{name}: {peer}"


def peer_in(figures: Mapping[str, float], name: str) -> tuple[str, float] | None:
    """The peer that a figure of ours was compared with, and its figure."""
    begins = of_peer(name, "")
    return next(
        ((label.removeprefix(begins), each) for label, each in figures.items() if label.startswith(begins)),
        None,
    )


def problems(found: Sequence[Record], entries: Mapping[str, Entry]) -> list[str]:
    """What does not hold of these records and of the entries now published, each as a sentence."""
    wrong = []
    before = ""
    for number, record in enumerate(found):
        if record != sealed(record) or record["before"] != before:
            wrong.append(f"record {number + 1}, {record['section']}: changed, or not in its place")
        before = record["digest"]
    last = {record["section"]: record for record in found}
    for name, entry in entries.items():
        if last.get(name, {}).get("entry") != entry.get("digest"):
            wrong.append(f"{name}: not the entry that was published last")
    return wrong


def _behind(found: Sequence[Record], record: Record) -> Record:
    return sealed({**record, "before": found[-1]["digest"] if found else ""})


def _number(cell: str) -> float:
    match = _NUMBER.search(cell)
    if match is None:
        raise ValueError(f"no number: {cell}")
    return float(match[0].replace(",", ""))


# --- results from before there were records


def figures_in_git(section: str, commit: str) -> dict[str, float]:
    """Those of a section as a commit published them; empty when it has none of them."""
    read = _READ[section]
    for path in (GUARANTEES, PERFORMANCE):
        entry = _in_git(commit, path).get(section)
        if entry and not (path == PERFORMANCE and entry["measured"]["short"]):
            return read(entry)
    return {}


@cache
def _in_git(commit: str, path: str) -> dict[str, Any]:
    text = git("show", f"{commit}:{path}", check=False)
    entries: dict[str, Any] = json.loads(text) if text else {}
    return entries


def _column(entry: Any, *names: str) -> Iterator[float]:
    """Of the first row whose first cell begins with one of these words: the number behind it."""
    for row in entry["rows"]:
        if row[0].startswith(names):
            yield _number(row[1])
            return


def _worlds(entry: Any) -> dict[str, float]:
    names = {
        "simulated requests": ("requests",),
        "simulated requests with a broken guarantee": ("requests with a broken",),
        "simulated requests per CPU-hour": ("requests per CPU-hour",),
    }
    return {name: value for name, words in names.items() for value in _column(entry, *words)}


def _sweep(entry: Any) -> dict[str, float]:
    return {
        name: value
        for name, words in (
            ("runs of the sweep", ("all, ",)),
            ("guarantees broken in the sweep", ("guarantees broken", "promises broken")),
        )
        for value in _column(entry, *words)
    }


def _mutants(entry: Any) -> dict[str, float]:
    columns = [sum(_number(row[place]) for row in entry["rows"]) for place in (1, 2)]
    if not columns[0]:
        return {}
    return {"mutants": columns[0], "mutants killed, %": round(100 * columns[1] / columns[0], 2)}


def _pair(name: str, values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """From rounds: the median of ours, and that of the peer."""
    return {
        label: float(f"{median(one[server] for one in values):.4g}")
        for label, server in ((name, FANOUT_NAME), (of_peer(name, PEER_IN_GIT), PEER_IN_GIT))
    }


def _of_rounds(rounds: Sequence[Any], field: str) -> list[dict[str, float]]:
    return [{server: one[server][field] for server in (FANOUT_NAME, PEER_IN_GIT)} for one in rounds]


def _peak(entry: Any) -> dict[str, float]:
    rounds = entry["found"]["rounds"]
    # The second is the name of the field in entries that only git's history has.
    of_1000 = [one["servers"] for one in rounds if 1000 in (one.get("clients"), one.get("callers"))]
    return _pair(PEAK, _of_rounds(of_1000, "useful_per_s")) if of_1000 else {}


_READ: Final[dict[str, Callable[[Any], dict[str, float]]]] = {
    "worlds": _worlds,
    "sweep": _sweep,
    "mutants": _mutants,
    "cpu": lambda entry: _pair(CPU_PER_REQUEST, _of_rounds(entry["found"]["rounds"]["first 500"], "cpu_us")),
    "peak": _peak,
    "latency": lambda entry: _pair(LATENCY, _of_rounds(entry["found"]["rounds"], "p50_ms")),
    "memory": lambda entry: _pair(MEMORY, _of_rounds([entry["found"]["servers"]], "kib_a_request")),
}


@click.command()
def main() -> None:
    """Every published result, oldest first."""
    for record in records():
        figures = ", ".join(f"{name}: {value:,.6g}" for name, value in record["figures"].items())
        click.echo(f"{record['at']} {record['commit']} {record['section']}: {figures}")


if __name__ == "__main__":
    main()
