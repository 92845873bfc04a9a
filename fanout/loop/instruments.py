"""Trio's instruments, looked up as a dictionary does it.

Trio asks at seven places of each pass and each step whether anybody wants to hear of it. Its own collection
answers in Python, which is forty calls a request, and looks each of them up anew to tell it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trio._core._instrumentation import INSTRUMENT_LOGGER, Instruments
from trio._core._run import GLOBAL_RUN_CONTEXT
from trio.abc import Instrument

Hook = Callable[..., object]
_TRIOS: Any = Instruments  # of whose methods `self` may be any object that has `data`


class QuickInstruments(dict[str, dict[Instrument, None]]):
    """What `trio._core._instrumentation.Instruments` is and does, `in` being the dictionary's own."""

    __slots__ = ("_hooks",)

    def __init__(self, trios: Any) -> None:
        """trios: the run's until now."""
        super().__init__(trios)
        self._find_hooks()

    @property
    def data(self) -> QuickInstruments:
        """For Trio's own methods."""
        return self

    def add_instrument(self, instrument: Instrument) -> None:
        _TRIOS.add_instrument(self, instrument)
        self._find_hooks()

    def remove_instrument(self, instrument: Instrument) -> None:
        _TRIOS.remove_instrument(self, instrument)
        self._find_hooks()

    def call(self, hookname: str, *args: object) -> None:
        """Tell each of them that wants it. One that raises is taken out, and the log told of it."""
        for instrument, hook in self._hooks[hookname]:
            try:
                hook(*args)
            except BaseException:  # noqa: BLE001 - who only watches must not end the loop
                self.remove_instrument(instrument)
                INSTRUMENT_LOGGER.exception(
                    "%r failed on %r. Instrument has been disabled.", instrument, hookname
                )

    def _find_hooks(self) -> None:
        self._hooks: dict[str, list[tuple[Instrument, Hook]]] = {
            name: [(instrument, getattr(instrument, name)) for instrument in instruments]
            for name, instruments in self.items()
            if name != "_all"
        }


def look_up_quickly() -> None:
    """In the current run of Trio, from now on."""
    runner: Any = GLOBAL_RUN_CONTEXT.runner  # its class is typed for Trio's own collection
    runner.instruments = QuickInstruments(runner.instruments)
