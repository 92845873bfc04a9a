"""CPU of a request on another Python: `make bench PYTHON=python3.13 ARGS="--only newest"`."""

from __future__ import annotations

from benchmarks.contenders import BARE_NAME, BASE_NAME, FANOUT_NAME
from benchmarks.section import Found, Settings
from benchmarks.sections import cpu

NAME = "newest"
TITLE = "CPU per request on the newest Python"
ON_REQUEST = True  # it says nothing on the Python of all the others
render = cpu.render


def run(settings: Settings) -> Found:
    return cpu.measure(settings, (FANOUT_NAME, BARE_NAME, BASE_NAME))
