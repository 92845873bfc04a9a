"""The answer to a scrape: OpenMetrics with exemplars if the client prefers it, else the classic text.

Rule 1: a scrape is written a few dozen samples at a time, each piece in its own turn, so that no event-loop
        iteration gets long. The numbers of one series are read at one moment. Those of two series may be a
        few iterations apart.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final

import trio
from prometheus_client import Metric
from prometheus_client import exposition as classic
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from fanout.admin.accept import prefers

SAMPLES_PER_TURN: Final = 50  # about 0.3 ms
_OPENMETRICS: Final = "application/openmetrics-text"
_CLASSIC: Final = "text/plain"
_EOF: Final = b"# EOF\n"


async def expose(
    families: Iterable[Metric],
    accept: str,
    turn: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
) -> tuple[str, bytes]:
    """The content type and the body: all families, in the format that the `Accept` header asks for.

    families: may be lazy, and yield a family in several consecutive pieces. turn: awaited after each piece.
    """
    is_open = prefers(accept, _OPENMETRICS, over=_CLASSIC)
    write = openmetrics.generate_latest if is_open else classic.generate_latest
    text = bytearray()
    last_name = ""
    for family in families:
        for piece in _pieces(family):
            written = write(piece).removesuffix(_EOF)
            is_first = family.name != last_name
            text += written if is_first else written.split(b"\n", 2)[2]  # without HELP and TYPE
            last_name = family.name
            await turn()
    await trio.lowlevel.checkpoint()
    if is_open:
        return openmetrics.CONTENT_TYPE_LATEST, bytes(text + _EOF)
    return classic.CONTENT_TYPE_PLAIN_0_0_4, bytes(text)


class _Piece(Collector):
    """Some of a family's samples, as the library's writers take them."""

    def __init__(self, family: Metric, start: int) -> None:
        self._metric = Metric(family.name, family.documentation, family.type)
        self._metric.samples = family.samples[start : start + SAMPLES_PER_TURN]

    def collect(self) -> Iterator[Metric]:
        yield self._metric


def _pieces(family: Metric) -> Iterator[_Piece]:
    """At least one: a family without samples has its HELP and TYPE."""
    for start in range(0, max(1, len(family.samples)), SAMPLES_PER_TURN):
        yield _Piece(family, start)
