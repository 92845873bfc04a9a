"""One module per guarantee, G1 to G12."""

from __future__ import annotations

from typing import Final

from fanout.lab.experiment import Experiment
from fanout.lab.experiments import (
    g01_one_answer,
    g02_on_time,
    g03_nothing_outlives,
    g04_first_success,
    g05_all,
    g06_disconnect,
    g07_pool,
    g08_overload,
    g09_shutdown,
    g10_bulkhead,
    g11_bugs,
    g12_no_threads,
)

_MODULES: Final = (
    g01_one_answer,
    g02_on_time,
    g03_nothing_outlives,
    g04_first_success,
    g05_all,
    g06_disconnect,
    g07_pool,
    g08_overload,
    g09_shutdown,
    g10_bulkhead,
    g11_bugs,
    g12_no_threads,
)
EXPERIMENTS: Final[dict[str, Experiment]] = {
    experiment.id: experiment for experiment in (module.EXPERIMENT for module in _MODULES)
}
