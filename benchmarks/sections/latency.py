"""What a server adds to the latency of the call that it waited for, at a low load."""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks.comparison import Comparison
from benchmarks.contenders import (
    AIOHTTP_NAME,
    BASE_NAME,
    FANOUT_NAME,
    FASTAPI_AIOHTTP_NAME,
    GO_NAME,
    GRANIAN_NAME,
    contenders,
)
from benchmarks.loads import added_latency, doubts
from benchmarks.programs import running, upstream
from benchmarks.section import OTHER_CORE, SERVER_CORE, Found, Settings, rows

NAME = "latency"
TITLE = "Added latency at low load"
RATE = 100
UPSTREAM_NAME = "upstream itself"
SERVERS = (FANOUT_NAME, AIOHTTP_NAME, FASTAPI_AIOHTTP_NAME, GRANIAN_NAME, GO_NAME)


def run(settings: Settings) -> Found:
    rounds, seconds = settings.times(3), settings.seconds(3, 2)
    found: list[Any] = []
    with upstream(settings.folder, OTHER_CORE) as (url, what):
        base = url.removesuffix("/api/work")
        for number in range(rounds):
            one = {UPSTREAM_NAME: added_latency(base, "/api/work", RATE, seconds)}
            for name, server in contenders(settings.folder, settings.servers(SERVERS)).items():
                with running(server, url, SERVER_CORE) as program:
                    added_latency(program.url, "/api/first", RATE, 1)  # imports, connections
                    one[name] = added_latency(program.url, "/api/first", RATE, seconds)
            found.append(one)
            settings.say(
                f"round {number + 1} of {rounds}: "
                + ", ".join(f"{name} {got['p50_ms']:.2f}/{got['p99_ms']:.2f} ms" for name, got in one.items())
            )
    return {"upstream": what, "seconds": seconds, "rounds": found}


def compared(found: Found) -> list[Comparison]:
    """With what the upstream adds itself: the client waits for that, too."""
    rounds: list[dict[str, Any]] = found["rounds"]
    names = [name for name in rounds[0] if name != UPSTREAM_NAME]
    return [
        Comparison(
            f"added latency at {RATE}/s, {word}",
            "ms",
            {name: [one[name][key] for one in rounds] for name in names},
            {name: doubts(1.0, median(one[name]["late_launches"] for one in rounds)) for name in names},
            digits=2,
        )
        for key, word in (("p50_ms", "p50"), ("p99_ms", "p99"))
    ]


def render(found: Found) -> str:
    rounds = found["rounds"]

    def mid(name: str, key: str) -> float:
        return float(median(one[name][key] for one in rounds))

    def more(name: str, key: str) -> float:
        return mid(name, key) - mid(UPSTREAM_NAME, key)

    cells = []
    for name in rounds[0]:
        itself = name == UPSTREAM_NAME
        own = more(name, "p50_ms")
        base = more(BASE_NAME, "p50_ms") if BASE_NAME in rounds[0] else 0.0
        cells.append(
            [
                name,
                f"{mid(name, 'p50_ms'):.2f}",
                f"{mid(name, 'p99_ms'):.2f}",
                "–" if itself else f"{own:.2f}",
                "–" if itself or not base else f"{own / base:.2f}",
                doubts(1.0, mid(name, "late_launches")),
            ]
        )
    return (
        f"Open loop, {RATE} per second of `/api/first` for {found['seconds']} s. The upstream sleeps and "
        "reports in its payload for how long. *Added* is the latency that the client sees, by the kernel's "
        "time stamps, minus `time` in its answer. It includes what the upstream adds itself: two trips over "
        "loopback, and up to a millisecond because its timer counts whole milliseconds. The row "
        f"*{UPSTREAM_NAME}* is the same without a server in between. The third column is the median minus "
        "the median of that row: what the server adds. (In a race the earlier of two timers wins, so a small "
        "difference can be too small by some tenths.)\n\n"
        + rows(
            [
                "server",
                "added p50, ms",
                "added p99, ms",
                "p50 minus the upstream's",
                f"ratio to {BASE_NAME}",
                "",
            ],
            cells,
        )
    )
