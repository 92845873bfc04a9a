"""A report as a table for people. Plain text, at most 100 columns, a longer URL aside."""

from __future__ import annotations

from textwrap import wrap

from .outcome import BROKEN_GUARANTEES, Outcome
from .report import LATE_LAUNCHES_ALLOWED, LatencySummary, Report

_WORDS = {
    Outcome.USEFUL: "useful (200 in time)",
    Outcome.REFUSED: "refused (503)",
    Outcome.DEADLINE: "500 deadline",
    Outcome.NO_SUCCESS: "500 no success",
    Outcome.OTHER: "other status",
    Outcome.LATE: "! late",
    Outcome.MISSING: "! no answer",
    Outcome.BROKEN: "! broken off",
    Outcome.MALFORMED: "! not HTTP",
    Outcome.WRONG_BODY: "! wrong body",
    Outcome.LEFT: "left by the client",
    Outcome.CROSSED: "crossed a close",
    Outcome.NOT_CONNECTED: "not connected",
    Outcome.ABANDONED: "cut by the client",
}
_FIXES = {
    Outcome.REFUSED: "lower --rate, or raise FANOUT_MAX_IN_FLIGHT of the server",
    Outcome.DEADLINE: "raise --timeout-ms, or look at the upstream",
    Outcome.NO_SUCCESS: "look at the upstream, all of its calls failed",
    Outcome.OTHER: "look at the reasons, and check --timeout-ms",
    Outcome.LEFT: "lower --hang-up",
    Outcome.ABANDONED: "let the run end",
}  # when that is what most of the requests got, and none was useful
_WIDTH = 100
_ALWAYS_SHOWN = (Outcome.USEFUL, Outcome.REFUSED)
_COLUMNS: tuple[tuple[str, str], ...] = (
    ("p50", "p50"),
    ("p90", "p90"),
    ("p99", "p99"),
    ("p99.9", "p99_9"),
    ("max", "max"),
)


def text_of(report: Report) -> str:
    """The whole table: outcomes, latencies, the client's own state, the verdict."""
    blocks = (_heading(report), _outcomes(report), _latencies(report), _rates(report), _client(report))
    return "\n\n".join(["\n".join(block) for block in blocks if block] + [verdict_line(report)])


def verdict_line(report: Report) -> str:
    """One line: what the run says about the guarantees."""
    if report["verdict"] == "unreachable":
        return "COULD NOT RUN: not one request found a connection"
    if report["verdict"] == "kept":
        return "every guarantee kept"
    if report["verdict"] == "useless":
        return _useless_line(report["outcomes"])
    parts = [
        f"{report['outcomes'][outcome]} {_WORDS[outcome].removeprefix('! ')}"
        for outcome in BROKEN_GUARANTEES
        if report["outcomes"].get(outcome)
    ]
    if report["unasked_answers"]:
        parts.append(f"{report['unasked_answers']} answers to no request")
    return f"GUARANTEES BROKEN: {', '.join(parts)}"


def _useless_line(outcomes: dict[str, int]) -> str:
    if not outcomes:
        return "NO USEFUL ANSWER: nothing was measured: let the run take longer"
    counts = ", ".join(f"{count} {_WORDS[Outcome(name)]}" for name, count in outcomes.items())
    most_frequent = Outcome(max(outcomes, key=lambda name: outcomes[name]))
    return f"NO USEFUL ANSWER, only {counts}: {_FIXES.get(most_frequent, 'run it again')}"


def warnings_of(report: Report) -> list[str]:
    """What makes the figures less than they seem, one line each."""
    client = report["client"]
    lines = []
    if client["late_launch_share"] > LATE_LAUNCHES_ALLOWED:
        lines.append(
            f"the generator did not keep its schedule: {client['late_launch_share']:.1%} of the requests "
            f"were sent more than {client['slack_ms']:.0f} ms late; lower --rate or give it its own core"
        )
    if client["held_back"]:
        lines.append(
            f"the generator did not keep its schedule: {client['held_back']} requests waited for one of "
            f"--connections {report['plan']['max_connections']}; raise it"
        )
    if not_connected := report["outcomes"].get(Outcome.NOT_CONNECTED):
        lines.append(f"{not_connected} requests found no connection: {_reasons(report)}")
    if broken := report["warmup"]["broken_guarantees"]:
        lines.append(f"{broken} guarantees were broken in the warm-up, which is not counted")
    return lines


def _reasons(report: Report) -> str:
    return ", ".join(f"{name} {count}" for name, count in report["reasons"].items())


def _heading(report: Report) -> list[str]:
    plan = report["plan"]
    bound = f"{plan['duration_s']:g} s" if plan["requests"] is None else f"{plan['requests']} requests"
    mix = ",".join(f"{name}={weight:g}" for name, weight in plan["mix"].items())
    timeouts = ",".join(map(str, plan["timeouts_ms"]))
    early = ", ended early" if report["ended_early"] else ""
    return [
        f"{plan['url']}  {mix}  timeout {timeouts} ms",
        f"{plan['rate_per_s']:g}/s {plan['arrivals']} for {bound}{early}",
    ]


def _outcomes(report: Report) -> list[str]:
    endpoints = report["endpoints"]
    several = len(endpoints) > 1
    names = list(endpoints) if several else []
    lines = [f"{'':<22}" + "".join(f"{name:>11}" for name in (*names, "requests", "share"))]
    for outcome in Outcome:
        count = report["outcomes"].get(outcome, 0)
        if not count and outcome not in _ALWAYS_SHOWN:
            continue
        own = [f"{endpoints[name]['outcomes'].get(outcome, 0):>11,}" for name in names]
        share = count / report["offered"] if report["offered"] else 0.0
        lines.append(f"{_WORDS[outcome]:<22}{''.join(own)}{count:>11,}{share:>11.2%}")
    own = [f"{endpoints[name]['offered']:>11,}" for name in names]
    lines.append(f"{'offered':<22}{''.join(own)}{report['offered']:>11,}")
    if report["reasons"]:
        lines += wrap(f"reasons: {_reasons(report)}", _WIDTH, subsequent_indent="  ")
    return lines


def _latencies(report: Report) -> list[str]:
    lines = [f"{'latency, ms':<34}" + "".join(f"{title:>10}" for title, _ in _COLUMNS)]
    for name, pair in report["latency_ms"].items():
        if name == "answered" and len(report["latency_ms"]) == 2:
            continue  # the only outcome there is says the same
        lines.append(_row(f"{name}, from intended start", pair["from_intended"]))
        lines.append(_row(f"{name}, from bytes written", pair["from_written"]))
    return lines if len(lines) > 1 else []


def _row(title: str, summary: LatencySummary) -> str:
    figures = (summary["p50"], summary["p90"], summary["p99"], summary["p99_9"], summary["max"])
    return f"{title:<34}" + "".join(f"{figure:>10.2f}" for figure in figures)


def _rates(report: Report) -> list[str]:
    return [
        f"offered {report['offered_per_s']:.1f}/s, useful {report['useful_per_s']:.1f}/s, "
        f"answered on time {report['on_time_share']:.3%}"
    ]


def _client(report: Report) -> list[str]:
    client = report["client"]
    late = client["launch_lateness_ms"]
    lines = [
        f"generator: {client['cpu_s']:.2f} s CPU ({client['cpu_us_per_request']:.0f} µs a request, "
        f"{client['cpu_share']:.0%} of a core), {client['connections_opened']} connections",
        f"sent after the intended start: p50 {late['p50']:.2f} ms, p99 {late['p99']:.2f} ms, "
        f"max {late['max']:.2f} ms; {client['late_launch_share']:.2%} later than {client['slack_ms']:.0f} ms",
    ]
    for warning in warnings_of(report):
        lines += wrap(f"WARNING: {warning}", _WIDTH, subsequent_indent="  ", break_long_words=False)
    return lines
