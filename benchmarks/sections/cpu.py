"""CPU of a request, in paired rounds: every server runs at once, and in turn gets the same open-loop load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks import usage
from benchmarks.contenders import (
    AIOHTTP_NAME,
    ASYNCIO_NAME,
    BARE_NAME,
    BASE_NAME,
    FANOUT_NAME,
    FASTAPI_NAME,
    GO_NAME,
    QUART_NAME,
    contenders,
)
from benchmarks.loads import doubts, on_time_share, open_loop, useful_share
from benchmarks.programs import Program, Server, running, upstream
from benchmarks.section import OTHER_CORE, SERVER_CORE, Found, Settings, figure, ratio, rows

NAME = "cpu"
TITLE = "CPU per request"
LOADS = [(endpoint, rate) for endpoint in ("first", "all") for rate in (250, 500, 1500)]
PAIR = (FANOUT_NAME, BASE_NAME)
SERVERS = (FANOUT_NAME, BARE_NAME, AIOHTTP_NAME, ASYNCIO_NAME, FASTAPI_NAME, QUART_NAME, GO_NAME)
SLOW = (FASTAPI_NAME, QUART_NAME)  # which of these is how many times dearer needs no second decimal
SLOW_ROUNDS = 3
ROUNDS_A_SET = 3  # of fresh processes
SLOW_UP_TO = 500  # requests a second; more would only be an overload


def run(settings: Settings) -> Found:
    return measure(settings, SERVERS)


def measure(settings: Settings, servers: Sequence[str]) -> Found:
    seconds, rounds = settings.seconds(2, 1), settings.times(6)
    found: dict[str, list[Found]] = {}
    with upstream(settings.folder, OTHER_CORE) as (url, what):
        all_of_them = contenders(settings.folder, servers)
        for endpoint, rate in LOADS:
            found[f"{endpoint} {rate}"] = taken = []
            for begin in range(0, rounds, ROUNDS_A_SET):
                its = {
                    name: server
                    for name, server in all_of_them.items()
                    if name not in SLOW or (rate <= SLOW_UP_TO and begin < SLOW_ROUNDS)
                }
                numbers = range(begin, min(begin + ROUNDS_A_SET, rounds))
                for number, one in _a_set(its, url, endpoint, rate, seconds, numbers):
                    taken.append(one)
                    settings.say(
                        f"{endpoint} at {rate}/s, round {number + 1} of {rounds}: "
                        + ", ".join(f"{name} {each['cpu_us']:.0f} µs" for name, each in one.items())
                    )
    return {"upstream": what, "seconds": seconds, "rounds_a_set": ROUNDS_A_SET, "rounds": found}


def _a_set(
    servers: Mapping[str, Server], url: str, endpoint: str, rate: int, seconds: int, numbers: range
) -> Iterator[tuple[int, Found]]:
    """These rounds, each as it ends, with new processes: a pool that grew in an overload would be slow for
    ever after, and where its memory lies makes a process dearer by some percent for as long as it lives."""
    with ExitStack() as stack:
        programs = {
            name: stack.enter_context(running(server, url, SERVER_CORE)) for name, server in servers.items()
        }
        for program in programs.values():
            offer(program, endpoint, rate, 1)
        for number in numbers:
            names = [name for name in programs if name not in SLOW or number < SLOW_ROUNDS]
            first = number % len(names)  # who comes first has it easier
            one = {
                name: offer(programs[name], endpoint, rate, seconds) for name in names[first:] + names[:first]
            }
            yield number, {name: one[name] for name in names}


def offer(program: Program, endpoint: str, rate: int, seconds: int) -> Found:
    """What one server uses for one load, until it has come to rest. Shares are 0 to 1."""
    before = usage.cpu_s(program.pid)
    report = open_loop(program.url, endpoint, f"{rate}x{seconds}")
    usage.wait_until_quiet(program.pid)
    return {
        "cpu_us": (usage.cpu_s(program.pid) - before) * 1e6 / report["offered"],
        "useful": useful_share(report),
        "on_time": on_time_share(report),
        "late_launches": report["client"]["late_launch_share"],
    }


def render(found: Found) -> str:
    rounds: dict[str, list[dict[str, Any]]] = found["rounds"]
    count = len(next(iter(rounds.values())))
    cells = []
    for load, taken in rounds.items():
        endpoint, rate = load.split()
        for name in taken[0]:
            its = [one for one in taken if name in one]
            mine = [one[name]["cpu_us"] for one in its]
            useful = figure([one[name]["useful"] for one in its]).value
            late = figure([one[name]["late_launches"] for one in its]).value
            base = ratio(mine, [one[BASE_NAME]["cpu_us"] for one in its]) if BASE_NAME in taken[0] else "–"
            remark = doubts(useful, late)
            cells.append(
                [f"`{endpoint}` {rate}/s", name, f"{figure(mine).value:,.0f}", base, f"{useful:.1%}", remark]
            )
    return (
        "All servers run at the same time on the server's core, and in turn get the same open-loop load for "
        f"{found['seconds']} s. The order rotates every round; {count} "
        f"{'rounds' if count > 1 else 'round'} (FastAPI and quart-trio: at most {SLOW_ROUNDS})"
        f"{_sets(found)}. "
        "The CPU time is what the kernel counts for the process and its "
        "threads (`schedstat`), until the process is idle again. The ratio is the median over the rounds of "
        "the ratio within a round, ± its standard error. *Useful* is the share of successful answers in "
        "time; do not trust a row with less than 85 %. At low rates caches go cold between requests, so a "
        "request costs less at a higher rate.\n\n"
        + rows(["load", "server", "µs per request", f"ratio to {BASE_NAME}", "useful", ""], cells)
    )


def _sets(found: Found) -> str:
    """Older figures are of one set of processes."""
    rounds = found.get("rounds_a_set")
    return f", with fresh processes every {rounds} rounds" if rounds else ""


def glance(found: Found) -> list[list[str]]:
    return [
        [
            f"CPU per request, `{load.replace(' ', '` at ')}/s",
            *(f"{figure([one[name]['cpu_us'] for one in taken]).value:,.0f} µs" for name in PAIR),
            ratio(*([one[name]["cpu_us"] for one in taken] for name in PAIR)),
        ]
        for load, taken in found["rounds"].items()
        if BASE_NAME in taken[0]
    ]


def plot(found: Found, figure_of: Any) -> None:
    rounds: dict[str, list[dict[str, Any]]] = found["rounds"]
    axes = figure_of.subplots(1, 1)
    names = list(next(iter(rounds.values()))[0])
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        its = [[one[name]["cpu_us"] for one in taken if name in one] for taken in rounds.values()]
        heights = [figure(each).value if each else 0.0 for each in its]
        places = [place + (number - len(names) / 2 + 0.5) * width for place in range(len(rounds))]
        axes.bar(places, heights, width, label=name)
    axes.set_xticks(range(len(rounds)), [f"{load}/s" for load in rounds])
    axes.set_ylabel("CPU of a request, µs")
    axes.legend(fontsize="small")
