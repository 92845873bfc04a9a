"""The front door under fire, in the long form; `tests/blackbox/test_front_door.py` has the short one.

    python -m benchmarks.front_door                    everything but the thirty minutes
    python -m benchmarks.front_door siege drain        some of it
    python -m benchmarks.front_door flat --minutes 30  memory and tasks over time
    python -m benchmarks.front_door --json door.json

The server, the upstream and the load are processes of their own; the clients of an experiment are this
one. Each row says how busy the machine was, which is most of what makes an answer late. The exit code is 1
when something did not hold.

Needs what `.[test,load]` brings, and a hard limit of 20,000 open files (ulimit -Hn).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import trio

from fanout.tools.simulator.faults import FAULTS
from tests.blackbox.front_door.certified import certified
from tests.blackbox.front_door.door import front_door
from tests.blackbox.front_door.drain import drain
from tests.blackbox.front_door.flat import endure
from tests.blackbox.front_door.http2_siege import besiege_over_http2
from tests.blackbox.front_door.leaving import DEPARTURES, leave
from tests.blackbox.front_door.many import crowd
from tests.blackbox.front_door.siege import besiege

HANGING = "fault=hang_before_head"
PATIENT = ("--max-loop-lag-ms", "1000")  # refuses nobody for the machine's sake


@dataclass(frozen=True, slots=True)
class Row:
    """One experiment. broken: what must hold and did not. machine: its load average over a minute."""

    experiment: str
    found: dict[str, Any]
    broken: list[str]
    machine: float


def row(experiment: str, found: dict[str, Any], **holds: bool) -> Row:
    broken = [name for name, so in holds.items() if not so]
    return Row(experiment, found, broken, round(os.getloadavg()[0], 1))


def siege(options: argparse.Namespace) -> Iterator[Row]:
    with front_door(serve=PATIENT if options.patient else ()) as door:
        run = partial(
            besiege, door, connections=200, idle=options.idle, rate_per_s=50, seconds=30, timeout_ms=2000
        )
        found = trio.run(run)
    after, before = found.after, found.before
    yield row(
        f"{found.connections} hostile connections of {found.kinds} kinds, {found.idle} idle ones",
        {
            "load": found.load["outcomes"],
            "slowest_ms": round(found.load["latency_ms"]["answered"]["from_written"]["max"], 1),
            "bystander": found.bystander.figures(),
            "before": asdict(before),
            "at_peak": asdict(found.at_peak),
            "after": asdict(after),
            "ended": found.ended,
        },
        on_time=not found.bystander.late,
        guarantees_kept=not found.load["broken_guarantees"] and "crossed" not in found.load["outcomes"],
        nothing_lost=set(found.load["outcomes"]) <= {"useful", "no_success", "deadline", "refused"},
        nothing_left=after.descriptors <= before.descriptors and after.tasks <= before.tasks,
        no_bug=not found.bugs,
    )


def http2_siege(options: argparse.Namespace) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        trust, tls_options = certified(Path(folder))
        serve = (*(PATIENT if options.patient else ()), *tls_options)
        quick = (
            "--reliable",
            "--min-delay-ms",
            "20",
            "--max-delay-ms",
            "50",
        )  # an honest client asks in turn
        with front_door(upstream=quick, serve=serve, tls=trust) as door:
            run = partial(besiege_over_http2, door, connections=400, seconds=30, rate_per_s=10)
            found = trio.run(run)
    before, after = found.before, found.after
    yield row(
        f"400 hostile HTTP/2 connections of {found.kinds} kinds",
        {
            "HTTP/1.1": found.http1.figures(),
            "HTTP/2": found.http2.figures(),
            "upstream_calls": found.calls,
            "before": asdict(before),
            "at_peak": asdict(found.at_peak),
            "after": asdict(after),
            "ended": found.connections["ended"],
        },
        nothing_lost=set(found.http1.statuses()) | set(found.http2.statuses()) <= {200, 503},
        on_time=not found.http1.late + found.http2.late,
        nothing_left=after.descriptors <= before.descriptors
        and after.tasks <= before.tasks
        and found.left_in_flight == found.left_upstream == 0,
        no_bug=not found.bugs,
    )


def leaving(options: argparse.Namespace) -> Iterator[Row]:
    with front_door(query=HANGING) as door:
        for how in DEPARTURES:
            took_ms = sorted(trio.run(partial(leave, door, how, times=options.times)))
            found = {
                "calls": len(took_ms),
                "median_ms": round(median(took_ms), 1),
                "max_ms": round(took_ms[-1], 1),
            }
            yield row(f"leaving: {how}", found, within_50_ms=median(took_ms) < 50)


def draining(options: argparse.Namespace) -> Iterator[Row]:
    delays = ("--min-delay-ms", "5000", "--max-delay-ms", "7000")
    slow = ("--reliable", *delays, "--fault", "hang_before_head=0.5")
    with tempfile.TemporaryDirectory() as folder:
        trust, tls_options = certified(Path(folder))
        for workers in (1, 2):
            for number in range(options.rounds):
                serve = ("--workers", f"{workers}", *PATIENT)
                # every other round over TLS, which adds a client in mid-handshake
                tls = trust if number % 2 else None
                with front_door(
                    upstream=slow, serve=(*serve, *(tls_options if tls else ())), tls=tls
                ) as door:
                    found = trio.run(partial(drain, door, requests=500, timeout_ms=8000))
                yield row(
                    f"SIGTERM, workers {workers}, round {number + 1}{' over TLS' if tls else ''}",
                    asdict(found),
                    all_answered=found.answers.keys() <= {200, 500} and sum(found.answers.values()) == 500,
                    exit_code_0=found.exit_code == 0,
                    in_time=found.over_s < 1,
                )


def many(options: argparse.Namespace) -> Iterator[Row]:
    for at_one_moment in (False, True):
        timeout_ms = 20_000 if at_one_moment else options.timeout_ms
        with front_door(query=HANGING, serve=("--max-in-flight", f"{options.requests}", *PATIENT)) as door:
            run = partial(crowd, door, requests=options.requests, per_s=options.rate, timeout_ms=timeout_ms)
            found = trio.run(partial(run, at_one_moment=at_one_moment))
        late = found.late_ms
        yield row(
            f"{options.requests} requests in flight, ending {'together' if at_one_moment else 'in turn'}",
            {
                "peak_in_flight": found.peak_in_flight,
                "answers": found.answers,
                "late": sum(ms > 0 for ms in late),
                "late_ms": {
                    "p50": round(median(late)),
                    "p99": round(late[len(late) * 99 // 100]),
                    "max": round(late[-1]),
                },
                "worst_iteration_ms": found.worst_iteration_ms,
                "kib_a_request": round(found.kib_a_request, 1),
                "kib_a_connection": round(found.kib_a_connection, 1),
                "after": asdict(found.after),
            },
            all_answered=found.answers.keys() <= {500, 503}
            and sum(found.answers.values()) == options.requests,
            on_time=at_one_moment or late[-1] <= 0,  # no reserve covers thousands of deadlines in one moment
            memory=found.kib_a_request <= 60,
            nothing_left=found.after.descriptors <= found.before.descriptors
            and found.after.tasks <= found.before.tasks,
            no_bug=not found.bugs,
        )


def flat(options: argparse.Namespace) -> Iterator[Row]:
    faults = [f"{name}=0.005" for name in FAULTS]
    upstream = [word for fault in faults for word in ("--fault", fault)]
    with front_door(upstream=("--reliable", *upstream)) as door:
        found = trio.run(partial(endure, door, seconds=options.minutes * 60, rate_per_s=options.flat_rate))
    resident, tasks = found.growth("resident_kib"), found.growth("tasks")
    yield row(
        f"mixed load with faults for {options.minutes:g} minutes, {options.flat_rate:g}/s",
        {
            "load": found.load["outcomes"],
            "resident_kib": resident,
            "tasks": tasks,
            "descriptors": found.growth("descriptors"),
            "before": asdict(found.before),
            "after": asdict(found.after),
        },
        memory_flat=resident[1] <= resident[0] * 1.05 + 1024,
        tasks_flat=found.after.tasks <= found.before.tasks,
        descriptors_flat=found.after.descriptors <= found.before.descriptors,
        no_bug=not found.bugs,
    )


EXPERIMENTS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "siege": siege,
    "http2": http2_siege,
    "leaving": leaving,
    "drain": draining,
    "many": many,
    "flat": flat,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=f"of {', '.join(EXPERIMENTS)}")
    parser.add_argument(
        "--idle", type=int, default=11_000, help="idle connections of the siege: more than may be open"
    )
    parser.add_argument("--patient", action="store_true", help="the sieges, with no refusals for a busy loop")
    parser.add_argument("--times", type=int, default=20, help="clients leaving, of each kind")
    parser.add_argument("--rounds", type=int, default=10, help="drains in a row, for one worker and for two")
    parser.add_argument("--requests", type=int, default=5000, help="of many")
    parser.add_argument("--rate", type=float, default=700.0, help="of many, a second")
    parser.add_argument("--timeout-ms", type=int, default=8000, help="of many")
    parser.add_argument("--minutes", type=float, default=1 / 3, help="of flat")
    parser.add_argument("--flat-rate", type=float, default=50.0, help="requests a second, of flat")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    options = parser.parse_args()
    unknown = set(options.experiments) - EXPERIMENTS.keys()
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # this process is thousands of clients
    rows = []
    print("| experiment | found | must hold | machine |\n| --- | --- | --- | --- |")  # noqa: T201 - the result
    for name in options.experiments or EXPERIMENTS:
        for one in EXPERIMENTS[name](options):
            rows.append(asdict(one))
            found = "; ".join(f"{key} {value}" for key, value in one.found.items())
            holds = f"**broken: {', '.join(one.broken)}**" if one.broken else "yes"
            print(f"| {one.experiment} | {found} | {holds} | {one.machine} |", flush=True)  # noqa: T201 - as above
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    sys.exit(any(one["broken"] for one in rows))


if __name__ == "__main__":
    main()
