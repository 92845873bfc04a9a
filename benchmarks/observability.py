"""What observability costs: CPU of a request with more and more of it on, and what a bad collector, sink or
viewer does to the answers.

    make observability
    make observability ARGS="--sets 10 --rounds 8 --rate 300 --json observability.json"

Every variant is a server process of its own. All run at once on one core, and in turn get the same open-loop
load for a second, so that a change of the machine is shared by all. The upstream, the generator and the
collector have the other core. A process's CPU counts all the time, also while another one has the load: what
is sent later is in the figure, in that round or in the next. Two processes of one program differ by several
percent for as long as they live, so there are several sets of fresh ones, and the error is that between sets.

`bare`: nothing is observed; twice, which shows the error. `logs and metrics`:
a receipt, a log line and the metrics of every request. `default`: the leak check as well, as `fanout serve`
has it. `1 %`, `all`: and so many requests are traced; every call gets its context in any case. `dead`: all
are traced and nobody listens at the collector's address. `stalled`: the collector accepts and says nothing.
`full pipe`: nobody reads the logs. `viewers`: fifty look at the live page, and none of them reads.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import mean, median, stdev
from time import sleep
from typing import Any

import click

from benchmarks.programs import Program, Server, running, servers, upstream
from fanout.tools.load.outcome import ON_TIME

SERVER_CORE, OTHER_CORE = 0, 1
TIMEOUT_MS = 1000
SENT_WITHIN_S = 5.5  # a span waits for at most 5 s
PATIENT = ("--max-loop-lag-ms", "1000")  # refuses nobody for the machine's sake


@dataclass(frozen=True, slots=True)
class Run:
    """One round of one variant. cpu_us: a request, answered whatever it was. on_time: a share, 0 to 1."""

    variant: str
    cpu_us: float
    on_time: float
    useful_p99_ms: float
    load_average: float


def measure(
    programs: Mapping[str, Program], rate: float, seconds: int, rounds: int
) -> Iterator[dict[str, Run]]:
    """Each round, as it ends."""
    for program in programs.values():
        _load(program.url, rate, seconds)
    sleep(SENT_WITHIN_S)
    before = {name: cpu_s(program) for name, program in programs.items()}
    for number in range(rounds):
        names = list(programs)
        order = (
            names[number % len(names) :] + names[: number % len(names)]
        )  # the first of a round has an advantage
        reports = {name: _load(programs[name].url, rate, seconds) for name in order}
        if number == rounds - 1:
            sleep(SENT_WITHIN_S)
        after = {name: cpu_s(program) for name, program in programs.items()}
        yield {name: _run(name, reports[name], after[name] - before[name]) for name in names}
        before = after


def cpu_s(program: Program) -> float:
    """To the nanosecond, where `Program.cpu_s` knows hundredths of a second."""
    tasks = Path(f"/proc/{program.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def _run(variant: str, report: Any, cpu_s: float) -> Run:
    outcomes = Counter(report["outcomes"])
    latency = report["latency_ms"].get("useful")
    return Run(
        variant=variant,
        cpu_us=cpu_s * 1e6 / outcomes.total(),
        on_time=sum(outcomes[outcome] for outcome in ON_TIME) / outcomes.total(),
        useful_p99_ms=latency["from_written"]["p99"] if latency else 0.0,
        load_average=os.getloadavg()[0],
    )


def _load(url: str, rate: float, seconds: int) -> Any:
    command = [sys.executable, "-m", "benchmarks.stepped_load", url, "first", str(TIMEOUT_MS)]
    done = subprocess.run(
        [*command, f"{rate:g}x{seconds}"],
        stdout=subprocess.PIPE,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    return json.loads(done.stdout)


class Sink(BaseHTTPRequestHandler):
    """Takes everything."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


@contextmanager
def collectors() -> Iterator[Mapping[str, str]]:
    """The endpoints of a good, a dead and a stalled collector."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = closed.getsockname()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield {
            name: f"http://{host}:{port}"
            for name, (host, port) in (
                ("good", server.server_address[:2]),
                ("dead", dead),
                ("stalled", silent.getsockname()),
            )
        }
        server.shutdown()


@dataclass(frozen=True, slots=True)
class Variant:
    """How one server differs from the default. log: a file for its log lines. viewers: who do not read."""

    environment: Mapping[str, str] = field(default_factory=dict)
    log: str = os.devnull
    bare: bool = False
    viewers: int = 0


def variants(endpoints: Mapping[str, str], folder: Path) -> dict[str, Variant]:
    def sampled(ratio: float, to: str = "good") -> Variant:
        return Variant(
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": endpoints[to],
                "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": str(ratio),
            }
        )

    pipe = folder / "pipe"
    os.mkfifo(pipe)
    return {
        "bare": Variant(bare=True),
        "bare again": Variant(bare=True),
        "logs and metrics": Variant({"FANOUT_LEAK_CHECK": "off"}, str(folder / "log")),
        "default": Variant(log=str(folder / "log")),
        "1 %": replace(sampled(0.01), log=str(folder / "log")),
        "all": replace(sampled(1), log=str(folder / "log")),
        "dead": sampled(1, "dead"),
        "stalled": sampled(1, "stalled"),
        "full pipe": Variant(log=str(pipe)),
        "viewers": Variant(viewers=50),
    }


@contextmanager
def serving(name: str, variant: Variant, folder: Path, upstream_url: str) -> Iterator[Program]:
    """The server, its log going where the variant says, and its viewers there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        admin = free.getsockname()
    command = list(servers(folder, PATIENT)["fanout"].command)
    command[command.index("127.0.0.1:0")] = f"{admin[0]}:{admin[1]}"
    command[command.index("warning")] = "info"
    if variant.bare:
        command[1:3] = [str(Path(__file__).parent / "bare_server.py")]
    # Open for reading as well, so that a pipe without a reader can be opened.
    into_log = ["sh", "-c", f'exec "$0" "$@" 2<>{variant.log}']
    environment = {"PYTHONPATH": str(Path(__file__).parent.parent), **variant.environment}
    with ExitStack() as stack:
        server = Server(name, [*into_log, *command], environment)
        program = stack.enter_context(running(server, upstream_url, SERVER_CORE))
        for _ in range(variant.viewers):
            viewer = stack.enter_context(socket.socket())
            viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            viewer.connect(admin)
            viewer.sendall(b"GET /live/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        yield program


def table(sets: Sequence[Sequence[Mapping[str, Run]]]) -> str:
    """More than bare: than the mean of both, where there are two."""
    rows = [
        "| variant | CPU, µs a request | more than bare | on time | useful p99, ms |",
        "| --- | --: | --: | --: | --: |",
    ]
    for name in sets[0][0]:
        runs = [one[name] for rounds in sets for one in rounds]
        more = [_cpu_us(rounds, name) / _bare_us(rounds) - 1 for rounds in sets]
        rows.append(
            f"| {name} | {mean(run.cpu_us for run in runs):,.0f} "
            f"| {mean(more):+.1%} ± {_error(more):.1%} "
            f"| {median(run.on_time for run in runs):.2%} "
            f"| {median(run.useful_p99_ms for run in runs):,.0f} |"
        )
    return "\n".join(rows)


def _cpu_us(rounds: Sequence[Mapping[str, Run]], name: str) -> float:
    return mean(one[name].cpu_us for one in rounds)


def _bare_us(rounds: Sequence[Mapping[str, Run]]) -> float:
    return mean(_cpu_us(rounds, name) for name in rounds[0] if name.startswith("bare"))


def _error(values: Sequence[float]) -> float:
    """Of their mean, one standard error."""
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", type=int, default=6, help="of processes, each with so many rounds")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--rate", type=float, default=300)
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument(
        "--only", default="", help="some of the variants, a comma between two; `bare` is added"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run there")
    options = parser.parse_args()
    only = {"bare", *options.only.split(",")} if options.only else None
    os.sched_setaffinity(0, {OTHER_CORE})
    sets: list[list[dict[str, Run]]] = []
    with tempfile.TemporaryDirectory() as name, collectors() as endpoints, ExitStack() as stack:
        folder = Path(name)
        url, what = stack.enter_context(upstream(folder, OTHER_CORE))
        wanted = variants(endpoints, folder)
        for _ in range(options.sets):
            sets.append([])
            with ExitStack() as processes:
                programs = {
                    name: processes.enter_context(serving(name, variant, folder, url))
                    for name, variant in wanted.items()
                    if only is None or name in only
                }
                for one in measure(programs, options.rate, options.seconds, options.rounds):
                    sets[-1].append(one)
                    click.echo(" ".join(f"{name} {run.cpu_us:.0f}" for name, run in one.items()), err=True)
    loads = [run.load_average for rounds in sets for one in rounds for run in one.values()]
    click.echo(
        f"`/api/first` at {options.rate:g}/s, {options.sets} sets of {options.rounds} rounds of "
        f"{options.seconds} s; upstream: {what}; load average {min(loads):.1f} to {max(loads):.1f}."
        f"\n\n{table(sets)}"
    )
    if options.json:
        options.json.write_text(
            json.dumps(
                [[{name: asdict(run) for name, run in one.items()} for one in rounds] for rounds in sets],
                indent=1,
            )
        )


if __name__ == "__main__":
    main()
