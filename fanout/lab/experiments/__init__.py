"""One module per guarantee, G1 to G12."""

from __future__ import annotations

import importlib
from pkgutil import iter_modules
from typing import Final

from fanout.lab.experiment import Experiment

EXPERIMENTS: Final[dict[str, Experiment]] = {
    experiment.id: experiment
    for experiment in (
        importlib.import_module(f"{__name__}.{module.name}").EXPERIMENT for module in iter_modules(__path__)
    )
}
