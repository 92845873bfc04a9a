"""One run: a network, two servers, upstreams, clients, two bystanders, and a plan that harms them.

Where is what: the servers (one process; two workers) in the middle namespace, with one upstream that
nothing is done to and both bystanders; two more upstreams behind one link; the clients behind another. A
request calls the unharmed upstream and a harmed one, so the first success must come, whatever happens to
the other.
"""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Final

import trio

from fanout.testing import Program
from tests.bystander import Seen, bystander
from tests.chaos import judge
from tests.chaos.clients import Told
from tests.chaos.judge import Sample, Window
from tests.chaos.link import Conditions, Link
from tests.chaos.namespaces import SERVER_TO_CLIENTS, UPSTREAMS, Network, network, within
from tests.chaos.plan import LINKS, PROCESSES, Step, make_plan
from tests.chaos.programs import (
    ClientProcess,
    children_of,
    descriptors,
    end,
    read_json,
    resident_mib,
    send,
    start_fanout,
    waited_s,
)

ADMINS: Final = {"one process": [8181], "two workers": [8191, 8192]}
PUBLIC: Final = {"one process": 8180, "two workers": 8190}
UPSTREAM_PORTS: Final = (9001, 9002)
QUICK: Final = ("--reliable", "--min-delay-ms", "20", "--max-delay-ms", "60")
UNRELIABLE: Final = ("--min-delay-ms", "10", "--max-delay-ms", "400")
RATE_PER_S: Final = 15.0  # of each of the two processes of clients
SAMPLE_EVERY_S: Final = 5.0
QUIET_WITHIN_S: Final = 15.0  # a killed client's FIN is sent again and again, in ever longer intervals
IDLE_ENDS_WITHIN_S: Final = 100.0  # the server's idle timeout, and a busy machine
DRAIN_WITHIN_S: Final = 5.0  # the clients' longest timeout, the second that is promised, a busy machine


@dataclass(slots=True)
class Report:
    """What came of a run. broken: empty, or what did not hold."""

    told: dict[str, Told] = field(default_factory=dict)
    seen: dict[str, Seen] = field(default_factory=dict)
    statistics: dict[str, list[Any]] = field(default_factory=dict)
    packets: dict[str, str] = field(default_factory=dict)
    waited: float = 0.0  # by the server of one process for a processor: a share of the time
    drain_s: dict[str, float] = field(default_factory=dict)
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


class Run:
    """Everything that a plan's steps may reach."""

    def __init__(self, seed: int, net: Network, say: Callable[[str], None], *, patient: bool) -> None:
        self._seed = seed
        self._patient = patient
        self._net = net
        self._say = say
        self._random = Random(f"{seed} victims")
        self._links: dict[str, Link] = {"clients": net.to_clients, "upstreams": net.to_upstreams}
        self._windows: dict[str, list[Window]] = {}  # by target
        self.servers: dict[str, Program] = {}
        self.upstreams: dict[str, Program] = {}
        self._unharmed: Program | None = None
        self._clients: dict[str, ClientProcess] = {}
        self._started = 0
        self._was_stopped: set[str] = set()  # the targets that a step has stopped
        self.report = Report()

    def start(self) -> None:
        self._unharmed = start_fanout(self._net.server, "upstream", "--bind", "127.0.0.1:9000", *QUICK)
        for number, port in enumerate(UPSTREAM_PORTS):
            self.upstreams[f"upstream {number}"] = self._start_upstream(port)
        for (name, public), workers, port in zip(PUBLIC.items(), ("1", "2"), UPSTREAM_PORTS, strict=True):
            self.servers[name] = start_fanout(
                self._net.server,
                *("serve", "--bind", f"0.0.0.0:{public}", "--admin-bind", f"127.0.0.1:{ADMINS[name][0]}"),
                *("--upstream", "http://127.0.0.1:9000/api/work"),
                *("--upstream", f"http://{UPSTREAMS}:{port}/api/work"),
                *("--workers", workers, "--max-loop-lag-ms", "1000"),  # another program's work is no overload
            )
            self._start_clients(name)

    def end(self) -> None:
        for clients in self._clients.values():
            clients.kill()
        programs = [*self.servers.values(), *self.upstreams.values()]
        end([*programs, self._unharmed] if self._unharmed is not None else programs)

    async def carry_out(self, plan: list[Step], seconds: float) -> None:
        """The plan, with the bystanders next to it. Afterwards everything is healthy again."""
        with ExitStack() as bystanders:
            for name, port in PUBLIC.items():
                self.report.seen[name] = await trio.to_thread.run_sync(
                    bystanders.enter_context, self._bystander(name, port)
                )
            began_at = trio.current_time()
            (pid,) = self._pids("one process")
            waited_before_s = waited_s(pid)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sample)
                async with trio.open_nursery() as steps:
                    for target in (*LINKS, *PROCESSES):
                        own = [step for step in plan if step.target == target]
                        steps.start_soon(self._steps, own, began_at)
                    steps.start_soon(trio.sleep, seconds)
                self.report.waited = (waited_s(pid) - waited_before_s) / (trio.current_time() - began_at)
                nursery.cancel_scope.cancel(reason="the plan is carried out")
        await self._judge_at_rest()

    async def drain(self) -> None:
        """SIGTERM while clients ask, on a healthy network."""
        for name in self.servers:
            self._start_clients(name)
        await trio.sleep(2)
        for name, server in self.servers.items():
            began_at = time.monotonic()
            code = await trio.to_thread.run_sync(server.stop)
            took_s = self.report.drain_s[name] = time.monotonic() - began_at
            found = judge.broken_at_the_end(code, took_s, DRAIN_WITHIN_S, server.errors)
            self.report.broken += [f"{name}: {what}" for what in found]

    def _start_upstream(self, port: int) -> Program:
        bind = f"{UPSTREAMS}:{port}"
        return start_fanout(
            self._net.upstreams, "upstream", "--bind", bind, "--seed", f"{self._seed}", *UNRELIABLE
        )

    def _start_clients(self, name: str) -> None:
        self._started += 1
        url = f"http://{SERVER_TO_CLIENTS}:{PUBLIC[name]}"
        seed = self._seed * 1000 + self._started
        self._clients[name] = ClientProcess(self._net.clients, url, seed, RATE_PER_S)

    def _pids(self, name: str) -> list[int]:
        """Of the processes that serve."""
        pid = self.servers[name].process.pid
        return [pid] if name == "one process" else children_of(pid)

    def _bystander(self, name: str, port: int) -> Any:
        assert self._unharmed is not None
        pids = [*self._pids(name), self._unharmed.process.pid]
        url = f"http://127.0.0.1:{port}"
        return bystander(url, timeout_ms=300, every_s=0.1, pids=pids, prefix=within(self._net.server))

    async def _steps(self, steps: list[Step], began_at: float) -> None:
        """Of one target, one after the other. Steps that a slow restart has overtaken are left out."""
        for step in steps:
            await trio.sleep_until(began_at + step.begins_s)
            if trio.current_time() > began_at + step.ends_s:
                self._say(f"{step} (left out)")
            else:
                await self._step(step, began_at)

    async def _step(self, step: Step, began_at: float) -> None:
        self._say(f"{step}")
        since = time.monotonic()
        await (self._harm_link if step.target in self._links else self._harm_process)(step, began_at)
        if step.cuts:
            aftermath_s = judge.RESTART_S if step.target == "worker" else judge.AFTERMATH_S
            window = Window(since, time.monotonic() + aftermath_s)
            self._windows.setdefault(step.target, []).append(window)

    async def _harm_link(self, step: Step, began_at: float) -> None:
        link = self._links[step.target]
        link.conditions = step.conditions or Conditions()
        if link.conditions.forgets:
            link.forget_flows()
        if step.kills_clients:
            await trio.sleep(0.2)
            name = self._random.choice(list(self._clients))
            self._clients[name].kill()
            self._start_clients(name)
        await trio.sleep_until(began_at + step.ends_s)
        link.conditions = Conditions()

    async def _harm_process(self, step: Step, began_at: float) -> None:
        is_worker = step.target == "worker"
        pids = self._pids("two workers") if is_worker else [self.upstreams[step.target].process.pid]
        if not pids:
            return  # both workers are being replaced
        pid = self._random.choice(pids)
        if step.what == "stopped":
            self._was_stopped.add(step.target)
            send(pid, signal.SIGSTOP)
            await trio.sleep_until(began_at + step.ends_s)
            send(pid, signal.SIGCONT)
            return
        send(pid, signal.SIGKILL)
        await trio.sleep_until(began_at + step.ends_s)
        if not is_worker:  # a worker is replaced by its parent
            self.upstreams[step.target].kill()
            port = UPSTREAM_PORTS[int(step.target[-1])]
            start = partial(self._start_upstream, port)
            self.upstreams[step.target] = await trio.to_thread.run_sync(start)

    async def _sample(self) -> None:
        while True:
            for name in self.servers:
                pids = self._pids(name)
                sample = Sample(sum(map(resident_mib, pids)), sum(map(descriptors, pids)))
                self.report.samples.setdefault(name, []).append(sample)
            await trio.sleep(SAMPLE_EVERY_S)

    async def _judge_at_rest(self) -> None:
        for name, clients in self._clients.items():
            self.report.told[name] = await trio.to_thread.run_sync(clients.finish)
        statistics = await self._quiet()
        busy = self.report.waited > judge.BUSY_SHARE
        for name in self.servers:
            cut = self._windows.get("clients", []) + (
                self._windows.get("worker", []) if name == "two workers" else []
            )
            harmed = self._windows.get("worker", []) if name == "two workers" else []
            samples = self.report.samples.get(name, [])
            found = [
                *judge.broken_by_clients(self.report.told[name], cut),
                *judge.broken_for_bystander(self.report.seen[name], harmed),
                *(judge.broken_by_growth(samples) if name == "one process" else ()),
            ]
            may_be_late = busy or (name == "two workers" and "worker" in self._was_stopped)
            for each in statistics[name]:
                found += judge.broken_at_rest(each, idle_too=self._patient, may_be_late=may_be_late)
            self.report.broken += [f"{name}: {what}" for what in found]
        self.report.statistics = statistics
        self.report.packets = {name: f"{link.counts}" for name, link in self._links.items()}

    async def _quiet(self) -> dict[str, list[Any]]:
        """The statistics once nothing is in flight and no client connected, or the last ones in reach."""
        deadline = trio.current_time() + (IDLE_ENDS_WITHIN_S if self._patient else QUIET_WITHIN_S)
        while True:
            statistics: dict[str, list[Any]] = {}
            for name, ports in ADMINS.items():
                urls = [f"http://127.0.0.1:{port}/statistics" for port in ports]
                statistics[name] = await read_json(self._net.server, *urls)
            each_process = [each for found in statistics.values() for each in found]
            is_quiet = all(judge.is_quiet(each, idle_too=self._patient) for each in each_process)
            if is_quiet or trio.current_time() > deadline:
                return statistics
            await trio.sleep(0.5)


@asynccontextmanager
async def _started(seed: int, say: Callable[[str], None], *, patient: bool) -> AsyncIterator[Run]:
    """Everything runs; at the end nothing does, and the namespaces are gone."""
    with network(Random(f"{seed} packets")) as net:
        run = Run(seed, net, say, patient=patient)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(net.to_clients.run)
                nursery.start_soon(net.to_upstreams.run)
                await trio.to_thread.run_sync(run.start)
                yield run
                nursery.cancel_scope.cancel(reason="the run is over")
        finally:
            run.end()


async def run_chaos(seed: int, seconds: float, say: Callable[[str], None], *, patient: bool = True) -> Report:
    """Carry out the plan of `seed`, judge, and drain. Needs root: see `namespaces.why_not`.

    patient: wait until the server's idle timeout has ended the connections of clients that vanished.
    """
    async with _started(seed, say, patient=patient) as run:
        await run.carry_out(make_plan(seed, seconds), seconds)
        await run.drain()
        return run.report
