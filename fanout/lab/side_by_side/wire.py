"""The rows *Wire*: each variant as a real server, and what is left of a request on real sockets.

Call 0 wins and call 1 loses, each at a simulated upstream of its own. Three witnesses count what is left: the
kernel, which lists the sockets; the upstreams, which see whether a call's connection closes; and the server.

Rule 1: a verdict depends on counts, and on times that are hundreds of milliseconds apart.
Rule 2: a process belongs to this section from its start, and is ended with it, whatever happens.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from select import select
from typing import Any, Final, Literal, Self
from urllib.parse import urlencode

import trio

from fanout.lab import kernel
from fanout.lab.client import Answer, Client, ask
from fanout.lab.setup import eventually
from fanout.lab.side_by_side import servers
from fanout.lab.side_by_side.cells import Cell, Row, Section, Verdict
from fanout.lab.side_by_side.servers import OK, SWALLOWS, Census
from fanout.lab.side_by_side.variants import VARIANTS, Variant
from fanout.lab.timeline import Lane
from fanout.testing.program import Program, started

HOW: Final = (
    "Real sockets: each variant is a server in a process of its own, with two simulated upstreams. At least"
    " 0.3 s later, the kernel counts sockets, the upstreams count calls, and the server counts tasks and"
    " slots. The garbage collector does not run, so a socket that is left to it counts as left. A cell that"
    " is late is measured up to three times, and the last result counts."
)
AT_ONCE: Final = 2  # servers that are measured at the same time
WINNER_MS: Final = 150
SLOW_MS: Final = 1200
TIMEOUT_MS: Final = 800
LONG_MS: Final = 30_000  # what is left when its client has disconnected stays until the last row
LATE_MS: Final = 500  # after it was due; a machine that is busy with other things is not that late
GIVE_UP_S: Final = 2.4  # three timeouts
# What is still there after this time is left. Each look is a request to the server, so its event loop runs.
LOOK_FOR_S: Final = 0.3
LOOKS: Final = 8
TRIES: Final = 3  # a busy machine is late, or misses a call, by chance; a variant that is late is always late
NEVER_BEGAN: Final = "the loser never began"
OURS: Final = ("ours", "bridge")  # variants that are settings of the real server
INSTALL: Final = "pip install 'fanout-server[lab]'"

Cells = dict[tuple[str, str], Cell]
"""By the names of the variant and of the situation."""


@dataclass(frozen=True, slots=True)
class Situation:
    """winner, loser: what their upstreams do, as overrides of the simulator.

    at: where the loser's call goes: to an upstream, to a listener that accepts no connection, or to one that
    never answers a TLS handshake. listener: of aiohttp's server.
    """

    name: str
    text: str
    loser: Mapping[str, Any] = field(default_factory=lambda: {"fault": "hang_before_head"})
    at: Literal["upstream", "connect", "tls"] = "upstream"
    winner: Mapping[str, Any] = field(default_factory=lambda: {"fault": "none", "delay_ms": WINNER_MS})
    habit: str = ""
    disconnects: bool = False
    listener: str = "api"
    timeout_ms: int = TIMEOUT_MS

    @property
    def due_ms(self) -> int | None:
        return None if self.disconnects else WINNER_MS


HANGS: Final = {"fault": "hang_before_head"}
SITUATIONS: Final = (
    Situation(
        "slow loser",
        f"One call answers after {WINNER_MS} ms, the other after {SLOW_MS} ms.",
        loser={"fault": "connection_close", "delay_ms": SLOW_MS},
        timeout_ms=2 * SLOW_MS,
    ),
    Situation(
        "disconnect",
        "Both calls hang, and the client disconnects.",
        winner=HANGS,
        disconnects=True,
        timeout_ms=LONG_MS,
    ),
    Situation(
        "disconnect, set",
        "The same, and aiohttp's server has handler_cancellation=True, which is not its default.",
        winner=HANGS,
        disconnects=True,
        listener="cancelling",
        timeout_ms=LONG_MS,
    ),
    Situation("in connect", "The loser is cancelled before its connection is accepted.", at="connect"),
    Situation("in TLS", "The loser is cancelled in its TLS handshake.", at="tls"),
    Situation("in head", "The loser is cancelled in the head of its answer.", {"fault": "hang_mid_head"}),
    Situation("in body", "The loser is cancelled in the body of its answer.", {"fault": "hang_mid_body"}),
    Situation("swallowed", "The loser swallows its first cancellation and tries again.", habit=SWALLOWS),
)
ROW_NAMES: Final = tuple(situation.name for situation in SITUATIONS)
IN_TURN: Final = (
    *SITUATIONS[1:],
    SITUATIONS[0],
)  # the loser that answers, and so frees what was left, comes last


@dataclass(slots=True)
class Look:
    """What a server holds for the loser at one moment, and the calls that are open at its upstreams."""

    sockets: int
    slots: int
    tasks: int
    calls: int = 0

    def since(self, before: Look) -> Look:
        return Look(
            max(self.sockets - before.sockets, 0),
            max(self.slots - before.slots, 0),
            max(self.tasks - before.tasks, 0),
            self.calls,
        )

    @property
    def is_nothing(self) -> bool:
        return not (self.sockets or self.slots or self.tasks or self.calls)


class Upstream:
    """A simulated upstream, whose behaviour is set per variant. `seen`: its records of one variant."""

    def __init__(self, program: Program) -> None:
        self.url = program.urls["upstream"]
        self.port = int(self.url.rpartition(":")[2])

    def work(self, slot: str) -> str:
        return f"{self.url}/api/work?{urlencode({'slot': slot})}"

    async def behave(self, slot: str, overrides: Mapping[str, Any]) -> int:
        """Set it from now on. Returns the number of the last call that the upstream has seen."""
        await ask(self.url, f"/slots/{slot}", method="PUT", body=json.dumps(overrides).encode())
        return max((call["id"] for call in await self.seen(slot, 0)), default=0)

    async def seen(self, slot: str, since: int) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = (await ask(self.url, f"/calls?since={since}&slot={slot}")).json["calls"]
        return calls


FULL_AFTER_S: Final = 0.01  # on loopback a connection is accepted at once, or the backlog is full


class SilentListener:
    """With room in its backlog, the kernel accepts connections, which stay silent; else it does not."""

    def __init__(self, backlog: int) -> None:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(backlog)
        self._fillers: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]

    def fill(self) -> None:
        """From now on a connection stays half open: nothing accepts it, and the backlog is full."""
        while True:
            filler = socket.socket()
            self._fillers.append(filler)
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))
            if not select([], [filler], [], FULL_AFTER_S)[1]:
                return

    def close(self) -> None:
        for each in (*self._fillers, self._listener):
            each.close()


class Bench:
    """What the variants share: upstreams, and a listener without TLS handshakes. `async with` ends them."""

    winner: Upstream
    loser: Upstream

    def __init__(self) -> None:
        self._programs: list[Program] = []
        self._listeners: list[SilentListener] = []
        self.no_handshake = self.listener(1000)

    def listener(self, backlog: int) -> SilentListener:
        listener = SilentListener(backlog)
        self._listeners.append(listener)
        return listener

    async def start(self, *module: str, environment: Mapping[str, str] | None = None) -> Program:
        program = self._started(module, environment)
        await trio.to_thread.run_sync(program.wait_until_ready, abandon_on_cancel=True)
        return program

    @trio.lowlevel.enable_ki_protection  # Rule 2: no Ctrl-C comes between the two
    def _started(self, module: Sequence[str], environment: Mapping[str, str] | None) -> Program:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("FANOUT_", "OTEL_"))
        }
        program = started(*module, environment={**inherited, **(environment or {})}, is_apart=True)
        self._programs.append(program)
        return program

    def end(self, programs: Sequence[Program]) -> None:
        for program in programs:
            program.kill()
            self._programs.remove(program)

    async def __aenter__(self) -> Self:
        try:
            upstream = ("fanout", "upstream", "--bind", "127.0.0.1:0", "--reliable")
            self.winner = Upstream(await self.start(*upstream))
            self.loser = Upstream(await self.start(*upstream))
        except BaseException:
            self._end_all()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end_all()
        await trio.lowlevel.cancel_shielded_checkpoint()

    @trio.lowlevel.enable_ki_protection
    def _end_all(self) -> None:
        self.end(list(self._programs))
        for listener in self._listeners:
            listener.close()


class Server:
    """A variant as a server. The same program serves every situation."""

    def __init__(self, bench: Bench, variant: Variant) -> None:
        self._bench = bench
        self._variant = variant
        self._no_accept = bench.listener(0)
        self.programs: list[Program] = []

    @property
    def slot(self) -> str:
        return self._variant.name

    async def program(self, situation: Situation) -> Program:
        """The program for this situation. It has already answered a request."""
        if not self.programs:
            self.programs.append(await self._start(situation))
            warm = {"fault": "connection_close", "delay_ms": 0}
            await self._bench.winner.behave(self.slot, warm)
            await self._bench.loser.behave(self.slot, warm)
            await ask(self.programs[0].urls["api"], self.target(Situation("warm", "")))
        await trio.lowlevel.checkpoint()
        return self.programs[0]

    async def _start(self, situation: Situation) -> Program:
        module = "on_quart" if self._variant.runtime == "trio" else "on_aiohttp"
        return await self._bench.start(f"fanout.lab.side_by_side.servers.{module}", self._variant.name)

    def url(self, program: Program, situation: Situation) -> str:
        return program.urls.get(situation.listener) or program.urls["api"]

    def target(self, situation: Situation) -> str:
        calls = [("call", url) for url in self.calls(situation)]
        return (
            f"/api/first?{urlencode([('timeout', situation.timeout_ms), ('habit', situation.habit), *calls])}"
        )

    def calls(self, situation: Situation) -> tuple[str, str]:
        """The URLs of the winner and of the loser."""
        losers = {
            "upstream": self._bench.loser.work(self.slot),
            "connect": f"http://127.0.0.1:{self._no_accept.port}/api/work",
            "tls": f"https://127.0.0.1:{self._bench.no_handshake.port}/api/work",
        }
        return self._bench.winner.work(self.slot), losers[situation.at]

    def port(self, situation: Situation) -> int:
        """Where the loser's connections go."""
        if situation.at == "connect":
            self._no_accept.fill()
            return self._no_accept.port
        return self._bench.loser.port if situation.at == "upstream" else self._bench.no_handshake.port

    async def held(self, program: Program) -> tuple[int, int]:
        """Slots of the pool, and tasks."""
        census = Census(**(await ask(program.urls["api"], "/census")).json)
        return census.slots, census.tasks


class OurServer(Server):
    """`fanout serve`, whose calls are settings: a program for each upstream and each habit."""

    def __init__(self, bench: Bench, variant: Variant) -> None:
        super().__init__(bench, variant)
        self._by_settings: dict[tuple[str, str], Program] = {}

    async def program(self, situation: Situation) -> Program:
        settings = (situation.at, situation.habit)
        if settings not in self._by_settings:
            program = await self._start(situation)
            self.programs.append(program)
            self._by_settings[settings] = program
            for _ in range(3):  # it tries to connect once when it starts; after this, that is over
                await self.held(program)
        await trio.lowlevel.checkpoint()
        return self._by_settings[settings]

    async def _start(self, situation: Situation) -> Program:
        options = (situation.habit, "bridge" if self._variant.name == "bridge" else "")
        other = ("fanout.lab.side_by_side.servers.ours", *filter(None, options))
        environment = {
            "FANOUT_BIND": "127.0.0.1:0",
            "FANOUT_ADMIN_BIND": "127.0.0.1:0",
            "FANOUT_UPSTREAMS": ",".join(self.calls(situation)),
            "FANOUT_MAX_LOOP_LAG_MS": "1000",  # a busy machine is not its overload
        }
        return await self._bench.start(
            *(other if any(options) else ("fanout", "serve")), environment=environment
        )

    def target(self, situation: Situation) -> str:
        return f"/api/first?timeout={situation.timeout_ms}"

    async def held(self, program: Program) -> tuple[int, int]:
        statistics: dict[str, Any] = (await ask(program.urls["admin"], "/statistics")).json
        slots: int = sum(origin["in_use"] for origin in statistics["upstream"]["origins"])
        tasks = statistics["leak_check"]["tasks_alive"] + statistics["requests"]["tasks_left_alive"]
        return slots, tasks


def section(names: Sequence[str] | None = None, rows: Sequence[str] = ROW_NAMES) -> Section:
    """Measure every variant, or those named, in these rows. All of it takes about half a minute."""
    compared = [variant for variant in VARIANTS if names is None or variant.name in names]
    situations = [situation for situation in IN_TURN if situation.name in rows]
    places = [(variant, situation) for variant in compared for situation in situations]
    cells = {
        (variant.name, situation.name): Cell(
            _title(variant), "not measured", _missing(variant), source=f"# {INSTALL}\n"
        )
        for variant, situation in places
    }
    available = [variant for variant in compared if not _missing(variant)]
    if available:
        cells |= trio.run(_measure_all, available, situations)
    measured = [
        Row(situation.name, "first", situation.text, tuple(cells[v.name, situation.name] for v in compared))
        for situation in SITUATIONS
        if situation in situations
    ]
    return Section("wire", "Wire", HOW, tuple(map(_title, compared)), tuple(measured))


async def _measure_all(variants: Sequence[Variant], situations: Sequence[Situation]) -> Cells:
    cells: Cells = {}
    at_once = trio.CapacityLimiter(AT_ONCE)

    async def measure(bench: Bench, variant: Variant) -> None:
        async with at_once:
            server = (OurServer if variant.name in OURS else Server)(bench, variant)
            for situation in situations:
                for _ in range(TRIES):
                    cell = await _cell(bench, server, variant, situation)
                    cells[variant.name, situation.name] = cell
                    if cell.verdict in ("kept", "broken"):
                        break
            bench.end(server.programs)

    async with Bench() as bench, trio.open_nursery() as nursery:
        for variant in variants:
            nursery.start_soon(measure, bench, variant, name=f"measure {variant.name}")
    return cells


def _title(variant: Variant) -> str:
    return "httpx on Trio" if variant.name == "trio_nursery" else variant.title


def _source(variant: Variant) -> str:
    """The bridge's source is its calls: its race is that of `ours`."""
    return (
        Path(servers.__file__).with_name("ours.py").read_text()
        if variant.name == "bridge"
        else variant.source
    )


def _missing(variant: Variant) -> str:
    """What this variant needs and this installation lacks, in a few words."""
    if not kernel.is_known():
        return "needs Linux's /proc"
    needs = {"trio": (), "trio_asyncio": ("trio_asyncio", "aiohttp")}.get(variant.runtime, ("aiohttp",))
    for module in needs:
        if importlib.util.find_spec(module) is None:
            return f"needs {module.replace('_', '-')}"
    if variant.runtime == "trio_asyncio" and sys.version_info >= (3, 14):
        return "needs Python below 3.14"
    return ""


async def _cell(bench: Bench, server: Server, variant: Variant, situation: Situation) -> Cell:
    """Make one request in this situation, and count what is left of it."""
    program = await server.program(situation)
    pid, port, slot = program.process.pid, server.port(situation), server.slot
    since_winner = await bench.winner.behave(slot, situation.winner)
    since_loser = await bench.loser.behave(slot, situation.loser)

    async def seen() -> list[dict[str, Any]]:
        winner, loser = await bench.winner.seen(slot, since_winner), await bench.loser.seen(slot, since_loser)
        return [{"call": 0, **call} for call in winner] + [{"call": 1, **call} for call in loser]

    async def look() -> Look:
        slots, tasks = await server.held(program)
        open_calls = sum(call["end"] == "open" for call in await seen())
        return Look(kernel.sockets_to(pid, port), slots, tasks, open_calls)

    before = await look()
    threads = kernel.threads_of(pid)

    async def has_begun() -> bool:
        """If no upstream can see the call, look for it in the kernel's table."""
        if situation.at == "upstream":
            return {call["call"] for call in await seen()} == {0, 1}
        await trio.lowlevel.checkpoint()
        return kernel.sockets_to(pid, port) > before.sockets

    answer, did_begin = None, True
    began_at = trio.current_time()
    async with await Client.to(server.url(program, situation)) as client:
        await client.send(server.target(situation), ("Connection", "close"))
        if situation.disconnects or situation.at != "upstream":
            did_begin = await eventually(has_begun, GIVE_UP_S)
        if situation.disconnects:
            client.disconnect()
        else:
            answer = await client.receive(GIVE_UP_S)
    ended_at = trio.current_time()
    open_then = {(call["call"], call["id"]) for call in await seen() if call["end"] == "open"}
    left = (await look()).since(before)
    looks = 1
    while not left.is_nothing and (looks < LOOKS or trio.current_time() < ended_at + LOOK_FOR_S):
        await trio.sleep(LOOK_FOR_S / LOOKS)
        left = (await look()).since(before)
        looks += 1
    calls = await seen()
    # A call that went on until it was answered was left, too.
    ran_on = [call for call in calls if call["end"] == "answered" and (call["call"], call["id"]) in open_then]
    left.calls += len(ran_on)
    if not (did_begin and (situation.at != "upstream" or await has_begun())):
        return Cell(_title(variant), "not measured", NEVER_BEGAN, source=_source(variant))
    verdict, text = verdict_of(situation, answer, left)
    return Cell(
        _title(variant),
        verdict,
        text,
        answered_ms=None if answer is None or answer.missing else round(answer.took_ms, 1),
        due_ms=situation.due_ms,
        counts={
            "calls_left": left.calls,
            "sockets_left": left.sockets,
            "slots_left": left.slots,
            "tasks_left": left.tasks,
            "threads_started": max(kernel.threads_of(pid) - threads, 0),
        },
        source=_source(variant),
        timeline=tuple(_lanes(calls, (ended_at - began_at) * 1000)),
    )


def verdict_of(situation: Situation, answer: Answer | None, left: Look) -> tuple[Verdict, str]:
    """From what the client received, and from what was left after `LOOK_FOR_S`."""
    problems = []
    if not situation.disconnects:
        if answer is None or answer.missing:
            problems.append("never")
        elif answer.status != OK or answer.json != {"time": WINNER_MS}:
            problems.append("wrong")
    if left.calls or left.sockets:
        problems.append(f"{max(left.calls, left.sockets)} left")
    elif left.slots:
        problems.append(f"{left.slots} slots left")
    elif left.tasks:
        problems.append(f"{left.tasks} tasks left")
    if problems:
        return "broken", ", ".join(problems)
    late_ms = 0.0 if answer is None else answer.took_ms - WINNER_MS
    return ("late", f"+{late_ms:.0f} ms") if late_ms > LATE_MS else ("kept", "ok")


def _lanes(calls: Sequence[Mapping[str, Any]], until_ms: float) -> Iterator[Lane]:
    """The calls as the upstreams saw them. Calls to a silent listener are not among them."""
    first_at = min((call["started_at"] for call in calls), default=0)
    for call in calls:
        name, from_ms = f"call {call['call']}", round((call["started_at"] - first_at) * 1000, 1)
        if call["end"] == "client_closed":
            yield Lane(name, from_ms, from_ms + call["client_closed_ms"], "cancelled", was_reset=True)
        elif call["end"] == "answered":
            yield Lane(name, from_ms, from_ms + call["answered_ms"], "success")
        else:
            yield Lane(name, from_ms, max(from_ms, round(until_ms, 1)), "left", "still open at its upstream")
