"""What a server does with more than it can do: useful answers at 1, 2, 4 and 10 times its own peak.

    python -m benchmarks.overload
    python -m benchmarks.overload --servers fanout --endpoint all --repeat 3 --json overload.json

Arrivals are open-loop, on schedule whatever happens. *Useful* is a 200 with the promised body within
`timeout` (1000 ms) as the client sees it, without any allowance; *on time* is any complete answer within it,
rejections included, of all that was offered. The peak is the best useful rate that any offered rate brings,
searched first, for each server. Then each multiple of the peak is offered: `warm` after two seconds of half
the peak, `cold` to a process just started. Afterwards half the peak is offered again: the share of it that is
useful in the first and in the second second. Each repeat first offers the rate of the peak again, because the
machine changes from minute to minute: *of peak* is the share of what this brings, *of best* that of the best
of the search.

The server has one core, the upstream and the generator have the other. What cannot be trusted is said and,
if there is another run, left out: the generator did not keep its schedule (over 1 % of the requests sent more
than 5 ms late), or another program took more than 5 % of the server's core.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click

from benchmarks.programs import Server, running, servers, upstream
from fanout.tools.load.outcome import ON_TIME, Outcome

TIMEOUT_MS = 1000
MULTIPLES = (1, 2, 4, 10)
SERVER_CORE, OTHER_CORE = 0, 1
WARM_S, AFTER_S = 2, 2
SEARCH_S = 3
FIRST_RATE = 400.0
STEP_UP = 1.3
PAST_THE_KNEE = 1.3  # of the peak: what is offered to bring it, if it was not looked for
FINE_STEPS = (0.9, 1.1, 1.2)  # around the best of the coarse ones
ALLOWED_TO_OTHERS = 0.05  # of the server's core


@dataclass(frozen=True, slots=True)
class Run:
    """One server under one load. Rates are a second; shares are 0 to 1; `None`: there was none."""

    server: str
    endpoint: str
    start: str
    multiple: float
    offered: float
    useful: float
    refused: float
    on_time: float
    refusal_p50_ms: float | None
    refusal_p99_ms: float | None
    useful_p99_ms: float | None
    after_1s: float | None
    after_2s: float | None
    outcomes: dict[str, int]
    load_average: float
    late_launches: float
    others: float  # share of the server's core that other programs have used
    cpu_ms_per_useful: float
    memory_mib: float
    peak_now: float = 0.0  # useful, of the same server minutes before

    @property
    def trusted(self) -> bool:
        return self.late_launches <= 0.01 and self.others <= ALLOWED_TO_OTHERS


class Peak(NamedTuple):
    """The best useful rate, and the offered one that brought it."""

    offered: float
    useful: float


def measure(
    server: Server, upstream_url: str, endpoint: str, start: str, rate: float, seconds: int, half: float
) -> Run:
    """One fresh process under `rate` for `seconds`. `half`: half the peak, before (if warm) and after."""
    warm_s = WARM_S if start == "warm" else 0
    after_s = AFTER_S if half != rate else 0
    steps = [f"{r:g}x{s}" for r, s in ((half, warm_s), (rate, seconds), (half, after_s)) if s]
    load_average = os.getloadavg()[0]
    with running(server, upstream_url, SERVER_CORE) as program:
        others_s, cpu_s = program.others_s(SERVER_CORE), program.cpu_s()
        command = [sys.executable, "-m", "benchmarks.stepped_load", program.url, endpoint, str(TIMEOUT_MS)]
        done = subprocess.run(
            ["taskset", "-c", str(OTHER_CORE), *command, *steps],
            stdout=subprocess.PIPE,
            check=True,
            cwd=Path(__file__).parent.parent,
        )
        others_s, cpu_s = program.others_s(SERVER_CORE) - others_s, program.cpu_s() - cpu_s
        memory_mib = program.peak_memory_mib()
    report = json.loads(done.stdout)
    by_second = {second["second"]: second for second in report["seconds"]}

    def outcomes(seconds: Iterable[int]) -> Counter[str]:
        total: Counter[str] = Counter()
        for second in seconds:
            total.update(by_second.get(second, {"outcomes": {}})["outcomes"])
        return total

    def useful_share(second: int) -> float | None:
        found = outcomes([second])
        return found[Outcome.USEFUL] / found.total() if after_s else None

    def latency(outcome: Outcome, percentile: str) -> float | None:
        pair = report["latency_ms"].get(outcome)
        return pair["from_written"][percentile] if pair else None

    during = outcomes(range(warm_s, warm_s + seconds))
    # A generator that is behind offers the same requests in a longer time.
    lasted_s = seconds + report["client"]["launch_lateness_ms"]["max"] / 1000
    judged = during.total() - during[Outcome.CROSSED]
    return Run(
        server=server.name,
        endpoint=endpoint,
        start=start,
        multiple=rate / (2 * half),
        offered=during.total() / lasted_s,
        useful=during[Outcome.USEFUL] / lasted_s,
        refused=during[Outcome.REFUSED] / lasted_s,
        on_time=sum(during[outcome] for outcome in ON_TIME) / judged,
        refusal_p50_ms=latency(Outcome.REFUSED, "p50"),
        refusal_p99_ms=latency(Outcome.REFUSED, "p99"),
        useful_p99_ms=latency(Outcome.USEFUL, "p99"),
        after_1s=useful_share(warm_s + seconds),
        after_2s=useful_share(warm_s + seconds + 1),
        outcomes=dict(during),
        load_average=load_average,
        late_launches=report["client"]["late_launch_share"],
        others=others_s / (warm_s + seconds + after_s),
        cpu_ms_per_useful=cpu_s * 1000 / max(1, report["useful"]),
        memory_mib=memory_mib,
    )


def find_peak(
    server: Server,
    upstream_url: str,
    endpoint: str,
    say: Callable[[Run], None],
    first_rate: float = FIRST_RATE,
) -> Peak:
    """The best useful rate: coarse steps up until it has not come with the offered one twice (once may be the
    machine), then finer ones around the best."""
    useful: dict[float, float] = {}

    def offer(rate: float) -> float:
        run = measure(server, upstream_url, endpoint, "warm", rate, SEARCH_S, rate)
        say(run)
        useful[rate] = run.useful
        return run.useful

    rate, failed = first_rate, 0
    while failed < 2:
        failed = 0 if offer(rate) > 0.9 * rate else failed + 1
        rate *= STEP_UP
    best = max(useful, key=useful.__getitem__)
    for factor in FINE_STEPS:
        offer(best * factor)
    best = max(useful, key=useful.__getitem__)
    return Peak(best, useful[best])


def table(runs: Sequence[Run], peaks: dict[tuple[str, str], Peak]) -> str:
    """Markdown: a row for each server, endpoint, start and multiple, the median of its trusted runs."""
    rows = [
        "| server | load | offered/s | useful/s | of peak | of best | refused/s | on time "
        "| refusal p50 / p99, ms | useful in the 1st, 2nd second after | runs | remark |",
        "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --- |",
    ]
    cells: dict[tuple[str, str, str, float], list[Run]] = {}
    for run in runs:
        cells.setdefault((run.server, run.endpoint, run.start, run.multiple), []).append(run)
    for (name, endpoint, start, multiple), cell in cells.items():
        good = [run for run in cell if run.trusted]
        kept = good or cell
        best = peaks[name, endpoint].useful

        def mid(value: Callable[[Run], float | None], kept: list[Run] = kept) -> float | None:
            values = [v for run in kept if (v := value(run)) is not None]
            return median(values) if values else None

        useful = mid(lambda run: run.useful) or 0.0
        refusal = (mid(lambda run: run.refusal_p50_ms), mid(lambda run: run.refusal_p99_ms))
        after = (mid(lambda run: run.after_1s), mid(lambda run: run.after_2s))
        rows.append(
            f"| {name} | `{endpoint}` {start} {multiple:g} × | {mid(lambda run: run.offered) or 0:,.0f} "
            f"| {useful:,.0f} | {mid(lambda run: run.useful / run.peak_now) or 0:.0%} | {useful / best:.0%} "
            f"| {mid(lambda run: run.refused) or 0:,.0f} "
            f"| {mid(lambda run: run.on_time) or 0:.2%} "
            f"| {' / '.join('–' if ms is None else f'{ms:.1f}' for ms in refusal)} "
            f"| {', '.join('–' if share is None else f'{share:.0%}' for share in after)} "
            f"| {len(good)} of {len(cell)} | {remark(kept)} |"
        )
    return "\n".join(rows)


def remark(runs: Sequence[Run]) -> str:
    words = []
    late = max(run.late_launches for run in runs)
    if late > 0.01:
        words.append(f"generator off schedule: {late:.0%} sent late")
    others = max(run.others for run in runs)
    if others > ALLOWED_TO_OTHERS:
        words.append(f"other programs used {others:.0%} of the core")
    return "; ".join(words)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--servers", default="fanout,aiohttp,go", help="a comma between two")
    parser.add_argument("--endpoint", choices=("first", "all", "both"), default="both")
    parser.add_argument("--start", choices=("warm", "cold", "both"), default="both")
    parser.add_argument("--seconds", type=int, default=5, help="of overload in a run")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--multiples", default=",".join(map(str, MULTIPLES)))
    parser.add_argument("--peak", type=float, help="useful answers a second; found if it is not given")
    parser.add_argument(
        "--fanout-option", action="append", default=[], metavar="OPTION", help="for its serve"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run there")
    options = parser.parse_args()
    endpoints = ("first", "all") if options.endpoint == "both" else (options.endpoint,)
    starts = ("warm", "cold") if options.start == "both" else (options.start,)
    multiples = [float(text) for text in options.multiples.split(",")]
    runs: list[Run] = []
    peaks: dict[tuple[str, str], Peak] = {}

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        known = servers(folder, options.fanout_option)
        wanted = options.servers.split(",")
        missing = [name for name in wanted if name not in known]
        if missing:
            say(f"left out, not on this machine: {', '.join(missing)}")
        contenders = [known[name] for name in wanted if name in known]
        with upstream(folder, OTHER_CORE) as (upstream_url, what):
            for endpoint in endpoints:
                for server in contenders:
                    if options.peak:
                        peak = Peak(options.peak * PAST_THE_KNEE, options.peak)
                    else:
                        peak = find_peak(server, upstream_url, endpoint, say_run)
                    peaks[server.name, endpoint] = peak
                    say(f"peak of {server.name}, {endpoint}: {peak.useful:,.0f} useful/s")
                for _ in range(options.repeat):
                    for start in starts:
                        now: dict[str, float] = {}
                        for multiple in (0.0, *multiples):
                            for server in contenders:
                                peak = peaks[server.name, endpoint]
                                rate, half = multiple * peak.useful or peak.offered, peak.useful / 2
                                run = measure(
                                    server, upstream_url, endpoint, start, rate, options.seconds, half
                                )
                                say_run(run)
                                if multiple:
                                    runs.append(replace(run, peak_now=now[server.name]))
                                else:
                                    now[server.name] = run.useful
    runs.sort(key=lambda run: (run.endpoint != "first", [s.name for s in contenders].index(run.server)))
    click.echo(
        f"Server on core {SERVER_CORE}; generator and upstream ({what}) on core {OTHER_CORE}. "
        f"Load average before the runs: {span(run.load_average for run in runs)}. "
        f"Timeout {TIMEOUT_MS} ms, {options.seconds} s a run, median of {options.repeat}.\n"
    )
    for (server_name, endpoint), peak in peaks.items():
        click.echo(
            f"- peak of {server_name}, `{endpoint}`: {peak.useful:,.0f} useful answers a second, "
            f"of {peak.offered:,.0f} offered"
        )
    click.echo(f"\n{table(runs, peaks)}")
    if options.json:
        document = {"peaks": {" ".join(key): peak.useful for key, peak in peaks.items()}, "upstream": what}
        options.json.write_text(json.dumps({**document, "runs": [asdict(run) for run in runs]}, indent=1))


def span(values: Iterable[float]) -> str:
    found = list(values)
    return f"{min(found):.1f} to {max(found):.1f}"


def say_run(run: Run) -> None:
    p99 = "–" if run.refusal_p99_ms is None else f"{run.refusal_p99_ms:.1f} ms"
    say(
        f"{run.server} {run.endpoint} {run.start}: offered {run.offered:,.0f}/s, useful {run.useful:,.0f}/s, "
        f"refused {run.refused:,.0f}/s (p99 {p99}), on time {run.on_time:.2%}, "
        f"CPU {run.cpu_ms_per_useful:.2f} ms/useful, sent late {run.late_launches:.1%}, "
        f"others on the core {run.others:.0%}, load {run.load_average:.1f}"
    )


def say(line: str) -> None:
    click.echo(line, err=True)


if __name__ == "__main__":
    main()
