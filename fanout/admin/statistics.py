"""The snapshot of one process that `/statistics`, `/metrics` and the live page show."""

from __future__ import annotations

from dataclasses import dataclass

from fanout.api.load_shedding import LoadSheddingStatistics
from fanout.observe.leak_check import LeakStatistics
from fanout.observe.log_writer import LogStatistics
from fanout.observe.loop import LoopStatistics
from fanout.observe.metrics import RequestStatistics
from fanout.observe.tracing_settings import TracingStatistics
from fanout.race.admission import AdmissionStatistics
from fanout.server.statistics import DriverStatistics
from fanout.upstream.statistics import TransportStatistics


@dataclass(frozen=True, slots=True)
class ServiceStatistics:
    version: str
    uptime_s: float
    draining: bool
    restarts: int
    admission: AdmissionStatistics
    overload: LoadSheddingStatistics
    connections: DriverStatistics
    requests: RequestStatistics
    loop: LoopStatistics
    upstream: TransportStatistics
    traces: TracingStatistics | None
    leak_check: LeakStatistics | None
    logs: LogStatistics | None
