"""CPU of a request and the peak on another Python: `make bench PYTHON=python3.13 ARGS="--only newest"`."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.comparison import Comparison
from benchmarks.contenders import (
    BARE_NAME,
    BASE_NAME,
    FANOUT_NAME,
    PATIENT_NAME,
    UVLOOP_NAME,
    contenders,
)
from benchmarks.programs import upstream
from benchmarks.section import OTHER_CORE, Found, Settings
from benchmarks.sections import cpu, peak

NAME = "newest"
TITLE = "CPU per useful answer and peak on the newest Python"
PYTHON = "python3.13"
ON_REQUEST = True  # it says nothing on the Python of all the others


def run(settings: Settings) -> Found:
    found = cpu.measure(settings, (FANOUT_NAME, BARE_NAME, BASE_NAME, UVLOOP_NAME))
    with upstream(settings.folder, OTHER_CORE) as (url, _):
        servers = contenders(settings.folder, (FANOUT_NAME, PATIENT_NAME, BASE_NAME))
        return {**found, "peak": peak.measure(settings, servers, url, peak.CLIENTS, peak.ROUNDS)}


def compared(found: Found) -> list[Comparison]:
    return [
        replace(one, label=f"{one.label}, newest Python")
        for one in (*cpu.compared(found), *peak.compared(found["peak"]))
    ]


def render(found: Found) -> str:
    return f"{cpu.render(found)}\n\n{peak.render(found['peak'])}"
