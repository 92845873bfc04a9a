"""Metrics of the service itself: its snapshot, the one of `/statistics`, as families for Prometheus.

They are made when they are scraped. Nothing here is asked on the path of a request.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from prometheus_client import PROCESS_COLLECTOR, Metric

from fanout.config import Settings
from fanout.observe.metrics import RequestMetrics, Upstream
from fanout.observe.metrics_family import counter, gauge

if TYPE_CHECKING:
    from fanout.admin.statistics import ServiceStatistics
    from fanout.observe.loop import LoopStatistics
    from fanout.observe.metrics_family import Labels
    from fanout.observe.tracing_settings import TracingStatistics
    from fanout.server.statistics import DriverStatistics
    from fanout.upstream.statistics import NameStatistics, OriginStatistics

BUILD: Final = gauge("fanout_build_info", "Always 1.", ("version", "python_version"))
DRAINING: Final = gauge("fanout_draining", "1 after a signal to shut down, else 0.")
RESTARTS: Final = counter(
    "fanout_worker_restarts", "How many processes of this worker ended by themselves before this one."
)
GUARANTEES: Final = counter("fanout_guarantees_broken", "Guarantees that were not kept.", ("guarantee",))

IN_FLIGHT: Final = gauge("fanout_requests_in_flight", "Requests admitted and not yet answered.")
IN_FLIGHT_LIMIT: Final = gauge("fanout_requests_in_flight_limit", "How many may be.")
ADMITTED: Final = counter("fanout_requests_admitted", "Requests admitted.")
UNPARSED: Final = counter(
    "fanout_requests_refused_unparsed", "Requests refused before parsing because the loop was behind."
)
MALFORMED: Final = counter("fanout_requests_malformed", "Requests refused because their bytes were not HTTP.")
RESERVE: Final = gauge("fanout_reserve_seconds", "What is kept back from the next request's timeout.")

CONNECTIONS: Final = gauge("fanout_connections", "Client connections.", ("state",))
ACCEPTED: Final = counter("fanout_connections_accepted", "Client connections accepted.")
CONNECTIONS_ENDED: Final = counter("fanout_connections_ended", "Client connections ended.", ("reason",))

POOL: Final = gauge("fanout_pool_connections", "Connections to an upstream.", ("origin", "state"))
POOL_LIMIT: Final = gauge("fanout_pool_connections_limit", "How many may be in use or connecting.")
POOL_CREATED: Final = counter("fanout_pool_connections_created", "Connections opened.", ("origin",))
POOL_CLOSED: Final = counter("fanout_pool_connections_closed", "Connections closed.", ("origin", "reason"))
POOL_REUSED: Final = counter("fanout_pool_calls_reused", "Calls that got an idle connection.", ("origin",))
POOL_RETRIES: Final = counter(
    "fanout_pool_retries", "Calls made again because the idle connection they got was dead.", ("origin",)
)
POOL_FAILED: Final = counter("fanout_pool_connects_failed", "Connects that failed.", ("origin",))
POOL_CANCELLED: Final = counter(
    "fanout_pool_connects_cancelled", "Connects that had not ended when their call did.", ("origin",)
)

LOOK_UPS: Final = counter("fanout_resolver_look_ups", "Look-ups of an upstream's name.", ("name",))
LOOK_UPS_FAILED: Final = counter("fanout_resolver_look_ups_failed", "Those that failed.", ("name",))
ADDRESSES: Final = gauge("fanout_resolver_addresses", "Addresses known for a name.", ("name",))
TRIED_LAST: Final = gauge("fanout_resolver_addresses_tried_last", "Those that did not answer.", ("name",))
PASSED_OVER: Final = counter(
    "fanout_resolver_addresses_passed_over", "How often an address did not answer in time.", ("name",)
)
ADDRESS_AGE: Final = gauge("fanout_resolver_address_age_seconds", "How old they are.", ("name",))

LATENESS: Final = gauge(
    "fanout_loop_lateness_seconds", "The longest event-loop iteration recently, fading by half each second."
)
USUAL_ITERATION: Final = gauge(
    "fanout_loop_usual_iteration_seconds", "The usual iteration of the last half second."
)
WORST_ITERATION: Final = gauge(
    "fanout_loop_worst_iteration_seconds", "The longest iteration since the start."
)
ITERATIONS: Final = counter("fanout_loop_iterations", "Iterations of the event loop.")
LOG_LINES: Final = counter("fanout_log_lines_written", "Lines of the log that were written.")
LOG_LINES_DROPPED: Final = counter(
    "fanout_log_lines_dropped", "Lines that were not, because the log was not read fast enough."
)
SPANS: Final = counter("fanout_spans", "Spans of traces, by what became of them.", ("result",))
TASKS: Final = gauge("fanout_tasks", "Trio tasks alive.")


def request_metrics(settings: Settings) -> RequestMetrics:
    """The counters of a server with these settings. A consumer of receipts."""
    parts = [urlsplit(url) for url in settings.calls]
    upstreams = [
        Upstream(p.scheme, p.hostname or "", p.port or (443 if p.scheme == "https" else 80)) for p in parts
    ]
    return RequestMetrics(upstreams, scheme="http" if settings.tls_cert is None else "https")


def families(requests: RequestMetrics, now: ServiceStatistics, *, pool_limit: int) -> Iterator[Metric]:
    """Everything `/metrics` says. Lazy: a family is made when it is asked for."""
    yield from requests.collect()
    yield BUILD.metric([((now.version, platform.python_version()), 1)])
    yield DRAINING.one(now.draining)
    yield RESTARTS.one(now.restarts)
    yield GUARANTEES.metric([((guarantee,), count) for guarantee, count in _broken(now).items()])
    yield IN_FLIGHT.one(now.admission.in_flight)
    yield IN_FLIGHT_LIMIT.one(now.admission.limit)
    yield ADMITTED.one(now.admission.admitted)
    yield UNPARSED.one(now.overload.refused)
    yield MALFORMED.one(now.connections.malformed)
    yield RESERVE.one(now.overload.reserve_ms / 1000)
    yield from _connections(now.connections)
    yield POOL_LIMIT.one(pool_limit)
    yield from _pools(now.upstream.origins)
    yield from _names(now.upstream.names)
    yield from _loop(now.loop)
    yield LOG_LINES.metric([] if now.logs is None else [((), now.logs.written)])
    yield LOG_LINES_DROPPED.metric([] if now.logs is None else [((), now.logs.dropped)])
    yield SPANS.metric([] if now.traces is None else _spans(now.traces))
    yield from PROCESS_COLLECTOR.collect()


def _broken(now: ServiceStatistics) -> dict[str, int]:
    """By guarantee. What nobody looks at is left out: it is not known to be zero."""
    broken = now.requests.guarantees_broken
    found = {"late_answer": broken.late_answers, "bug": broken.bugs}
    leak_check = now.leak_check
    if leak_check is None:
        return found
    return found | {
        "leaked_task": leak_check.leaked_tasks,
        "leaked_connection": leak_check.leaked_connections,
        "leaked_permit": leak_check.leaked_permits,
    }


def _connections(now: DriverStatistics) -> Iterator[Metric]:
    yield CONNECTIONS.metric([(("waiting",), now.waiting), (("busy",), now.busy)])
    yield ACCEPTED.one(now.accepted)
    yield CONNECTIONS_ENDED.metric([((reason,), count) for reason, count in now.ended.items()])


def _pools(pools: tuple[OriginStatistics, ...]) -> Iterator[Metric]:
    yield POOL.metric(
        ((pool.origin, state), count)
        for pool in pools
        for state, count in (
            ("idle", pool.idle),
            ("in_use", pool.in_use - pool.connecting),
            ("connecting", pool.connecting),
        )
    )
    yield POOL_CREATED.metric([((pool.origin,), pool.opened) for pool in pools])
    yield POOL_CLOSED.metric(
        ((pool.origin, reason), count) for pool in pools for reason, count in pool.closed.items()
    )
    yield POOL_REUSED.metric([((pool.origin,), pool.reused) for pool in pools])
    yield POOL_RETRIES.metric([((pool.origin,), pool.retries) for pool in pools])
    yield POOL_FAILED.metric([((pool.origin,), pool.failed_connects) for pool in pools])
    yield POOL_CANCELLED.metric([((pool.origin,), pool.cancelled_connects) for pool in pools])


def _names(names: tuple[NameStatistics, ...]) -> Iterator[Metric]:
    yield LOOK_UPS.metric([((name.name,), name.look_ups) for name in names])
    yield LOOK_UPS_FAILED.metric([((name.name,), name.failures) for name in names])
    yield ADDRESSES.metric([((name.name,), len(name.addresses)) for name in names])
    yield TRIED_LAST.metric([((name.name,), len(name.tried_last)) for name in names])
    yield PASSED_OVER.metric([((name.name,), name.passed_over) for name in names])
    yield ADDRESS_AGE.metric([((name.name,), name.age_s) for name in names if name.age_s is not None])


def _spans(now: TracingStatistics) -> list[tuple[Labels, float]]:
    return [
        (("delivered",), now.spans_delivered),
        (("dropped",), now.spans_dropped),
        (("failed",), now.spans_failed),
    ]


def _loop(now: LoopStatistics) -> Iterator[Metric]:
    yield LATENESS.one(now.lateness_ms / 1000)
    yield USUAL_ITERATION.one(now.usual_iteration_ms / 1000)
    yield WORST_ITERATION.one(now.worst_iteration_ms / 1000)
    yield ITERATIONS.one(now.passes)
    yield TASKS.one(now.tasks)
