"""The simulated upstream, and a wire-level witness of what its clients do.

`Simulator(settings).serve(listeners)` is all of it; `faults.py` is the table of what it can do wrong.
"""

from __future__ import annotations

from fanout.tools.simulator.faults import describe_faults
from fanout.tools.simulator.overrides import Overrides
from fanout.tools.simulator.settings import SimulatorSettings, parse_rates
from fanout.tools.simulator.simulator import Simulator
from fanout.tools.simulator.state import SimulatorStatistics
from fanout.tools.simulator.witness import CallRecord

__all__ = [
    "CallRecord",
    "Overrides",
    "Simulator",
    "SimulatorSettings",
    "SimulatorStatistics",
    "describe_faults",
    "parse_rates",
]
