"""The most useful answers a second, asked by clients that wait for each answer before they ask again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from time import sleep
from typing import Any

from benchmarks.comparison import Comparison, shown_ratio
from benchmarks.contenders import (
    AIOHTTP_NAME,
    BASE_NAME,
    FANOUT_NAME,
    FASTAPI_AIOHTTP_NAME,
    GO_NAME,
    GRANIAN_NAME,
    PATIENT_NAME,
    contenders,
)
from benchmarks.loads import START_S, Cores, beside, on_time_share
from benchmarks.programs import Server, running, upstream
from benchmarks.section import OTHER_CORE, SERVER_CORE, Found, Settings, figure, rows

NAME = "peak"
TITLE = "Peak useful rate"
CLIENTS = (200, 1000)
SERVERS = (FANOUT_NAME, PATIENT_NAME, AIOHTTP_NAME, FASTAPI_AIOHTTP_NAME, GRANIAN_NAME, GO_NAME)
IN_THE_FIRST_ROUND = (FASTAPI_AIOHTTP_NAME, GRANIAN_NAME)  # only: their peak is far below
ROUNDS = 3
WARMUP_S = 1.5
AT_ONCE_NAME = "fanout, asked again at once"
RETRY_AFTER_S = 1.0  # as fanout asks for
COLUMNS = (
    *("clients", "server", "useful/s", f"ratio to {BASE_NAME}", "rejected/s", "on time", "useful p99, ms"),
    *("core of the server, others", "limited, if not by the server, by"),
)
LIMITED_BY = "limited by"
FULL = 0.93  # of a core: it is what limits


def run(settings: Settings) -> Found:
    with upstream(settings.folder, OTHER_CORE) as (url, what):
        servers = contenders(settings.folder, settings.servers(SERVERS))
        return {"upstream": what, **measure(settings, servers, url, CLIENTS, ROUNDS)}


def measure(
    settings: Settings,
    servers: Mapping[str, Server],
    url: str,
    clients: Sequence[int],
    rounds: int,
    at_once: bool = True,
) -> Found:
    """Each server under so many clients, in turn; fanout also under those who do not heed `Retry-After`.

    at_once: whether to measure the latter.
    """
    rounds, seconds = settings.times(rounds), settings.seconds(4, 2)
    found: list[Any] = []
    for number in range(rounds):
        for count in clients:
            one = {
                name: ask(server, url, count, seconds, RETRY_AFTER_S)
                for name, server in servers.items()
                if number == 0 or name not in IN_THE_FIRST_ROUND
            }
            if at_once:
                one[AT_ONCE_NAME] = ask(servers[FANOUT_NAME], url, count, seconds)
            found.append({"clients": count, "servers": one})
            settings.say(
                f"round {number + 1} of {rounds}, {count} clients: "
                + ", ".join(f"{name} {got['useful_per_s']:.0f}/s" for name, got in one.items())
            )
    return {"seconds": seconds, "rounds": found}


def ask(server: Server, upstream_url: str, clients: int, seconds: int, retry_after_s: float = 0) -> Found:
    """One fresh process under clients that wait: for each answer, and so long when they are refused.

    Shares are 0 to 1.
    """
    with running(server, upstream_url, SERVER_CORE) as program:
        words = map(str, (clients, WARMUP_S, seconds, retry_after_s))
        with beside("closed_loop", program.url, "first", "1000", *words) as load:
            sleep(START_S + WARMUP_S)
            cores = Cores()
            sleep(seconds - START_S / 2)  # the clients must still be there
            server_core, other_core = cores.shares()[:2]
            report = json.loads(load.communicate()[0])
    return {
        "useful_per_s": report["useful_per_s"],
        "refused_per_s": report["outcomes"].get("refused", 0) / report["span_s"],
        "on_time": on_time_share(report),
        "p99_ms": report["latency_ms"].get("useful", {}).get("from_written", {}).get("p99"),
        "server_core": server_core,
        "other_core": other_core,
        "generator_share": report["client"]["cpu_share"],
    }


def render(found: Found) -> str:
    return (
        "Closed loop: each client sends its next `/api/first?timeout=1000` when it has the answer to the "
        f"last, for {found['seconds']} s after {WARMUP_S:g} s of warm-up. *Useful* is a 200 with the right "
        "body within the timeout. An answer takes 280 ms, so 200 clients cannot get more than about 700 per "
        "second from any server. A client that is rejected waits for a second, as `Retry-After` says. In the "
        "rows *asked again at once* it retries at once, the worst that clients can do: the server spends on "
        "rejections what it cannot spend on answers, and the generator decides how many there are. The last "
        "columns show how busy the cores were, first the server's, then that of the generator and the "
        "upstream. A full core is the limit: the server's own where the last column is empty. FastAPI: one "
        "round.\n\n" + table(found)
    )


def table(found: Found) -> str:
    cells = []
    for clients in sorted({one["clients"] for one in found["rounds"]}):
        comparison = _comparison(found, clients)
        taken = _taken(found, clients)
        cells += [[f"{clients:,}", *_row(name, taken, comparison)] for name in taken[0]]
    return rows(COLUMNS, cells)


def _taken(found: Found, clients: int) -> list[Any]:
    return [one["servers"] for one in found["rounds"] if one["clients"] == clients]


def _row(name: str, taken: list[Any], comparison: Comparison) -> list[str]:
    """The cells of one server over its rounds."""

    def mid(key: str) -> float:
        return figure([one[name][key] or 0.0 for one in taken if name in one]).value

    return [
        name,
        comparison.shown(name),
        shown_ratio(comparison.ratio_to(name, BASE_NAME)),
        f"{mid('refused_per_s'):,.0f}",
        f"{mid('on_time'):.1%}",
        f"{mid('p99_ms'):,.0f}",
        f"{mid('server_core'):.0%}, {mid('other_core'):.0%}",
        comparison.remark(name).removeprefix(f"{LIMITED_BY} "),
    ]


def compared(found: Found, suffix: str = "") -> list[Comparison]:
    """fanout's row, that of clients who ask again at once, and that without load shedding."""
    return [
        _comparison(found, clients, ours, suffix)
        for clients in sorted({one["clients"] for one in found["rounds"]})
        for ours in (FANOUT_NAME, AT_ONCE_NAME, PATIENT_NAME)
        if ours in _taken(found, clients)[0]
    ]


def _comparison(found: Found, clients: int, ours: str = FANOUT_NAME, suffix: str = "") -> Comparison:
    taken = _taken(found, clients)
    of_each = {name: [one[name] for one in taken if name in one] for name in taken[0]}
    return Comparison(
        f"goodput in answers per second, {clients:,} clients{suffix}{ours.removeprefix(FANOUT_NAME)}",
        "",
        {name: [one["useful_per_s"] for one in its] for name, its in of_each.items()},
        {name: _limit(its) for name, its in of_each.items()},
        more_is_better=True,
        ours=ours,
    )


def _limit(its: Sequence[Found]) -> str:
    """What limited a server's figure, if it was not its own core."""

    def is_full(key: str) -> bool:
        return figure([one[key] for one in its]).value > FULL

    limits = [word for word, key in (("server", "server_core"), ("generator", "other_core")) if is_full(key)]
    return "" if limits == ["server"] else f"{LIMITED_BY} {' and '.join(limits) or 'the clients'}"


def plot(found: Found, figure_of: Any) -> None:
    axes = figure_of.subplots(1, 1)
    names = list(found["rounds"][0]["servers"])
    width = 0.8 / len(CLIENTS)
    for number, clients in enumerate(CLIENTS):
        taken = [one["servers"] for one in found["rounds"] if one["clients"] == clients]
        heights = [
            figure([one[name]["useful_per_s"] for one in taken if name in one]).value for name in names
        ]
        places = [place + (number - len(CLIENTS) / 2 + 0.5) * width for place in range(len(names))]
        axes.bar(places, heights, width, label=f"{clients:,} clients")
    axes.set_xticks(range(len(names)), names, fontsize="small")
    axes.set_ylabel("useful answers a second")
    axes.legend(fontsize="small")
