"""CPU of a useful answer, over the whole life of a server: a new process for each load and round."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from math import inf, isfinite
from time import monotonic, sleep
from typing import Any

from benchmarks.comparison import Comparison, shown_ratio
from benchmarks.contenders import (
    AIOHTTP_NAME,
    ASYNCIO_NAME,
    BARE_NAME,
    BASE_NAME,
    FANOUT_NAME,
    FASTAPI_AIOHTTP_NAME,
    FASTAPI_NAME,
    GO_NAME,
    GRANIAN_NAME,
    QUART_NAME,
    UVLOOP_NAME,
    contenders,
)
from benchmarks.life import REST_S, Life, Unasked, Watched, unasked, us_per_useful
from benchmarks.loads import doubts, open_loop, useful_share
from benchmarks.programs import Server, running, upstream
from benchmarks.section import OTHER_CORE, SERVER_CORE, Found, Settings, figure, rows

NAME = "cpu"
TITLE = "CPU per useful answer"
RATES = (250, 500, 1500)
LOADS = [(endpoint, rate) for endpoint in ("first", "all") for rate in RATES]
IN_SHORT = [("first", 250), ("first", 500), ("all", 500)]
# The highest rate at which each answers on a core of ours; more would measure an overload.
UP_TO = {
    FANOUT_NAME: 1500,
    BARE_NAME: 500,
    AIOHTTP_NAME: 1500,
    UVLOOP_NAME: 1500,
    ASYNCIO_NAME: 500,
    FASTAPI_NAME: 250,
    FASTAPI_AIOHTTP_NAME: 500,
    GRANIAN_NAME: 500,
    QUART_NAME: 250,
    GO_NAME: 1500,
}
SERVERS = tuple(UP_TO)
IN_EVERY_ROUND = (FANOUT_NAME, AIOHTTP_NAME)  # the others are asked once a load
ROUNDS = 3


def run(settings: Settings) -> Found:
    return measure(settings, SERVERS)


def measure(settings: Settings, servers: Sequence[str]) -> Found:
    rounds = settings.times(ROUNDS)
    with upstream(settings.folder, OTHER_CORE) as (url, what):
        here = contenders(settings.folder, servers)
        without = lives_without_requests(here, url, settings.seconds(12, 2))
        found: dict[str, list[Found]] = {}
        for endpoint, rate in IN_SHORT if settings.short else LOADS:
            taken = in_rounds(settings, here, url, endpoint, rate, rounds, is_asked)
            found[f"{endpoint} {rate}"] = taken
            settings.say(f"{endpoint} at {rate}/s: {_said(taken, without)}")
    seconds, rest_s = loaded_s(settings), settings.seconds(REST_S, 1)
    return {"upstream": what, "seconds": seconds, "rest_s": rest_s, "unasked": without, "rounds": found}


def loaded_s(settings: Settings) -> int:
    return settings.seconds(3, 1)


def in_rounds(
    settings: Settings,
    here: Mapping[str, Server],
    url: str,
    endpoint: str,
    rate: int,
    rounds: int,
    is_asked: Callable[[str, int, int], bool] = lambda name, rate, number: True,
) -> list[Found]:
    """What each server did under one load, in each round; a new process for each."""
    asked = Asked(
        endpoint, rate, loaded_s(settings), settings.seconds(REST_S, 1), [{} for _ in range(rounds)]
    )
    with ExitStack() as alive:
        for number in range(rounds):
            names = [name for name in here if is_asked(name, rate, number)]
            first = number % len(names)  # the first server of a round has an advantage
            for name in names[first:] + names[:first]:
                asked.ask(alive, number, here[name], url)
        asked.end_all()
    return asked.rounds


def is_asked(name: str, rate: int, number: int) -> bool:
    """Whether a server is asked so much, in that round."""
    return rate <= UP_TO[name] and (number == 0 or name in IN_EVERY_ROUND)


def lives_without_requests(servers: Mapping[str, Server], url: str, seconds: float) -> dict[str, Found]:
    """What each server uses that nobody asks: all of them at once, then one exit after the other."""
    watched: dict[str, Watched] = {}
    with ExitStack() as alive:
        stacks = {}
        for name, server in servers.items():
            stacks[name] = alive.enter_context(ExitStack())
            watched[name] = Watched(stacks[name].enter_context(running(server, url, SERVER_CORE)))
        sleep(seconds)
        for name, each in watched.items():
            each.ends()
            stacks[name].close()
    return {name: asdict(each.life()) for name, each in watched.items()}


@dataclass(slots=True)
class Asked:
    """The servers of one load. Each is asked alone; it then rests while others are asked, and is ended."""

    endpoint: str
    rate: int
    seconds: int
    rest_s: int
    rounds: list[Found]
    _resting: deque[tuple[float, Watched, ExitStack, Found]] = field(default_factory=deque)

    def ask(self, alive: ExitStack, number: int, server: Server, url: str) -> None:
        self._end_rested()
        stack = alive.enter_context(ExitStack())
        watched = Watched(stack.enter_context(running(server, url, SERVER_CORE)))
        report = open_loop(watched.program.url, self.endpoint, f"{self.rate}x{self.seconds}")
        its: Found = {
            "offered": report["offered"],
            "useful": report["useful"],
            "useful_share": useful_share(report),
            "late_launches": report["client"]["late_launch_share"],
        }
        self.rounds[number][server.name] = its
        self._resting.append((monotonic() + self.rest_s, watched, stack, its))

    def end_all(self) -> None:
        while self._resting:
            sleep(max(0.0, self._resting[0][0] - monotonic()))
            self._end_rested()

    def _end_rested(self) -> None:
        while self._resting and self._resting[0][0] <= monotonic():
            _, watched, stack, its = self._resting.popleft()
            watched.ends()
            stack.close()
            its["life"] = asdict(watched.life())


# --- what is shown


def cost_us(found: Found, name: str, one: Found) -> float:
    """Of one server in one round: microseconds for each useful answer."""
    return us_per_useful(Life(**one["life"]), _without(found["unasked"], name), one["useful"])


def _without(lives: Mapping[str, Any], name: str) -> Unasked:
    return unasked(Life(**lives[name]))


def compared(found: Found) -> list[Comparison]:
    return [*(_comparison(found, load) for load in found["rounds"]), _idle(found)]


def _comparison(found: Found, load: str) -> Comparison:
    taken: list[dict[str, Any]] = found["rounds"][load]
    of_each = {name: [one[name] for one in taken if name in one] for name in taken[0]}
    return Comparison(
        f"CPU per useful answer, `{load.replace(' ', '` at ')}/s",
        "µs",
        {name: [cost_us(found, name, one) for one in its] for name, its in of_each.items()},
        {name: _doubts(its) for name, its in of_each.items()},
    )


def _idle(found: Found) -> Comparison:
    shares = {name: _without(found["unasked"], name).idle_share for name in found["unasked"]}
    return Comparison(
        "CPU of a process that nobody asks",
        "ms per minute",
        {n: [s * 60_000] for n, s in shares.items()},
        digits=1,
    )


def _doubts(its: Sequence[Found]) -> str:
    useful, late = (figure([one[key] for one in its]).value for key in ("useful_share", "late_launches"))
    return doubts(useful, late)


def _said(taken: Sequence[Found], without: Mapping[str, Any]) -> str:
    found = {"unasked": without, "rounds": {"load": taken}}
    comparison = _comparison(found, "load")
    return ", ".join(f"{name} {comparison.shown(name)}" for name in comparison.samples)


def render(found: Found) -> str:
    cells = []
    for load, taken in found["rounds"].items():
        endpoint, rate = load.split()
        comparison = _comparison(found, load)
        for name in comparison.samples:
            its = [one[name] for one in taken if name in one]
            cells.append(
                [
                    f"`{endpoint}` {rate}/s",
                    name,
                    f"{comparison.value(name):,.0f}",
                    shown_ratio(comparison.ratio_to(name, BASE_NAME)),
                    f"{figure([one['useful_share'] for one in its]).value:.1%}",
                    comparison.remark(name),
                ]
            )
    without = {name: _without(found["unasked"], name) for name in found["unasked"]}
    ready = {name: Life(**life).ready_cpu_s for name, life in found["unasked"].items()}
    rounds = max(len(taken) for taken in found["rounds"].values())
    names = " and ".join(name for name in IN_EVERY_ROUND if name in without)
    return (
        f"A new process for each row and round gets the open-loop load for {found['seconds']} s, alone on "
        f"its core. It then rests for {found['rest_s']:g} s, while others are asked, and is ended. *CPU* is "
        "all that the kernel counts for the process, its threads and its children until it has exited, so "
        "what a server puts off counts as well. Two things are subtracted: what the process had used when it "
        "was ready, and what the same program uses when nobody asks it, for as many seconds and for its exit "
        "(second table). The rest is divided by the useful answers, so a failed request is not free. "
        "*Useful* is a successful answer in time; do not trust a row with less than 85 %. A server has no "
        f"row at a rate at which it does not answer. {names}: the median of {rounds} "
        f"{'rounds' if rounds > 1 else 'round'}, and the ratio is the median of the ratios within a round, "
        "± its standard error; the other servers: one round. At low rates caches go cold between requests. "
        "At higher rates each request therefore costs less.\n\n"
        + rows(["load", "server", "µs per useful answer", f"ratio to {BASE_NAME}", "useful", ""], cells)
        + "\n\nWhat is not counted above, of a process that nobody asks:\n\n"
        + rows(
            ["server", "until it is ready, ms", "idle, ms per minute", "exit, ms"],
            [
                [
                    name,
                    f"{ready[name] * 1000:,.0f}",
                    f"{of.idle_share * 60_000:,.1f}",
                    f"{of.exit_s * 1000:,.1f}",
                ]
                for name, of in without.items()
            ],
        )
    )


def plot(found: Found, figure_of: Any) -> None:
    """Hatched: a figure with a remark. Without a useful answer there is no bar."""
    axes = figure_of.subplots(1, 1)
    comparisons = [_comparison(found, load) for load in found["rounds"]]
    names = list(found["unasked"])
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        its = [
            (place, each)
            for place, each in enumerate(comparisons)
            if isfinite(each.samples.get(name, [inf])[0])
        ]
        places = [place + (number - len(names) / 2 + 0.5) * width for place, _ in its]
        hatches = ["////" if each.remark(name) else "" for _, each in its]
        axes.bar(places, [each.value(name) for _, each in its], width, label=name, hatch=hatches)
    axes.set_xticks(range(len(comparisons)), [f"{load}/s" for load in found["rounds"]])
    axes.set_ylabel("CPU of a useful answer, µs")
    axes.legend(fontsize="small")
