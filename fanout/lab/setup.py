"""What experiments run against: the real server and the real simulated upstream, each a process of its own.

Rule 1: a process belongs to the setup from the moment it is started, and is ended with it, whatever happens.
Rule 2: experiments with the same settings share a server. One that breaks it asks for its own.
Rule 3: a breakage is applied to the server and to virtual time, never to the upstream, the witness.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Self

import trio

from fanout.lab import kernel
from fanout.lab.client import Answer, ask
from fanout.lab.report import Report
from fanout.lab.timeline import End, Lane
from fanout.testing.program import Program, started

WITHIN_S: Final = 5.0  # for what should happen at once, on a machine that is busy with other things
_EVERY_S: Final = 0.01
_ENDS: Final[dict[str, End]] = {
    "won": "success",
    "ok": "success",
    "failed": "failure",
    "cancelled": "cancelled",
    "internal": "bug",
}


async def eventually(condition: Callable[[], Awaitable[bool]], within_s: float = WITHIN_S) -> bool:
    """Whether it becomes true within this time. Ask again every 10 ms."""
    with trio.move_on_after(within_s):
        while not await condition():  # noqa: ASYNC110 - it becomes true in another process
            await trio.sleep(_EVERY_S)
        return True
    return False


class Upstream:
    """The simulated upstream. What it does for call 0 and call 1 is set; what it saw is its `calls`."""

    def __init__(self, program: Program) -> None:
        self._url = next(iter(program.urls.values()))
        self.port = int(self._url.rpartition(":")[2])
        self._last_id = 0

    def call_urls(self) -> str:
        """The value of FANOUT_UPSTREAMS."""
        return ",".join(f"{self._url}/api/work?slot={call}" for call in (0, 1))

    async def behave(self, call: int, *, delay_ms: int = 0, **overrides: Any) -> None:
        """What it does for this call from now on, with overrides of the simulator. By default it succeeds."""
        wanted = {"fault": "none", "delay_ms": delay_ms, **overrides}
        await self._ask("PUT", f"/slots/{call}", wanted)

    async def reset(self) -> None:
        """Both calls succeed at once, and `calls` gives those from here on."""
        for call in (0, 1):
            await self.behave(call)
        await self.forget()

    async def forget(self) -> None:
        """`calls` gives those from here on."""
        calls = (await self._ask("GET", "/calls"))["calls"]
        self._last_id = max([self._last_id, *(call["id"] for call in calls)])

    async def calls(self) -> list[dict[str, Any]]:
        """Its records, oldest first: `slot` is the call, the rest is in `fanout.tools.simulator.witness`."""
        found: list[dict[str, Any]] = (await self._ask("GET", f"/calls?since={self._last_id}"))["calls"]
        return found

    async def _ask(self, method: str, target: str, body: object = None) -> Any:
        content = b"" if body is None else json.dumps(body).encode()
        answer = await ask(self._url, target, method=method, body=content)
        if answer.status != HTTPStatus.OK:
            raise ValueError(answer.body.decode())
        return answer.json


class Server:
    """`fanout serve` with two upstream calls."""

    def __init__(self, program: Program, upstream: Upstream) -> None:
        self.program = program
        self.upstream = upstream
        self.pid = program.process.pid
        self.url, self.admin_url = program.urls["api"], program.urls["admin"]

    async def first(self, timeout_ms: int = 1000, *fields: tuple[str, str]) -> Answer:
        return await ask(self.url, f"/api/first?timeout={timeout_ms}", *fields)

    async def all(self, timeout_ms: int = 1000, *fields: tuple[str, str]) -> Answer:
        return await ask(self.url, f"/api/all?timeout={timeout_ms}", *fields)

    async def statistics(self) -> dict[str, Any]:
        found: dict[str, Any] = (await ask(self.admin_url, "/statistics")).json
        return found

    def sockets(self) -> int:
        """Open connections to the upstream, by the kernel."""
        return kernel.sockets_to(self.pid, self.upstream.port)

    def threads(self) -> int:
        return kernel.threads_of(self.pid)

    def log(self) -> list[dict[str, Any]]:
        """Its log so far, one event per line."""
        lines = self.program.output.splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"\n")]


class Setup:
    """Made once for a run of the lab: `async with Setup() as setup`."""

    def __init__(self, breakage: str | None = None) -> None:
        """breakage: applied in memory to every server and every part in virtual time."""
        self._module = () if breakage is None else ("fanout.testing.breakages", breakage)
        self._programs: list[Program] = []
        self._shared: dict[tuple[tuple[str, str], ...], Server] = {}
        self._upstream: Upstream | None = None

    async def server(self, **settings: object) -> Server:
        """A server that other experiments with the same settings may use, too. Both calls succeed at once.

        settings: by their names in the settings object, such as `max_in_flight=3`.
        """
        key = tuple(sorted((name, str(value)) for name, value in settings.items()))
        if key not in self._shared:
            self._shared[key] = await self.own_server(**settings)
        server = self._shared[key]
        await server.upstream.reset()
        return server

    async def own_server(self, **settings: object) -> Server:
        """A server for one experiment, which may end it."""
        if self._upstream is None:
            program = await self._start("fanout", "upstream", "--bind", "127.0.0.1:0", "--reliable")
            self._upstream = Upstream(program)
        await self._upstream.reset()
        variables = {f"FANOUT_{name.upper()}": str(value) for name, value in settings.items()}
        binds = {"FANOUT_BIND": "127.0.0.1:0", "FANOUT_ADMIN_BIND": "127.0.0.1:0"}
        upstreams = {"FANOUT_UPSTREAMS": self._upstream.call_urls()}
        command = (*self._module, "fanout", "serve")
        program = await self._start(*command, environment={**binds, **upstreams, **variables})
        return Server(program, self._upstream)

    async def virtual(self, function: Callable[[], Report]) -> Report:
        """What a function of a module comes to in virtual time, in a process of its own."""
        place = f"{function.__module__}:{function.__qualname__}"
        command = [sys.executable, "-m", *self._module, "fanout.lab.virtual", place]
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(
                f"{place} ended with {done.returncode}: {done.stderr.decode(errors='replace')}"
            )
        return Report.from_json(json.loads(done.stdout))

    async def _start(self, *module: str, environment: Mapping[str, str] | None = None) -> Program:
        program = started(*module, environment=environment)
        self._programs.append(program)  # Rule 1
        await trio.to_thread.run_sync(program.wait_until_ready, abandon_on_cancel=True)
        return program

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(self, *_: object) -> None:
        for program in self._programs:
            program.kill()
        await trio.lowlevel.cancel_shielded_checkpoint()


def call_lanes(answer: Answer, calls: Sequence[Mapping[str, Any]] = ()) -> list[Lane]:
    """The calls of a request, from the Server-Timing field of its answer.

    calls: records of the upstream, to say which connections were closed before their answer.
    """
    timings = dict(map(_timing, answer.fields["server-timing"].split(", ")))
    closed = {call["slot"] for call in calls if call["end"] == "client_closed"}
    lanes = []
    for call in range(len(timings)):
        if f"call{call}" not in timings:
            break
        took = timings[f"call{call}"]
        reason = timings.get(f"call{call}.cancelled", {}).get("desc", "")
        end = _ENDS.get(took.get("desc", ""), "done")
        lanes.append(Lane(f"call {call}", 0.0, float(took.get("dur", 0)), end, reason, str(call) in closed))
    return lanes


def _timing(entry: str) -> tuple[str, dict[str, str]]:
    """`call0;dur=1.5;desc="won"` as (`call0`, {dur: 1.5, desc: won})."""
    name, *parameters = entry.split(";")
    pairs = (parameter.partition("=") for parameter in parameters)
    return name, {key: value.strip('"') for key, _, value in pairs}
