"""Resident memory of a request in flight: how much a process grows while many hang."""

from __future__ import annotations

import select
import socket
import time
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

from benchmarks import usage
from benchmarks.comparison import NOT_TRUSTED, Comparison
from benchmarks.contenders import (
    AIOHTTP_NAME,
    ASYNCIO_NAME,
    BASE_NAME,
    FANOUT_NAME,
    FASTAPI_AIOHTTP_NAME,
    GO_NAME,
    QUART_NAME,
    contenders,
)
from benchmarks.loads import open_loop
from benchmarks.programs import Program, Server, running, upstream
from benchmarks.section import OTHER_CORE, SERVER_CORE, Found, Settings, rows
from benchmarks.varied import filled, templates

NAME = "memory"
TITLE = "Memory of a request in flight"
HANGING = 1000
HANG_MS = 25_000
TIMEOUT_MS = 30_000
PAUSE_S = 0.004  # between two requests: at most 250 a second
SETTLE_S = 1.0
SEED = 1
SERVERS = (FANOUT_NAME, AIOHTTP_NAME, ASYNCIO_NAME, FASTAPI_AIOHTTP_NAME, QUART_NAME, GO_NAME)


def run(settings: Settings) -> Found:
    found: dict[str, Any] = {}
    with upstream(settings.folder, OTHER_CORE) as (url, what):
        for name, server in contenders(
            settings.folder, settings.servers(SERVERS), ("--max-in-flight", "2000")
        ).items():
            found[name] = one = grow(server, f"{url}?delay_ms={HANG_MS}")
            settings.say(
                f"{name}: {one['idle_kib'] / 1024:.0f} MiB idle, {one['kib_a_request']:.1f} KiB a request"
            )
    return {"upstream": what, "servers": found}


def grow(server: Server, upstream_url: str) -> Found:
    with running(server, upstream_url, SERVER_CORE) as program, ExitStack() as stack:
        # Short timeouts: what is made at the first requests and kept is not a request in flight.
        open_loop(program.url, "first", "50x2", timeout_ms=300)
        usage.wait_until_quiet(program.pid)
        idle_kib = usage.resident_kib(program.pid)
        host = program.url.removeprefix("http://")
        kinds = templates("/api/first", host, SEED)
        clients = [
            stack.enter_context(ask(program, filled(kinds[number % len(kinds)], TIMEOUT_MS, number)))
            for number in range(HANGING)
        ]
        time.sleep(SETTLE_S)
        kib = usage.resident_kib(program.pid)
        poll = select.poll()
        for client in clients:
            poll.register(client, select.POLLIN)
        hang = HANGING - len(poll.poll(0))
    return {"idle_kib": idle_kib, "hang": hang, "kib_a_request": (kib - idle_kib) / HANGING}


def ask(program: Program, request: bytes) -> socket.socket:
    parts = urlsplit(program.url)
    client = socket.create_connection((parts.hostname, parts.port))
    client.sendall(request)
    time.sleep(PAUSE_S)
    return client


def compared(found: Found) -> list[Comparison]:
    servers: dict[str, Any] = found["servers"]
    remarks = {name: _doubts(one) for name, one in servers.items()}
    in_flight = {name: [one["kib_a_request"]] for name, one in servers.items()}
    idle = {name: [one["idle_kib"] / 1024] for name, one in servers.items()}
    return [
        Comparison("memory of a request in flight", "KiB", in_flight, remarks, digits=1),
        Comparison("memory of an idle process", "MiB", idle),
    ]


def _doubts(one: Found) -> str:
    missing = HANGING - one["hang"]
    return f"{NOT_TRUSTED}: {missing} did not hang" if missing else ""


def render(found: Found) -> str:
    cells = []
    servers = found["servers"]
    base = servers.get(BASE_NAME, {}).get("kib_a_request")
    for name, one in servers.items():
        cells.append(
            [
                name,
                f"{one['idle_kib'] / 1024:.0f}",
                f"{one['kib_a_request']:.1f}",
                f"{one['kib_a_request'] / base:.2f}" if base else "–",
                _doubts(one),
            ]
        )
    return (
        f"{HANGING:,} clients, each with a connection of its own, send a request to an upstream that does "
        "not answer, at most 250 per second so that none is shed. The growth of resident memory is divided "
        f"by {HANGING:,}. It contains the client's connection, the request, and two calls with a connection "
        "each. Each server has served 100 requests before. (`--max-in-flight 2000` for fanout.)\n\n"
        + rows(["server", "idle, MiB", "KiB per request in flight", f"ratio to {BASE_NAME}", ""], cells)
    )
