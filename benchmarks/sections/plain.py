"""CPU of a request on a plain build of Python: `make bench PYTHON=… ARGS="--only plain"`."""

from __future__ import annotations

from benchmarks.contenders import BARE_NAME, BASE_NAME, FANOUT_NAME
from benchmarks.section import Found, Settings
from benchmarks.sections import cpu

NAME = "plain"
TITLE = "CPU per request on a plain build of Python"
ON_REQUEST = True  # it says nothing on the Python of all the others


def run(settings: Settings) -> Found:
    return cpu.measure(settings, (FANOUT_NAME, BARE_NAME, BASE_NAME))


def render(found: Found) -> str:
    return (
        "Distributions and the official images build Python with the help of a profile (PGO, LTO), and so "
        "does who uses `--enable-optimizations`; pyenv does not unless it is told to. Without it the "
        "interpreter is slower. That costs a server in Python more than one that is half in C, as aiohttp on "
        "uvloop is, so here is the same comparison on such a build.\n\n" + cpu.render(found)
    )
