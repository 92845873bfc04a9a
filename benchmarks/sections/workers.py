"""Two workers on two cores beside one on one."""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks import usage
from benchmarks.contenders import fanout
from benchmarks.loads import Cores, closed_loop, on_time_share
from benchmarks.programs import free_port, running, upstream
from benchmarks.section import OTHER_CORE, SERVER_CORE, Found, Settings, rows

NAME = "workers"
TITLE = "Two workers"
WHERE = "one worker on core 0, two on both; the generator and the upstream on core 1"
CLIENTS = 1000
WARMUP_S = 2


def run(settings: Settings) -> Found:
    found: list[dict[str, Any]] = []
    rounds, seconds = settings.times(2), settings.seconds(5, 2)
    with upstream(settings.folder, OTHER_CORE) as (url, what):
        for number in range(rounds):
            one = {}
            for workers, cores in ((1, f"{SERVER_CORE}"), (2, f"{SERVER_CORE},{OTHER_CORE}")):
                one[str(workers)] = ask(settings, url, workers, cores, seconds)
            found.append(one)
            settings.say(
                f"round {number + 1} of {rounds}: "
                + ", ".join(f"{key}: {got['useful_per_s']:.0f}/s" for key, got in one.items())
            )
    return {"upstream": what, "seconds": seconds, "rounds": found}


def ask(settings: Settings, url: str, workers: int, cores: str, seconds: int) -> Found:
    # The second worker takes the admin port above, which is most likely free: ports are drawn at random.
    options = ("--workers", str(workers), "--max-loop-lag-ms", "1000")
    server = fanout(settings.folder, *options, admin=f"127.0.0.1:{free_port()}")
    with running(server, url, cores) as program:
        closed_loop(program.url, CLIENTS, WARMUP_S, 1)  # until every worker has started
        used_s, busy = usage.cpu_s(program.pid), Cores()
        report = closed_loop(program.url, CLIENTS, WARMUP_S, seconds)
        used_s, shares = usage.cpu_s(program.pid) - used_s, busy.shares()[:2]
    # The CPU is that of the warm-up as well.
    useful = report["useful"] + report["warmup"]["offered"] * report["useful_share"]
    return {
        "useful_per_s": report["useful_per_s"],
        "useful_per_cpu_s": useful / used_s,
        "on_time": on_time_share(report),
        "cores": shares,
    }


def render(found: Found) -> str:
    rounds = found["rounds"]

    def mid(workers: str, key: str) -> float:
        return float(median(one[workers][key] for one in rounds))

    def capacity(workers: str) -> float:
        return int(workers) * mid(workers, "useful_per_cpu_s")

    cells = [
        [
            workers,
            f"{mid(workers, 'useful_per_s'):,.0f}",
            f"{mid(workers, 'useful_per_s') / mid('1', 'useful_per_s'):.2f}",
            f"{mid(workers, 'useful_per_cpu_s'):,.0f}",
            f"{capacity(workers):,.0f}",
            f"{capacity(workers) / capacity('1'):.2f}",
            f"{mid(workers, 'on_time'):.1%}",
        ]
        for workers in rounds[0]
    ]
    return (
        f"{CLIENTS:,} clients that wait for each answer, `/api/first`, `--max-loop-lag-ms 1000`. This "
        "machine has two cores, and the generator and the upstream need one of them. With two workers, all "
        "four share both cores, so the raw rate says little. The CPU-limited capacity is what counts: useful "
        "answers per second of processor time that the server used, times the number of its cores. It is the "
        "rate of the workers if each had a core for itself and only the processor limited them.\n\n"
        + rows(
            [
                "workers and cores",
                "useful/s, raw",
                "ratio",
                "useful per CPU second",
                "CPU-limited capacity/s",
                "ratio",
                "on time",
            ],
            cells,
        )
    )
