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
AIOHTTP_NAME = "aiohttp, uvloop"
ASYNCIO_NAME = "aiohttp, asyncio"
FASTAPI_NAME = "FastAPI"
QUART_NAME = "quart-trio"
GO_NAME = "Go"
BASE_NAME = AIOHTTP_NAME  # every ratio is to this one

WHAT = {
    FANOUT_NAME: "`fanout serve` as it comes, observability on, its log to a file",
    BARE_NAME: "the same without receipts, log, metrics and leak check (`benchmarks/bare_server.py`)",
    PATIENT_NAME: "`fanout serve --max-loop-lag-ms 1000`: load shedding practically off",
    AIOHTTP_NAME: "aiohttp, server and client, on uvloop (`benchmarks/peers/aiohttp_peer.py`)",
    ASYNCIO_NAME: "the same on asyncio's own loop",
    FASTAPI_NAME: "FastAPI, uvicorn with uvloop and httptools, httpx (`benchmarks/peers/fastapi_peer.py`)",
    QUART_NAME: "Quart-Trio, hypercorn and httpx, as in a first version "
    "(`benchmarks/peers/quart_trio_peer.py`)",
    GO_NAME: "Go's net/http, `GOMAXPROCS=1` (`benchmarks/peers/go_peer.go`)",
}


def fanout(folder: Path, *options: str, name: str = FANOUT_NAME, admin: str = "127.0.0.1:0") -> Server:
    command = (*FANOUT, "serve", "--bind", "{bind}", "--admin-bind", admin, "--upstream", "{upstream}")
    return Server(name, (*command, *options), log=folder / "fanout.log")


def aiohttp(*options: str, name: str = AIOHTTP_NAME) -> Server:
    return _peer(name, "aiohttp_peer.py", *options)


def contenders(folder: Path, wanted: Sequence[str], fanout_options: Sequence[str] = ()) -> dict[str, Server]:
    """Those of `wanted` that can run here, in its order. The Go peer is built into `folder`."""
    made = {
        FANOUT_NAME: fanout(folder, *fanout_options),
        PATIENT_NAME: fanout(folder, *fanout_options, "--max-loop-lag-ms", "1000", name=PATIENT_NAME),
        BARE_NAME: _bare(folder, fanout_options),
        AIOHTTP_NAME: aiohttp(),
        ASYNCIO_NAME: aiohttp("--loop", "asyncio", name=ASYNCIO_NAME),
        FASTAPI_NAME: _peer(FASTAPI_NAME, "fastapi_peer.py"),
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
        ASYNCIO_NAME: _has("aiohttp"),
        FASTAPI_NAME: _has("fastapi", "uvicorn"),
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
