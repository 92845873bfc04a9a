"""How the process is, in the few numbers that the live page draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanout.admin.statistics import ServiceStatistics
    from fanout.upstream.statistics import OriginStatistics


def vitals(statistics: ServiceStatistics) -> dict[str, Any]:
    """Gauges, and counts since the start; made of JSON's own types."""
    origins = statistics.upstream.origins
    broken = statistics.requests.guarantees_broken
    return {
        "uptime_s": statistics.uptime_s,
        "draining": statistics.draining,
        "in_flight": statistics.admission.in_flight,
        "limit": statistics.admission.limit,
        "refused_unread": statistics.overload.refused,
        "tasks": statistics.loop.tasks,
        "late_ms": statistics.loop.lateness_ms,
        "pass_ms": statistics.loop.usual_iteration_ms,
        "pool_in_use": sum(origin.in_use for origin in origins),
        "pool_idle": sum(origin.idle for origin in origins),
        "late_answers": broken.late_answers,
        "bugs": broken.bugs,
        "pool_is_whole": all(map(_is_whole, origins)),
        "is_within_limit": statistics.admission.in_flight <= statistics.admission.limit,
    }


def _is_whole(origin: OriginStatistics) -> bool:
    """Whether every connection that was ever opened is accounted for (G7)."""
    counted = origin.idle + origin.in_use - origin.connecting
    return origin.open == counted and origin.opened == origin.open + sum(origin.closed.values())
