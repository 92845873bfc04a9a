"""What two environment variables save: Python's objects in glibc's heap, and that heap in huge pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.contenders import AIOHTTP_NAME, FANOUT_NAME, contenders
from benchmarks.programs import Server, upstream
from benchmarks.section import OTHER_CORE, Found, Settings, figure, ratio, rows
from benchmarks.sections import cpu, memory

NAME = "huge_pages"
TITLE = "Huge pages"
VARIABLES = {"PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
SERVERS = (FANOUT_NAME, AIOHTTP_NAME)
LOADS = (("first", 500), ("all", 500))
ROUNDS = 5
WITH = ", huge pages"
ALLOWED = Path("/sys/kernel/mm/transparent_hugepage/enabled")  # absent: the kernel has none


def run(settings: Settings) -> Found:
    rounds = settings.times(ROUNDS)
    with upstream(settings.folder, OTHER_CORE) as (url, what):
        here = with_and_without(contenders(settings.folder, SERVERS))
        without_requests = cpu.lives_without_requests(here, url, settings.seconds(12, 2))
        found: dict[str, list[Found]] = {}
        for endpoint, rate in LOADS:
            found[f"{endpoint} {rate}"] = taken = cpu.in_rounds(settings, here, url, endpoint, rate, rounds)
            settings.say(f"{endpoint} at {rate}/s: {len(taken)} rounds")
        grown = {}
        for name, server in with_and_without(
            contenders(settings.folder, SERVERS, ("--max-in-flight", "2000"))
        ).items():
            grown[name] = memory.grow(server, f"{url}?delay_ms={memory.HANG_MS}")
            settings.say(f"{name}: {grown[name]['kib_a_request']:.1f} KiB a request")
    return {
        "upstream": what,
        "allowed": ALLOWED.read_text().strip() if ALLOWED.exists() else "",
        "unasked": without_requests,
        "rounds": found,
        "grown": grown,
    }


def with_and_without(servers: Mapping[str, Server]) -> dict[str, Server]:
    """Each of them twice, the second time with the variables."""
    found = {}
    for name, server in servers.items():
        found[name] = server
        environment = {**server.environment, **VARIABLES}
        found[name + WITH] = replace(server, name=name + WITH, environment=environment)
    return found


def render(found: Found) -> str:
    cells = []
    for load, taken in found["rounds"].items():
        endpoint, rate = load.split()
        for name in taken[0]:
            its = _costs(found, name, taken)
            cells.append(
                [
                    f"`{endpoint}` {rate}/s",
                    name,
                    f"{figure(its).value:,.0f}",
                    ratio(its, _costs(found, _base(name), taken)),
                    f"{figure([one[name]['useful_share'] for one in taken]).value:.1%}",
                ]
            )
    setting = " ".join(f"{name}={value}" for name, value in VARIABLES.items())
    allowed = found["allowed"] or "no huge pages"
    rounds = max(len(taken) for taken in found["rounds"].values())
    return (
        f"The same as the first section, for each server as it comes, and with `{setting}`: Python takes the "
        "memory of its objects from glibc, and glibc asks the kernel for huge pages. The processor keeps the "
        "addresses of some pages in a cache (the TLB), where a huge page takes one place instead of 512. "
        f"*Ratio*: to the same server without the variables, median of {rounds} rounds. This machine is "
        "virtual, where a page that is not in that cache costs more than elsewhere. The kernel here has "
        f"`{allowed}` in `{ALLOWED}`.\n\n"
        + rows(["load", "server", "µs per useful answer", "ratio", "useful"], cells)
        + "\n\nThe memory of the same servers, measured as in the section about memory:\n\n"
        + rows(["server", "idle, MiB", "KiB per request in flight"], _memory(found["grown"]))
    )


def of_fanout(found: Found) -> str:
    """The ratio of fanout with the variables to fanout without, over all loads and rounds."""
    taken = [one for its in found["rounds"].values() for one in its]
    return ratio(_costs(found, FANOUT_NAME + WITH, taken), _costs(found, FANOUT_NAME, taken))


def _costs(found: Found, name: str, taken: Sequence[Found]) -> list[float]:
    return [cpu.cost_us(found, name, one[name]) for one in taken]


def _base(name: str) -> str:
    return name.removesuffix(WITH)


def _memory(grown: Mapping[str, Any]) -> list[list[str]]:
    return [
        [name, f"{one['idle_kib'] / 1024:.0f}", f"{one['kib_a_request']:.1f}"] for name, one in grown.items()
    ]
