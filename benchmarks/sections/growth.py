"""Does a request cost more when many are under way? The rate stays the same, the upstream gets slower."""

from __future__ import annotations

import json
from time import sleep
from typing import Any

from benchmarks import usage
from benchmarks.comparison import Comparison
from benchmarks.contenders import AIOHTTP_NAME, BASE_NAME, FANOUT_NAME, contenders
from benchmarks.loads import START_S, beside, doubts, useful_share
from benchmarks.programs import Server, running, upstream
from benchmarks.section import OTHER_CORE, SERVER_CORE, Found, Settings, rows

NAME = "growth"
TITLE = "CPU per useful answer from 10 to 5,000 concurrent"
CONCURRENT = (10, 1000, 5000)
RATE = 400  # a second
TIMEOUT_MS = 30_000
SERVERS = (FANOUT_NAME, AIOHTTP_NAME)
WINDOW_S = 5  # as long as the longest of fanout's tasks that come again and again waits, or a multiple of it


def run(settings: Settings) -> Found:
    found: dict[str, dict[str, Any]] = {}
    concurrent = CONCURRENT[:2] if settings.short else CONCURRENT
    with upstream(settings.folder, OTHER_CORE) as (url, what):
        for at_a_time in concurrent:
            delay_ms = round(at_a_time / RATE * 1000)
            found[str(at_a_time)] = one = {}
            for name, server in contenders(settings.folder, SERVERS, ("--max-in-flight", "6000")).items():
                one[name] = ask(
                    server, f"{url}?delay_ms={delay_ms}", delay_ms / 1000, settings.seconds(WINDOW_S, 2)
                )
            settings.say(
                f"{at_a_time:,} concurrent: "
                + ", ".join(f"{name} {cost_us(got):.0f} µs" for name, got in one.items())
            )
    return {"upstream": what, "concurrent": found}


def ask(server: Server, upstream_url: str, delay_s: float, seconds: int) -> Found:
    """The CPU of `seconds` that begin when the first answers come, so as many requests come as go.

    What the server does every few seconds for connections that are idle or open is in a window of `WINDOW_S`
    as often as in the same time of its whole life.
    """
    with running(server, upstream_url, SERVER_CORE) as program:
        filling_s = START_S + delay_s + 1
        whole_s = round(filling_s + seconds + 1)
        with beside("stepped_load", program.url, "first", str(TIMEOUT_MS), f"{RATE}x{whole_s}") as load:
            sleep(filling_s)
            before, kib = usage.cpu_s(program.pid), usage.resident_kib(program.pid)
            sleep(seconds)
            used_s = usage.cpu_s(program.pid) - before
            report = json.loads(load.communicate()[0])
    return {
        "cpu_s": used_s,
        "asked": RATE * seconds,
        "useful": useful_share(report),
        "late_launches": report["client"]["late_launch_share"],
        "mib": kib / 1024,
    }


def cost_us(got: Found) -> float:
    """Microseconds for each useful answer; infinite without any."""
    useful = got["asked"] * got["useful"]
    return float(got["cpu_s"] * 1e6 / useful) if useful else float("inf")


def compared(found: Found) -> list[Comparison]:
    return [
        Comparison(
            f"CPU per useful answer with {int(at_a_time):,} concurrent",
            "µs",
            {name: [cost_us(got)] for name, got in one.items()},
            {name: doubts(got["useful"], got["late_launches"]) for name, got in one.items()},
        )
        for at_a_time, one in found["concurrent"].items()
    ]


def render(found: Found) -> str:
    concurrent = found["concurrent"]
    fewest = next(iter(concurrent.values()))
    cells = [
        [
            f"{int(at_a_time):,}",
            name,
            f"{cost_us(got):,.0f}",
            f"{cost_us(got) / cost_us(fewest[name]):.2f}",
            f"{cost_us(got) / cost_us(one[BASE_NAME]):.2f}" if BASE_NAME in one else "–",
            f"{got['mib']:,.0f}",
            f"{got['useful']:.1%}",
            doubts(got["useful"], got["late_launches"]),
        ]
        for at_a_time, one in concurrent.items()
        for name, got in one.items()
    ]
    return (
        f"Open loop, always {RATE} per second of `/api/first`, `timeout={TIMEOUT_MS}`. The calls do not "
        f"fail, and take as long as that number of requests in flight needs ({CONCURRENT[0]}: "
        f"{CONCURRENT[0] * 1000 // RATE} ms, {CONCURRENT[-1]:,}: {CONCURRENT[-1] / RATE:.1f} s). The CPU "
        f"time is measured for {WINDOW_S} s while as many requests arrive as end. Both calls of a race end "
        "together here, so fewer are cancelled than above, and the cost differs from that of the first "
        "table. "
        "(`--max-in-flight 6000` for fanout.)\n\n"
        + rows(
            [
                "concurrent",
                "server",
                "µs per useful answer",
                f"relative to itself at {min(map(int, concurrent))}",
                f"ratio to {BASE_NAME}",
                "MiB",
                "useful",
                "",
            ],
            cells,
        )
    )


def plot(found: Found, figure_of: Any) -> None:
    axes = figure_of.subplots(1, 1)
    concurrent = found["concurrent"]
    for name in next(iter(concurrent.values())):
        axes.plot(
            list(map(int, concurrent)), [cost_us(one[name]) for one in concurrent.values()], "o-", label=name
        )
    axes.set_xscale("log")
    axes.set_xlabel("requests under way")
    axes.set_ylabel("CPU of a useful answer, µs")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")
