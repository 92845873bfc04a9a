"""Does the work stop when the client disconnects? A handler waits for two upstream calls; its client goes.

Real processes and sockets. The simulated upstream is the witness: for each call it says when it saw the
socket close, or that it answered. Servers and frameworks run as they come, one process each. The handler is
that of `benchmarks/peers/disconnect_app.py`, on every server but fanout.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.parse import urlencode

from benchmarks.contenders import FANOUT_NAME, fanout
from benchmarks.programs import FANOUT, HERE, PEERS, CannotStart, Program, Server, running
from benchmarks.section import OTHER_CORE, SERVER_CORE, Found, Settings, rows

NAME = "disconnect"
TITLE = "Does the work stop when the client disconnects?"
WHERE = "the servers on core 0; the clients and the upstream on core 1"
REPEATS: Final = 3
DISCONNECTS_AFTER_S: Final = 0.3
GOES_ON_S: Final = 5.0  # from the disconnect to the upstream's answer
AT_ONCE_MS: Final = 1000  # on a busy machine; a server that waits waits for seconds
CALLS: Final = 2  # per request
PATIENCE_S: Final = 20
LOOK_S: Final = 0.01

OWN: Final = "own"  # an API of its own, not ASGI
APPS: Final = {
    "bare": "bare ASGI",
    "watching": "bare ASGI that watches `receive`",
    "starlette": "Starlette",
    "fastapi": "FastAPI",
    "litestar": "Litestar",
    "quart": "Quart",
}
# What starts one process with an app, by the name that the tables show. It begins with the distribution's.
ASGI: Final = {
    "uvicorn": ("uvicorn", "--port", "{port}"),
    "granian": ("granian", "--interface", "asgi", "--port", "{port}"),
    "hypercorn (asyncio)": ("hypercorn", "--bind", "{bind}"),
    "hypercorn (Trio)": ("hypercorn", "--worker-class", "trio", "--bind", "{bind}"),
    "daphne": ("daphne", "--port", "{port}"),
    "gunicorn (ASGI worker)": (
        "gunicorn",
        "--worker-class",
        "asgi",
        "--no-control-socket",
        "--bind",
        "{bind}",
    ),
}
CANCELLING: Final = "aiohttp (`handler_cancellation=True`)"
SERVERS: Final = (FANOUT_NAME, "aiohttp", CANCELLING, "robyn", *ASGI)
SHORT: Final = (FANOUT_NAME, "aiohttp", "uvicorn")

Calls = list[dict[str, Any]]
Runs = list[float | None]
"""For each disconnect: ms until the upstream saw the last socket close, or `None`: it answered, to nobody."""


def run(settings: Settings) -> Found:
    cells: dict[str, dict[str, Runs]] = {}
    skipped: dict[str, str] = {}
    with running(witness(), "", OTHER_CORE) as upstream:
        for name in SHORT if settings.short else SERVERS:
            try:
                apps = programs(name, settings.folder)
                cells[name] = measure(name, apps, upstream, settings.times(REPEATS), SERVER_CORE)
            except CannotStart as reason:
                skipped[name] = str(reason)
                settings.say(f"{name}: skipped, {reason}")
            else:
                shown = ", ".join(f"{app} {verdict(runs)}" for app, runs in cells[name].items())
                settings.say(f"{name}: {shown}")
    return {
        "upstream": "fanout's simulator",
        "versions": _versions(settings.folder),
        "cells": cells,
        "skipped": skipped,
    }


def witness() -> Server:
    return Server("upstream", (*FANOUT, "upstream", "--bind", "{bind}", "--reliable"))


def programs(name: str, folder: Path) -> dict[str, Server]:
    """One program for each app that this server can run. Raises `CannotStart` if the server is not here."""
    log = folder / "disconnect.log"
    if name == FANOUT_NAME:
        return {OWN: fanout(folder)}
    if name == "robyn":
        return {OWN: _own(log, _python_of_robyn(folder), "robyn", "{port}")}
    if not find_spec(_distribution(name)):
        raise CannotStart(f"{_distribution(name)} is not installed")
    if name not in ASGI:
        options = ["handler_cancellation"] if name == CANCELLING else []
        return {OWN: _own(log, sys.executable, "aiohttp", "{port}", *options)}
    app = "benchmarks.peers.disconnect_app:app"
    return {
        each: Server(name, (sys.executable, "-m", *ASGI[name], app), _variables(_on_this(name, each)), log)
        for each in APPS
        if each in ("bare", "watching") or find_spec(_on_this(name, each))
    }


def _on_this(name: str, app: str) -> str:
    return "quart_trio" if app == "quart" and name.endswith("(Trio)") else app


def _own(log: Path, python: str, *words: str) -> Server:
    return Server(words[0], (python, str(PEERS / "disconnect_server.py"), *words), _variables("bare"), log)


def _variables(app: str) -> Mapping[str, str]:
    return {"APP": app, "UPSTREAM": "{upstream}"}


def _python_of_robyn(folder: Path) -> str:
    """The interpreter of an environment of its own: robyn needs an older uvloop than the other peers have."""
    python = str(folder / "robyn/bin/python")
    lock = str(HERE / "requirements-robyn.lock")
    for command in (
        [sys.executable, "-m", "venv", str(folder / "robyn")],
        [python, "-m", "pip", "--quiet", "--no-input", "install", "--require-hashes", "--requirement", lock],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
            raise CannotStart(f"it cannot be installed: {said[-1]}")
    return python


# --- clients that disconnect, and what the upstream saw of them


def measure(
    name: str,
    apps: Mapping[str, Server],
    upstream: Program,
    repeats: int,
    core: int | str,
    goes_on_s: float = GOES_ON_S,
) -> dict[str, Runs]:
    """All apps of one server, each in its process. Clients come one after the other; then all calls end.

    Raises `CannotStart`, and `RuntimeError` if a request makes too few or too many calls, or they do not end.
    """
    target = "/api/all?timeout=20000" if name == FANOUT_NAME else "/work"
    delay_ms = round((DISCONNECTS_AFTER_S + goes_on_s) * 1000)
    disconnects: dict[str, list[float]] = {}
    with ExitStack() as stack:
        started = {}
        for app, server in apps.items():
            url = f"{upstream.url}/api/work?{urlencode({'delay_ms': delay_ms, 'tag': f'{name} {app}'})}"
            started[app] = stack.enter_context(running(server, url, core))
        for app, program in started.items():
            _wait_until_it_answers(program)
            disconnects[app] = []
            for number in range(1, repeats + 1):
                at = _disconnect(program, target, upstream, f"{name} {app}", CALLS * number)
                disconnects[app].append(at)
        return {
            app: runs_of(_calls(upstream, f"{name} {app}", _have_ended), disconnected_at)
            for app, disconnected_at in disconnects.items()
        }


def _wait_until_it_answers(program: Program) -> None:
    """Its worker may be ready long after its port is open."""
    try:
        with _connected(program) as client:
            client.sendall(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answers = bool(client.recv(1))
    except OSError:
        answers = False
    if not answers:
        raise CannotStart(f"it does not answer within {PATIENCE_S} s")


def _disconnect(program: Program, target: str, upstream: Program, tag: str, calls: int) -> float:
    """One client, from its request to its disconnect: when that was, in unix seconds as the upstream counts.

    calls: how many the upstream has seen by then. On a busy machine the client waits for them.
    """
    with _connected(program) as client:
        disconnects_at = time.monotonic() + DISCONNECTS_AFTER_S
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        _calls(upstream, tag, lambda seen: len(seen) >= calls)
        time.sleep(max(0.0, disconnects_at - time.monotonic()))
        return time.time()


def _connected(program: Program) -> socket.socket:
    host, _, port = program.url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), PATIENCE_S)


def _have_ended(calls: Calls) -> bool:
    return all(call["end"] != "open" for call in calls)


def _calls(upstream: Program, tag: str, is_so: Callable[[Calls], bool]) -> Calls:
    """What the upstream has seen of one server with one app, oldest first, as soon as that is so."""
    url = f"{upstream.url}/calls?{urlencode({'tag': tag})}"
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:
            calls: Calls = json.load(response)["calls"]
        if is_so(calls):
            return calls
        if time.monotonic() > give_up_at:
            raise RuntimeError(f"{tag}: after {PATIENCE_S} s the upstream has seen {calls}")
        time.sleep(LOOK_S)


def runs_of(calls: Calls, disconnected_at: Sequence[float]) -> Runs:
    """From all calls of requests that came one after the other, and when the client of each disconnected.

    Raises `RuntimeError` if there are more calls or fewer, or if one ended before its client disconnected.
    """
    if len(calls) != CALLS * len(disconnected_at):
        raise RuntimeError(f"{len(calls)} calls of {len(disconnected_at)} requests")
    runs: Runs = []
    for number, at in enumerate(disconnected_at):
        own = calls[CALLS * number : CALLS * (number + 1)]
        closed_ms = [
            (call["started_at"] - at) * 1000 + call["client_closed_ms"]
            for call in own
            if call["end"] == "client_closed"
        ]
        if any(ms < 0 for ms in closed_ms):
            raise RuntimeError(f"calls ended before their client disconnected: {own}")
        runs.append(max(closed_ms) if len(closed_ms) == CALLS else None)
    return runs


# --- what is shown


def end_of(runs: Runs) -> str:
    """How a cell ended, if it was the same for every disconnect; else how often the work stopped."""
    stopped = [ms for ms in runs if ms is not None]
    at_once = [ms for ms in stopped if ms < AT_ONCE_MS]
    if not stopped:
        return "no"
    if len(at_once) == len(runs):
        return "at once"
    if len(stopped) == len(runs) and not at_once:
        return f"after {median(stopped) / 1000:.0f} s"
    return f"{len(stopped)} of {len(runs)} times"


def verdict(runs: Runs) -> str:
    """The same, and how soon."""
    end = end_of(runs)
    return f"yes, {median(filter(None, runs)):.0f} ms" if end == "at once" else end


def render(found: Found) -> str:
    versions = found["versions"]
    asgi = [
        [_titled(name, versions), *(verdict(cells[app]) if app in cells else "–" for app in APPS)]
        for name, cells in found["cells"].items()
        if name in ASGI
    ]
    own = [
        [_titled(name, versions), verdict(cells[OWN])]
        for name, cells in found["cells"].items()
        if name not in ASGI
    ]
    skipped = [f"Not measured: {name} ({reason})." for name, reason in found["skipped"].items()]
    repeats = max(len(runs) for cells in found["cells"].values() for runs in cells.values())
    return "\n\n".join(
        [
            f"A client closes its connection {DISCONNECTS_AFTER_S} s after its request. At that moment the "
            "handler waits for two upstream calls, which the upstream would answer "
            f"{GOES_ON_S:.0f} s later. *Yes*: the upstream saw both sockets close; the time is from the "
            f"disconnect to the last of them, the median of {repeats}. *No*: the calls went on until their "
            "answer, which nobody read. A cell is the same for every disconnect, or it says how often. "
            "Servers and frameworks run as they come. The handler is the same for all but fanout: httpx "
            f"{versions['httpx']} in a task group of anyio {versions['anyio']}.",
            rows(["server with an API of its own", "does the work stop?"], own),
            rows(["ASGI server", *(_titled(app, versions) for app in APPS)], asgi),
            "ASGI leaves this to the app. The server's `receive` returns `http.disconnect`, and the app must "
            "be waiting for that while it works. The second column shows what an app has to write for it: "
            "one more task, which waits for `receive` and cancels the work "
            "(`benchmarks/peers/disconnect_app.py::watching`). Every server here notifies such an app. Quart "
            "has this task; the other frameworks do not. On hypercorn's Trio worker, Quart is Quart-Trio "
            f"{versions.get('quart-trio', '')}. Two servers also cancel an app that does not wait for "
            "`receive`: gunicorn after its `--asgi-disconnect-grace-period` (3 s), and daphne after its "
            "`--application-close-timeout` (10 s, which is too late to count here).",
            *skipped,
        ]
    )


def in_short(found: Found) -> str:
    """The matrix in three rows, for the README: which apps on which servers stop at once, later, or not."""
    ends: dict[str, dict[tuple[str, ...], list[str]]] = {"at once": {}}
    for name, cells in found["cells"].items():
        for end in dict.fromkeys(map(end_of, cells.values())):
            apps = tuple(app for app, runs in cells.items() if end_of(runs) == end)
            ends.setdefault(end, {}).setdefault(apps, []).append(name)
    ends["no"] = ends.pop("no", {})
    cells = [
        [end, "; ".join(_named(apps, names, found) for apps, names in groups.items())]
        for end, groups in ends.items()
    ]
    lines = rows(["the work stops", "when the client disconnects"], cells).splitlines()
    return "\n".join([lines[0], "| --- | --- |", *lines[2:]])


def _named(apps: Sequence[str], names: Sequence[str], found: Found) -> str:
    *others, last = [_titled(name, found["versions"]) for name in names]
    if apps == (OWN,):
        return "; ".join([*others, last])
    servers = f"{', '.join(others)} and {last}" if others else last
    if set(names) == ASGI.keys() & found["cells"].keys():
        servers = "every ASGI server below"
    *others, last = [_titled(app, found["versions"]) for app in apps]
    return f"{', '.join(others)} and {last} on {servers}" if others else f"{last} on {servers}"


def _titled(name: str, versions: Mapping[str, str]) -> str:
    """A server or an app, with its version: `hypercorn (Trio)` becomes `hypercorn 0.18.0 (Trio)`."""
    distribution, _, kind = name.partition(" ")
    title = APPS.get(distribution, distribution)
    return " ".join(word for word in (title, versions.get(distribution), kind) if word)


def _distribution(name: str) -> str:
    return name.partition(" ")[0]


def _versions(folder: Path) -> dict[str, str]:
    """Of every server, framework and library that is here, by distribution."""
    here = [*sys.path, *map(str, folder.glob("robyn/lib/python*/site-packages"))]
    wanted = [*map(_distribution, SERVERS), *APPS, "quart-trio", "anyio", "httpx"]
    return {
        name: found[0].version
        for name in dict.fromkeys(wanted)
        if name != FANOUT_NAME and (found := list(distributions(name=name, path=here)))
    }
