"""From the accounts of a run to its report: plain functions over what was counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

from .generator import SLACK_MS, Generator
from .histogram import Latencies
from .outcome import ANSWERED, ON_TIME, OWED, Outcome
from .plan import LoadPlan
from .report import (
    LATE_LAUNCHES_ALLOWED,
    LAYOUT,
    ClientReport,
    EndpointReport,
    LatencyPair,
    LatencySummary,
    PlanReport,
    Report,
    SecondReport,
    Spectrum,
)
from .tally import Account, Second, Tally


@dataclass(frozen=True, slots=True)
class Course:
    """How the run went by the clock: all of it, and the measured part of its schedule (`span_s`)."""

    began: datetime
    elapsed_s: float
    cpu_s: float
    span_s: float
    ended_early: bool


def report_of(generator: Generator, course: Course) -> Report:
    """The report of a finished run."""
    tally = generator.tally
    offered = tally.settled()
    useful = tally.outcomes[Outcome.USEFUL]
    on_time = sum(tally.outcomes[outcome] for outcome in ON_TIME)
    owed = sum(tally.outcomes[outcome] for outcome in OWED)
    groups = _by_outcome(tally.accounts)
    return Report(
        layout=LAYOUT,
        started_at=course.began.astimezone(UTC).isoformat(timespec="milliseconds"),
        plan=_plan(generator.plan),
        ended_early=course.ended_early,
        span_s=course.span_s,
        offered=offered,
        offered_per_s=_share(offered, course.span_s),
        useful=useful,
        useful_per_s=_share(useful, course.span_s),
        useful_share=_share(useful, offered),
        on_time_share=_share(on_time, owed),
        broken_guarantees=tally.broken_guarantees(),
        unasked_answers=tally.unasked_answers,
        outcomes=_counts(tally.outcomes),
        statuses={str(status): count for status, count in sorted(tally.statuses.items())},
        reasons=dict(sorted(tally.reasons.items())),
        latency_ms={name: _pair(account) for name, account in groups.items()},
        spectrum={name: _spectrum(account.from_intended) for name, account in groups.items()},
        endpoints=_endpoints(tally),
        seconds=[_second(number, second) for number, second in sorted(tally.seconds.items())],
        client=_client(generator, course),
        warmup={
            "offered": generator.warmup_tally.settled(),
            "broken_guarantees": generator.warmup_tally.broken_guarantees(),
        },
        verdict=_verdict(tally),
    )


def _verdict(tally: Tally) -> str:
    if tally.broken_guarantees():
        return "broken"
    if tally.outcomes[Outcome.USEFUL]:
        return "kept"
    unreachable = tally.outcomes[Outcome.NOT_CONNECTED]
    return "unreachable" if unreachable and unreachable == tally.settled() else "useless"


def _plan(plan: LoadPlan) -> PlanReport:
    return PlanReport(
        url=plan.target.url,
        mix={endpoint.name: weight for endpoint, weight in plan.mix},
        rate_per_s=plan.rate_per_s,
        arrivals=plan.arrivals,
        duration_s=plan.duration_s,
        requests=plan.requests,
        ramp_s=plan.ramp_s,
        warmup_s=plan.warmup_s,
        timeouts_ms=list(plan.timeouts_ms),
        allowance_ms=plan.allowance_ms,
        give_up_ms=plan.give_up_ms,
        keep_alive=plan.keep_alive,
        max_connections=plan.max_connections,
        hang_up_share=plan.hang_up_share,
        hang_up_within_ms=plan.hang_up_within_ms,
        seed=plan.seed,
    )


def _client(generator: Generator, course: Course) -> ClientReport:
    lateness = generator.lateness
    late_share = _share(generator.late_launches, generator.launched)
    return ClientReport(
        kept_schedule=late_share <= LATE_LAUNCHES_ALLOWED and generator.held_back == 0,
        launch_lateness_ms={"p50": lateness.at(50), "p99": lateness.at(99), "max": lateness.max_ms()},
        slack_ms=SLACK_MS,
        late_launches=generator.late_launches,
        late_launch_share=late_share,
        held_back=generator.held_back,
        connections_opened=generator.opened,
        connections_peak=generator.open_peak,
        cpu_s=course.cpu_s,
        cpu_us_per_request=_share(course.cpu_s * 1e6, generator.launched),
        cpu_share=_share(course.cpu_s, course.elapsed_s),
    )


def _endpoints(tally: Tally) -> dict[str, EndpointReport]:
    reports: dict[str, EndpointReport] = {}
    for endpoint in sorted({name for name, _ in tally.accounts}):
        own = {key: account for key, account in tally.accounts.items() if key[0] == endpoint}
        outcomes = {outcome.value: account.count for (_, outcome), account in own.items()}
        reports[endpoint] = EndpointReport(
            offered=sum(outcomes.values()),
            outcomes=outcomes,
            latency_ms={name: _pair(account) for name, account in _by_outcome(own).items()},
        )
    return reports


def _by_outcome(accounts: dict[tuple[str, Outcome], Account]) -> dict[str, Account]:
    """The accounts that have latencies, added up by outcome, and all of them as `answered`."""
    groups: dict[str, Account] = {"answered": Account()}
    for outcome in ANSWERED:
        for (_, booked), account in accounts.items():
            if booked is not outcome:
                continue
            for group in (groups["answered"], groups.setdefault(outcome.value, Account())):
                group.from_intended.add(account.from_intended)
                group.from_written.add(account.from_written)
    return groups


def _pair(account: Account) -> LatencyPair:
    return {"from_intended": _summary(account.from_intended), "from_written": _summary(account.from_written)}


def _summary(latencies: Latencies) -> LatencySummary:
    return LatencySummary(
        count=latencies.count,
        mean=latencies.mean_ms(),
        min=latencies.min_ms(),
        p50=latencies.at(50),
        p90=latencies.at(90),
        p99=latencies.at(99),
        p99_9=latencies.at(99.9),
        p99_99=latencies.at(99.99),
        max=latencies.max_ms(),
    )


def _spectrum(latencies: Latencies) -> Spectrum:
    return Spectrum(
        points=[
            {"percentile": percentile, "latency_ms": latency_ms, "count": count}
            for percentile, latency_ms, count in latencies.spectrum()
        ],
        hdr=latencies.encoded(),
    )


def _second(number: int, second: Second) -> SecondReport:
    ordered = sorted(second.useful_latencies_s)
    return SecondReport(
        second=number,
        offered=second.outcomes.total(),
        outcomes=_counts(second.outcomes),
        p50_ms=quantile(ordered, 0.50) * 1000,
        p99_ms=quantile(ordered, 0.99) * 1000,
    )


def quantile(ordered: list[float], share: float) -> float:
    """The smallest of the sorted values that `share` of them do not exceed; 0.0 when there are none."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


def _counts(outcomes: Counter[Outcome]) -> dict[str, int]:
    return {outcome.value: outcomes[outcome] for outcome in Outcome if outcomes[outcome]}


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
