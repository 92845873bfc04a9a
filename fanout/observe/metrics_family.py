"""What a metric is here: a row of family, name, help and labels, and plain numbers that are read by a scrape.

A scrape makes prometheus-client's families of them, which it writes. Its own counters and histograms are not
used: a request would cost 11 us instead of 2 (a lock per step, a check and a time per exemplar), a family of
100 histograms is collected in one piece of 8 ms, and the number of its series has no bound.

Rule 1: a family has at most `MAX_SERIES` sets of label values, whatever clients or upstreams send. What
        comes after them is counted under `_OTHER`, so that nothing is lost and nothing grows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any, Final, TypeVar

from prometheus_client import Metric
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.samples import Exemplar

MAX_SERIES: Final = 100
HISTOGRAMS_A_PIECE: Final = 4  # about half a millisecond
OTHER: Final = "_OTHER"  # OpenTelemetry's word for a value that is not distinguished
_MAX_EXEMPLAR_CHARACTERS: Final = 128  # OpenMetrics' limit, label names included

Labels = tuple[str, ...]
C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Family:
    """One row of the catalogue.

    make: prometheus-client's family. name: as OpenMetrics has it, so a counter's is without `_total`.
    """

    make: type[Any]
    name: str
    help: str
    labels: Labels = ()

    def metric(self, samples: Iterable[tuple[Labels, float]]) -> Metric:
        """A family of plain numbers."""
        metric: CounterMetricFamily | GaugeMetricFamily = self.make(self.name, self.help, labels=self.labels)
        for labels, value in samples:
            metric.add_metric(labels, value)
        return metric

    def one(self, value: float) -> Metric:
        """The family of a single number, which has no labels."""
        return self.metric([((), value)])

    def histograms(self, series: Sequence[tuple[Labels, Histogram]]) -> Iterator[Metric]:
        """A family of histograms in pieces of a few series, one at least: a histogram is many samples."""
        for start in range(0, max(1, len(series)), HISTOGRAMS_A_PIECE):
            metric: HistogramMetricFamily = self.make(self.name, self.help, labels=self.labels)
            for labels, histogram in series[start : start + HISTOGRAMS_A_PIECE]:
                metric.add_metric(labels, histogram.buckets(), histogram.sum)
            yield metric


counter: Final = partial(Family, CounterMetricFamily)
gauge: Final = partial(Family, GaugeMetricFamily)
histogram: Final = partial(Family, HistogramMetricFamily)


class Histogram:
    """Counts of values by upper bound, their sum, and in each bucket the latest request that fell into it."""

    __slots__ = ("_bounds", "_counts", "_exemplars", "_names", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """bounds: ascending, each the largest value of its bucket. One without a bound comes after them."""
        self.sum = 0.0
        self._bounds = bounds
        self._names = [*map(str, bounds), "+Inf"]
        self._counts = [0] * len(self._names)
        self._exemplars: list[tuple[float, str | None, str] | None] = [None] * len(self._names)

    def observe(self, value: float, trace_id: str | None, request_id: str) -> None:
        bucket = bisect_left(self._bounds, value)
        self._counts[bucket] += 1
        self._exemplars[bucket] = (value, trace_id, request_id)
        self.sum += value

    @property
    def count(self) -> int:
        return sum(self._counts)

    def buckets(self) -> list[tuple[str, float] | tuple[str, float, Exemplar]]:
        """As prometheus-client wants them: the upper bound, the count up to it, and its exemplar if any."""
        rows = zip(self._names, accumulate(self._counts), map(_exemplar, self._exemplars), strict=True)
        return [
            (name, count) if exemplar is None else (name, count, exemplar) for name, count, exemplar in rows
        ]


class Counter:
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Series(dict[Labels, C]):
    """The numbers of one family by label values. A new set of values is made room for, up to Rule 1."""

    def __init__(self, new: Callable[[], C], overflow: Labels) -> None:
        """overflow: the label values of what is beyond the bound."""
        super().__init__()
        self._new = new
        self._overflow = overflow

    def __missing__(self, labels: Labels) -> C:
        if len(self) >= MAX_SERIES - 1 and labels != self._overflow:
            return self[self._overflow]
        found = self[labels] = self._new()
        return found


def _exemplar(latest: tuple[float, str | None, str] | None) -> Exemplar | None:
    """Named by its trace, or else by its request. A client's request id may be too long to be one."""
    if latest is None:
        return None
    value, trace_id, request_id = latest
    name, identity = ("trace_id", trace_id) if trace_id else ("request_id", request_id)
    if len(name) + len(identity) > _MAX_EXEMPLAR_CHARACTERS:
        return None
    return Exemplar({name: identity}, value, None)
