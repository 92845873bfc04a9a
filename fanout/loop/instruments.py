"""Trio's instruments, looked up as a dictionary does it.

Trio asks at seven places of each pass and each step whether anybody wants to hear of it. Its own collection
answers in Python, which is forty calls a request.
"""

from __future__ import annotations

from typing import Any

from trio._core._instrumentation import Instruments
from trio._core._run import GLOBAL_RUN_CONTEXT
from trio.abc import Instrument


class QuickInstruments(dict[str, dict[Instrument, None]]):
    """What `trio._core._instrumentation.Instruments` is and does, `in` being the dictionary's own."""

    __slots__ = ()

    @property
    def data(self) -> QuickInstruments:
        return self

    # Trio's own, which ask no more of `self` than this.
    add_instrument: Any = Instruments.add_instrument
    remove_instrument: Any = Instruments.remove_instrument
    call: Any = Instruments.call


def look_up_quickly() -> None:
    """In the current run of Trio, from now on."""
    runner: Any = GLOBAL_RUN_CONTEXT.runner  # its class is typed for Trio's own collection
    runner.instruments = QuickInstruments(runner.instruments)
