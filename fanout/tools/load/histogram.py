"""Latencies in HdrHistogram: microseconds to ten minutes, three digits, constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

_HIGHEST_US = 600_000_000
_DIGITS = 3
_TICKS_PER_HALF = 5  # points of a spectrum for every halving of the distance to 100 %


class MissingExtra(Exception):
    """The package `hdrhistogram` is not installed. The message is one line with the remedy."""


def _hdr_class() -> Any:
    try:
        return import_module("hdrh.histogram").HdrHistogram
    except ModuleNotFoundError:
        raise MissingExtra("it needs the package hdrhistogram: pip install 'fanout-server[load]'") from None


def require_hdrhistogram() -> None:
    """Raise MissingExtra unless histograms can be made."""
    _hdr_class()


class Latencies:
    """A histogram of durations. Durations go in as seconds and come out as milliseconds.

    Below 1 µs counts as 1 µs, above ten minutes as ten minutes. An empty one answers 0.0 everywhere.
    """

    __slots__ = ("_hdr", "_record", "_total_s", "count")

    def __init__(self) -> None:
        self._hdr = _hdr_class()(1, _HIGHEST_US, _DIGITS)
        self._record = self._hdr.record_value
        self._total_s = 0.0
        self.count = 0

    def record(self, seconds: float) -> None:
        """Count one duration. Below 1 µs of CPU: cheap enough for the hot path."""
        self.count += 1
        self._total_s += seconds
        self._record(min(max(int(seconds * 1e6), 1), _HIGHEST_US))

    def add(self, other: Latencies) -> None:
        """Count all that `other` has counted."""
        self.count += other.count
        self._total_s += other._total_s
        self._hdr.add(other._hdr)

    def at(self, percentile: float) -> float:
        """The latency in ms that `percentile` % of the values do not exceed."""
        return float(self._hdr.get_value_at_percentile(percentile)) / 1000

    def mean_ms(self) -> float:
        """The mean, in ms."""
        return self._total_s / self.count * 1000 if self.count else 0.0

    def min_ms(self) -> float:
        """The lowest value, in ms."""
        return float(self._hdr.get_min_value()) / 1000

    def max_ms(self) -> float:
        """The highest value, in ms, as exact as the histogram is."""
        return float(self._hdr.get_max_value()) / 1000

    def spectrum(self) -> Iterator[tuple[float, float, int]]:
        """(percentile, latency in ms, values up to it), finer and finer towards 100 %."""
        if self.count:
            for step in self._hdr.get_percentile_iterator(_TICKS_PER_HALF):
                upto = int(step.total_count_to_this_value)
                yield float(step.percentile_level_iterated_to), step.value_iterated_to / 1000, upto

    def encoded(self) -> str:
        """The whole histogram (values in µs) in HdrHistogram's portable form, to merge runs exactly."""
        return str(self._hdr.encode().decode("ascii"))
