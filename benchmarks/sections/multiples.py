"""What a server does when it is offered more than it can do: 0.5 to 10 times its own peak, open loop."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from benchmarks import overload
from benchmarks.comparison import NOT_TRUSTED, Comparison
from benchmarks.contenders import AIOHTTP_NAME, FANOUT_NAME, GO_NAME, contenders
from benchmarks.loads import LATE_ALLOWED
from benchmarks.programs import upstream
from benchmarks.section import OTHER_CORE, Found, Settings, rows
from benchmarks.sections.peak import RETRY_AFTER_S, ask

NAME = "multiples"
TITLE = "Behaviour at 0.5 to 10 times the peak"
MULTIPLES = (0.5, 1.0, 2.0, 4.0, 10.0)
SERVERS = (FANOUT_NAME, AIOHTTP_NAME, GO_NAME)
CLIENTS = 1000  # whose goodput is the peak
HIGHEST_MULTIPLE_RATE = 24_000.0  # more the generator cannot send on time


def run(settings: Settings) -> Found:
    found: dict[str, Any] = {}
    seconds = settings.seconds(3, 2)
    with upstream(settings.folder, OTHER_CORE) as (url, what):
        for name, server in contenders(settings.folder, settings.servers(SERVERS)).items():
            clients = 200 if settings.short else CLIENTS
            peak = ask(server, url, clients, seconds, RETRY_AFTER_S)["useful_per_s"]
            settings.say(f"peak of {name}: {peak:,.0f} useful/s")
            runs = []
            for multiple in MULTIPLES:
                rate = multiple * peak
                if rate > HIGHEST_MULTIPLE_RATE:
                    continue
                one = overload.measure(server, url, "first", "warm", rate, seconds, peak / 2)
                overload.say_run(one)
                runs.append({**asdict(one), "multiple": multiple, "trusted": one.trusted})
            found[name] = {"peak": peak, "runs": runs}
    return {"upstream": what, "seconds": seconds, "servers": found}


def compared(found: Found) -> list[Comparison]:
    """The goodput that a server keeps, as a share of its own peak, and the answers in time."""
    servers: dict[str, Any] = found["servers"]
    return [
        Comparison(
            f"{what} at {multiple:g} × its own peak",
            "%",
            {name: [100 * share(run, peak)] for name, (run, peak) in its.items()},
            {name: _doubts(run, peak) for name, (run, peak) in its.items()},
            more_is_better=True,
        )
        for multiple in MULTIPLES
        if FANOUT_NAME in (its := _at(servers, multiple)) and multiple > 1
        for what, share in (("goodput kept", _kept), ("answers on time", _on_time))
    ]


def _kept(run: Found, peak: float) -> float:
    return float(run["useful"] / peak)


def _on_time(run: Found, _peak: float) -> float:
    return float(run["on_time"])


def _at(servers: dict[str, Any], multiple: float) -> dict[str, tuple[Found, float]]:
    """The run at this multiple, and the peak, of each server that was offered so much."""
    return {
        name: (run, server["peak"])
        for name, server in servers.items()
        for run in server["runs"]
        if run["multiple"] == multiple
    }


def _doubts(run: Found, peak: float) -> str:
    late, others = run["late_launches"], run["others"]
    found = [f"{late:.0%} sent late"] * (late > LATE_ALLOWED)
    found += ["its peak was not found"] * (run["useful"] > 1.1 * peak)
    found += [f"other programs used {others:.0%} of the core"] * (others > overload.ALLOWED_TO_OTHERS)
    return f"{NOT_TRUSTED}: {'; '.join(found)}" if found else ""


def render(found: Found) -> str:
    cells = []
    for name, server in found["servers"].items():
        for run in server["runs"]:
            refusal, after = run["refusal_p99_ms"], run["after_1s"]
            cells.append(
                [
                    name,
                    f"{run['multiple']:g} ×",
                    f"{run['offered']:,.0f}",
                    f"{run['useful']:,.0f}",
                    f"{run['useful'] / server['peak']:.0%}",
                    f"{run['refused']:,.0f}",
                    f"{run['on_time']:.1%}",
                    "–" if refusal is None else f"{refusal:.1f}",
                    "–" if after is None else f"{after:.0%}",
                    _doubts(run, server["peak"]),
                ]
            )
    return (
        f"First, the peak of each server is measured: its goodput with {CLIENTS:,} clients, as above. "
        "Then a fresh process gets half of its peak for two seconds, a multiple of it for "
        f"{found['seconds']} s, and half of it again. *After* is the share of useful answers in the first "
        "second of that. Open loop, `/api/first`, `timeout=1000`. *On time* is the share of all requests "
        "with a complete answer within the timeout, rejections included. No peer sheds load.\n\n"
        + rows(
            [
                "server",
                "offered",
                "offered/s",
                "useful/s",
                "of its peak",
                "rejected/s",
                "on time",
                "rejection p99, ms",
                "after",
                "",
            ],
            cells,
        )
    )


def plot(found: Found, figure_of: Any) -> None:
    axes = figure_of.subplots(1, 1)
    for name, server in found["servers"].items():
        multiples = [run["multiple"] for run in server["runs"]]
        axes.plot(multiples, [run["useful"] / server["peak"] for run in server["runs"]], "o-", label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(MULTIPLES, [f"{multiple:g} ×" for multiple in MULTIPLES])
    axes.set_xlabel("offered, of the server's own peak")
    axes.set_ylabel("useful, of the peak")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")
