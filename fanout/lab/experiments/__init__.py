"""One module per guarantee, G1 to G12."""

from __future__ import annotations

from typing import Final

from fanout.lab.experiment import Experiment
from fanout.lab.experiments import g04_first_success

EXPERIMENTS: Final[dict[str, Experiment]] = {
    experiment.id: experiment for experiment in (g04_first_success.EXPERIMENT,)
}
