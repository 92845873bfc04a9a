"""The result of a run as one JSON object. The text table and the HTML plot are drawn from it alone.

Latencies are milliseconds and come twice: `from_intended` counts from the time the schedule gave the request
(no coordinated omission: a stall shows in every request it held up), `from_written` from the moment its bytes
were written, which is what `timeout` is judged by. Keys never change their meaning within one `layout`.
"""

from __future__ import annotations

from typing import TypedDict

LAYOUT = 1
LATE_LAUNCHES_ALLOWED = 0.01  # a larger share of late launches is a schedule not kept


class LatencySummary(TypedDict):
    """One distribution. All values 0.0 when `count` is 0."""

    count: int
    mean: float
    min: float
    p50: float
    p90: float
    p99: float
    p99_9: float
    p99_99: float
    max: float


class LatencyPair(TypedDict):
    """The same requests measured from their intended start and from the moment they were written."""

    from_intended: LatencySummary
    from_written: LatencySummary


class SpectrumPoint(TypedDict):
    """`count` answers, `percentile` % of all, took `latency_ms` or less."""

    percentile: float
    latency_ms: float
    count: int


class Spectrum(TypedDict):
    """Every percentile from the intended start, and the histogram in HdrHistogram's own encoding (µs)."""

    points: list[SpectrumPoint]
    hdr: str


class SecondReport(TypedDict):
    """One second of the schedule; `outcomes` leaves out zeros. The latencies are those of useful answers."""

    second: int
    offered: int
    outcomes: dict[str, int]
    p50_ms: float
    p99_ms: float


class EndpointReport(TypedDict):
    """One endpoint of the mix."""

    offered: int
    outcomes: dict[str, int]
    latency_ms: dict[str, LatencyPair]


class PlanReport(TypedDict):
    """What was asked for."""

    url: str
    mix: dict[str, float]
    rate_per_s: float
    arrivals: str
    duration_s: float | None
    requests: int | None
    ramp_s: float
    warmup_s: float
    timeouts_ms: list[int]
    allowance_ms: float
    give_up_ms: float
    keep_alive: bool
    max_connections: int
    hang_up_share: float
    hang_up_within_ms: float
    seed: int


class LatenessReport(TypedDict):
    """How late requests were launched, by their intended start."""

    p50: float
    p99: float
    max: float


class ClientReport(TypedDict):
    """How well the generator itself did: believe the rest only when `kept_schedule` is true."""

    kept_schedule: bool  # at most 1 % of the launches were later than `slack_ms`, and none was held back
    launch_lateness_ms: LatenessReport
    slack_ms: float
    late_launches: int
    late_launch_share: float
    held_back: int  # launches that waited because `max_connections` were open
    connections_opened: int
    connections_peak: int
    cpu_s: float  # of this process, from the first launch to the last answer
    cpu_us_per_request: float
    cpu_share: float  # of one core


class WarmupReport(TypedDict):
    """Requests of the warm-up, which count nowhere else."""

    offered: int
    broken_guarantees: int


class Report(TypedDict):
    """The whole result. `latency_ms` and `spectrum` have the keys `answered` (all complete answers) and one
    for every outcome that has any."""

    layout: int
    started_at: str  # UTC, ISO 8601
    plan: PlanReport
    ended_early: bool
    span_s: float  # the measured part of the schedule; the rates below are over it
    offered: int
    offered_per_s: float
    useful: int
    useful_per_s: float
    useful_share: float  # of what was offered
    on_time_share: float  # of the requests that were owed an answer; refusals are answers
    broken_guarantees: int
    unasked_answers: int  # answers that belong to no request: broken guarantees too
    outcomes: dict[str, int]
    statuses: dict[str, int]
    reasons: dict[str, int]
    latency_ms: dict[str, LatencyPair]
    spectrum: dict[str, Spectrum]
    endpoints: dict[str, EndpointReport]
    seconds: list[SecondReport]
    client: ClientReport
    warmup: WarmupReport
    verdict: str  # "kept", "broken", "useless": no useful answer, or "unreachable": no request could be sent
