"""The questions of the benchmark, in the order of the page."""

from __future__ import annotations

from benchmarks.section import Section
from benchmarks.sections import (
    cpu,
    disconnect,
    growth,
    huge_pages,
    latency,
    memory,
    multiples,
    newest,
    peak,
    profile,
    start,
    tls,
    workers,
)

SECTIONS: dict[str, Section] = {
    section.NAME: section
    for section in (
        cpu,
        newest,
        peak,
        multiples,
        tls,
        latency,
        memory,
        growth,
        huge_pages,
        profile,
        workers,
        start,
        disconnect,
    )
}
