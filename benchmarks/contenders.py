"""The servers that are compared, by name. A server that this machine cannot run is left out.

fanout runs as `fanout serve` comes: receipts, metrics and leak check on, its log, one line per request, to a
file.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.programs import FANOUT, PEERS, Server

FANOUT_NAME = "fanout"
PATIENT_NAME = "fanout, never refusing"
BARE_NAME = "fanout, bare"
AIOHTTP_NAME = "aiohttp, tuned"
UVLOOP_NAME = "aiohttp, uvloop"
ASYNCIO_NAME = "aiohttp, asyncio"
FASTAPI_NAME = "FastAPI, httpx"
FASTAPI_AIOHTTP_NAME = "FastAPI, aiohttp's client"
GRANIAN_NAME = "FastAPI on granian, aiohttp's client"
QUART_NAME = "quart-trio"
GO_NAME = "Go"
BASE_NAME = AIOHTTP_NAME  # what the ratios of a section's own table are to

WHAT = {
    FANOUT_NAME: "`fanout serve` as it comes, observability on, its log to a file",
    BARE_NAME: "the same without receipts, log, metrics and leak check (`benchmarks/bare_server.py`)",
    PATIENT_NAME: "`fanout serve --max-loop-lag-ms 1000`: load shedding practically off",
    AIOHTTP_NAME: "aiohttp, server and client, the fastest that we know: uvloop, the garbage collector set "
    "as in fanout, eager tasks (Python 3.12 and later), no decompression, no headers that nobody asked for, "
    "a URL that is parsed once (`benchmarks/peers/aiohttp_peer.py`)",
    UVLOOP_NAME: "the same on uvloop, and nothing else tuned",
    ASYNCIO_NAME: "the same on asyncio's own loop, nothing tuned",
    FASTAPI_NAME: "FastAPI, uvicorn with uvloop and httptools, httpx (`benchmarks/peers/fastapi_peer.py`)",
    FASTAPI_AIOHTTP_NAME: "the same with aiohttp's client, tuned, and the garbage collector set as in fanout",
    GRANIAN_NAME: "the same on granian instead of uvicorn, one worker",
    QUART_NAME: "Quart-Trio, hypercorn and httpx, as in a first version "
    "(`benchmarks/peers/quart_trio_peer.py`)",
    GO_NAME: "Go's net/http, `GOMAXPROCS=1`, no compression asked for (`benchmarks/peers/go_peer.go`)",
}


def fanout(folder: Path, *options: str, name: str = FANOUT_NAME, admin: str = "127.0.0.1:0") -> Server:
    command = (*FANOUT, "serve", "--bind", "{bind}", "--admin-bind", admin, "--upstream", "{upstream}")
    return Server(name, (*command, *options), log=folder / "fanout.log")


def aiohttp(*options: str, name: str = AIOHTTP_NAME) -> Server:
    return _peer(name, "aiohttp_peer.py", *options)


def contenders(folder: Path, wanted: Sequence[str], fanout_options: Sequence[str] = ()) -> dict[str, Server]:
    """Those of `wanted` that can run here, in its order. The Go peer is built into `folder`."""
    fastapi_aiohttp = ("--client", "aiohttp")
    made = {
        FANOUT_NAME: fanout(folder, *fanout_options),
        PATIENT_NAME: fanout(folder, *fanout_options, "--max-loop-lag-ms", "1000", name=PATIENT_NAME),
        BARE_NAME: _bare(folder, fanout_options),
        AIOHTTP_NAME: aiohttp(),
        UVLOOP_NAME: aiohttp("--loop", "uvloop", name=UVLOOP_NAME),
        ASYNCIO_NAME: aiohttp("--loop", "asyncio", name=ASYNCIO_NAME),
        FASTAPI_NAME: _peer(FASTAPI_NAME, "fastapi_peer.py"),
        FASTAPI_AIOHTTP_NAME: _peer(FASTAPI_AIOHTTP_NAME, "fastapi_peer.py", *fastapi_aiohttp),
        GRANIAN_NAME: _peer(GRANIAN_NAME, "fastapi_peer.py", *fastapi_aiohttp, "--server", "granian"),
        QUART_NAME: _peer(QUART_NAME, "quart_trio_peer.py"),
        GO_NAME: Server(
            GO_NAME,
            (str(folder / "go_peer"), "-bind", "{bind}", "-upstream", "{upstream}"),
            {"GOMAXPROCS": "1"},
        ),
    }
    if GO_NAME in wanted and shutil.which("go") and not (folder / "go_peer").exists():
        subprocess.run(["go", "build", "-o", str(folder / "go_peer"), str(PEERS / "go_peer.go")], check=True)
    here = {
        AIOHTTP_NAME: _has("aiohttp", "uvloop"),
        UVLOOP_NAME: _has("aiohttp", "uvloop"),
        ASYNCIO_NAME: _has("aiohttp"),
        FASTAPI_NAME: _has("fastapi", "uvicorn", "httpx"),
        FASTAPI_AIOHTTP_NAME: _has("fastapi", "uvicorn", "aiohttp"),
        GRANIAN_NAME: _has("fastapi", "granian", "aiohttp"),
        GO_NAME: bool(shutil.which("go")),
    }
    return {name: made[name] for name in wanted if here.get(name, True)}


def _bare(folder: Path, options: Sequence[str]) -> Server:
    whole = fanout(folder, *options, name=BARE_NAME)
    command = list(whole.command)
    command[1:3] = [str(PEERS.parent / "bare_server.py")]
    return Server(BARE_NAME, command, log=whole.log)


def _peer(name: str, file: str, *options: str) -> Server:
    command = (sys.executable, str(PEERS / file), "--bind", "{bind}", "--upstream", "{upstream}", *options)
    return Server(name, command)


def _has(*modules: str) -> bool:
    return all(importlib.util.find_spec(module) for module in modules)
