"""The shipped test kit.

* `ScriptedCall`: an upstream call that does what its script says, and tells whether it was cleaned up.
* `run_scenario`: one request through the real application in virtual time, with exact times, and a
  check that nothing of it is left.
* `CallConformance`: what every call must do, real or scripted; subclass it to test yours.
* `running`: the real program, booted on free ports, with real sockets and real signals.
"""

from fanout.testing.conformance import CallConformance
from fanout.testing.program import Program, running
from fanout.testing.scenario import LeftBehind, Replay, run_scenario
from fanout.testing.scripted import ScriptedCall, answers, crashes, fails, hangs

__all__ = [
    "CallConformance",
    "LeftBehind",
    "Program",
    "Replay",
    "ScriptedCall",
    "answers",
    "crashes",
    "fails",
    "hangs",
    "run_scenario",
    "running",
]
