"""The real server and the real simulated upstream that experiments use, each in a process of its own.

Rule 1: the setup owns a process from the moment it is started, and ends it, whatever happens.
Rule 2: experiments with the same settings share a server. One that breaks it asks for its own.
Rule 3: a breakage is applied to the server and to virtual time, never to the upstream, the witness.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Self

import trio

from fanout.lab import kernel
from fanout.lab.client import Answer, ask
from fanout.lab.report import Report
from fanout.lab.timeline import End, Lane
from fanout.lab.virtual import VirtualPartCrashed, VirtualTime
from fanout.process.exits import REFUSED
from fanout.testing.program import Program, started

WITHIN_S: Final = 5.0  # for what should happen at once, on a machine that is busy with other things
_EVERY_S: Final = 0.02
_START_WITHIN_S: Final = 120  # a second on a quiet machine
# The experiments are about the limit of requests in flight. The other limit, the event loop's lag, would
# reject a burst of theirs on a busy machine.
_NEVER_BEHIND_MS: Final = 1000
_ENDS: Final[dict[str, End]] = {
    "won": "success",
    "ok": "success",
    "failed": "failure",
    "cancelled": "cancelled",
    "internal": "bug",
}


class CannotRun(Exception):
    """The machine lacks something that the lab needs, as one line."""


class ServerFailed(CannotRun):
    """The server did not start, or did not do what an experiment begins with."""


_SETTINGS: Final = ("FANOUT_", "OTEL_")  # settings of a server on this machine must not reach the lab's
_NO_PROCESS: Final = "no process can be started for it: {}"
RECEIPT: Final = ("X-Fanout-Receipt", "1")  # a field that asks for more in Server-Timing


async def eventually(condition: Callable[[], Awaitable[bool]], within_s: float = WITHIN_S) -> bool:
    """Whether it becomes true within this time. Checks every 20 ms."""
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

    def call_urls(self, *, by_name: bool = False) -> str:
        """The value of FANOUT_UPSTREAMS. by_name: with a name in the place of the address."""
        url = f"http://localhost:{self.port}" if by_name else self._url
        return ",".join(f"{url}/api/work?slot={call}" for call in (0, 1))

    async def behave(self, call: int, *, delay_ms: int = 0, **overrides: Any) -> None:
        """Set how it answers this call from now on, by overrides of the simulator. By default it succeeds."""
        right = {} if overrides.keys() & {"fault", "status"} else {"fault": "none"}
        wanted = {"delay_ms": delay_ms, **right, **overrides}
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
            raise CannotRun(f"the simulated upstream: {answer.body.decode() or answer.missing}")
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
        answer = await ask(self.admin_url, "/statistics")
        if answer.status != HTTPStatus.OK:
            raise ServerFailed(f"the statistics of the server: {answer}")
        found: dict[str, Any] = answer.json
        return found

    async def in_flight(self) -> int:
        """Requests that hold an admission permit."""
        return int((await self.statistics())["admission"]["in_flight"])

    async def pool(self) -> dict[str, Any]:
        """Of the connections to the upstream: `fanout.upstream.statistics.OriginStatistics`."""
        (origin,) = (await self.statistics())["upstream"]["origins"]
        found: dict[str, Any] = origin
        return found

    async def see_leaks(self, report: Report) -> None:
        """Report the counts of the leak check since this server started."""
        leaks = (await self.statistics())["leak_check"]
        kinds = ("tasks", "permits", "connections")
        counts = ", ".join(f"{leaks[f'leaked_{kind}']} {kind}" for kind in kinds)
        is_clean = leaks["requests"] > 0 and not any(leaks[f"leaked_{kind}"] for kind in kinds)
        report.see("leak check", f"{counts} left by {leaks['requests']} requests", is_clean)

    def sockets(self) -> int:
        """Open connections to the upstream, by the kernel."""
        return kernel.sockets_to(self.pid, self.upstream.port)

    def threads(self) -> int:
        return kernel.threads_of(self.pid)

    def log(self) -> list[dict[str, Any]]:
        """Its log so far, one event per line."""
        lines = self.program.errors.splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"\n")]


class Setup:
    """Made once for a run of the lab: `async with Setup() as setup`."""

    def __init__(self, breakage: str | None = None) -> None:
        """breakage: applied in memory to every server and every part in virtual time."""
        self._module = () if breakage is None else ("fanout.testing.breakages", breakage)
        self._programs: list[Program] = []
        self._shared: dict[tuple[tuple[str, str], ...], Server] = {}
        self._upstream: Upstream | None = None
        self._virtual: VirtualTime | None = None

    async def server(self, **settings: object) -> Server:
        """A server that other experiments with the same settings may use, too. Both calls succeed at once.

        settings: by their names in the settings object, such as `max_in_flight=3`.
        """
        key = tuple(sorted((name, str(value)) for name, value in settings.items()))
        if key not in self._shared:
            self._shared[key] = await self.own_server(settings)
        server = self._shared[key]
        await server.upstream.reset()
        return server

    async def own_server(
        self, settings: Mapping[str, object] | None = None, *, by_name: bool = False
    ) -> Server:
        """A server for one experiment, which may end it.

        settings: by their names in the settings object. by_name: it has to look up its upstream's address.
        """
        upstream = await self._simulated()
        variables = {f"FANOUT_{name.upper()}": str(value) for name, value in (settings or {}).items()}
        environment = {
            "FANOUT_BIND": "127.0.0.1:0",
            "FANOUT_ADMIN_BIND": "127.0.0.1:0",
            "FANOUT_UPSTREAMS": upstream.call_urls(by_name=by_name),
            "FANOUT_MAX_LOOP_LAG_MS": str(_NEVER_BEHIND_MS),
            **variables,
        }
        return Server(await self._start(*self._module, "fanout", "serve", environment=environment), upstream)

    async def virtual(self, function: Callable[[], Report]) -> Report:
        """The report of a function in virtual time, in a process that all such functions share.

        Raises `VirtualPartCrashed`.
        """
        if self._virtual is None:
            try:
                self._virtual = VirtualTime(self._module)  # Rule 1
            except OSError as error:
                raise CannotRun(_NO_PROCESS.format(error.strerror)) from None
        try:
            return await trio.to_thread.run_sync(self._virtual.report_of, function, abandon_on_cancel=True)
        except VirtualPartCrashed as error:
            if error.exit_code == REFUSED:
                raise CannotRun(str(error).strip()) from None
            raise

    async def _simulated(self) -> Upstream:
        """The upstream that all servers call, as it is at first."""
        if self._upstream is None:
            self._upstream = Upstream(
                await self._start("fanout", "upstream", "--bind", "127.0.0.1:0", "--reliable")
            )
        await self._upstream.reset()
        return self._upstream

    async def _start(self, *module: str, environment: Mapping[str, str] | None = None) -> Program:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
        try:
            program = started(*module, environment={**inherited, **(environment or {})}, is_apart=True)
        except OSError as error:
            raise CannotRun(_NO_PROCESS.format(error.strerror)) from None
        self._programs.append(program)  # Rule 1
        try:
            await trio.to_thread.run_sync(program.wait_until_ready, _START_WITHIN_S, abandon_on_cancel=True)
        except RuntimeError:
            why = _last_words(program) or f"nothing said, exit code {program.process.returncode}"
            line = f"`{' '.join(module)}` did not start: {why}"
            raise (CannotRun if program.process.returncode == REFUSED else ServerFailed)(line) from None
        return program

    async def __aenter__(self) -> Self:
        if not kernel.is_known():
            raise CannotRun("there is no socket table in /proc: the lab needs Linux")
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._virtual is not None:
            self._virtual.kill()
        for program in self._programs:
            program.kill()
        await trio.lowlevel.cancel_shielded_checkpoint()


def _last_words(program: Program) -> str:
    """The last line that it printed, or the error in it, if it is one of the log."""
    said = (program.errors or program.output).decode(errors="replace").strip().splitlines()
    line = said[-1] if said else ""
    if line.startswith("{"):
        event = json.loads(line)
        trace = [each.strip(" |") for each in event.get("traceback", "").splitlines()]
        line = ": ".join([event["message"], *[each for each in trace if each and each[0].isalpha()][-1:]])
    return line


def call_lanes(answer: Answer, calls: Sequence[Mapping[str, Any]] = ()) -> list[Lane]:
    """The calls of a request, from the Server-Timing field of its answer. With `RECEIPT` they have reasons.

    calls: records of the upstream, to say which connections were closed before their answer.
    """
    timings = dict(map(_timing, answer.fields.get("server-timing", "").split(", ")))
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


def outcomes_of(answer: Answer) -> list[str]:
    """How each call of a request ended, in the word that the client receives."""
    timings = map(_timing, answer.fields.get("server-timing", "").split(", "))
    return [took.get("desc", "") for name, took in timings if name in ("call0", "call1")]


def on_wire(record: Mapping[str, Any]) -> str:
    """How a call ended for the upstream: `reset after 52 ms`."""
    if record["end"] == "client_closed":
        how = {"rst": "reset", "fin": "closed"}.get(record["client_closed_how"], record["client_closed_how"])
        return f"{how} after {record['client_closed_ms']:.0f} ms"
    if record["end"] == "answered":
        return f"answered after {record['answered_ms']:.0f} ms"
    return str(record["end"])


def _timing(entry: str) -> tuple[str, dict[str, str]]:
    """`call0;dur=1.5;desc="won"` as (`call0`, {dur: 1.5, desc: won})."""
    name, *parameters = entry.split(";")
    pairs = (parameter.partition("=") for parameter in parameters)
    return name, {key: value.strip('"') for key, _, value in pairs}
