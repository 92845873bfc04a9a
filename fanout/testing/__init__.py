"""The shipped test kit.

* `ScriptedCall`: an upstream call that does what its script says, and tells whether it was cleaned up.
* `run_scenario`: one request through the real application in virtual time, with exact times, and a
  check that nothing of it is left.
* `CallConformance`: what every call must do, real or scripted; subclass it to test yours.
* `cancel_at`: cancels an async function at its n-th point, where it begins to wait or resumes; `Points` is
  the same for any tasks and any interruption.
* `asyncio_points.AsyncioPoints`: the same for asyncio code behind the bridge.
* `world`: the whole server in simulated worlds, and a judge of every guarantee; see `fanout simulate`.
* `running`: the real program, booted on free ports, with real sockets and real signals.
* `breakages`: mistakes that matter, as patches; see `fanout lab --break`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from fanout.testing.conformance import CallConformance
    from fanout.testing.points import Point, Points, can_throw, cancel_at, repeatable, throw
    from fanout.testing.program import Program, running
    from fanout.testing.scenario import LeftBehind, Replay, run_scenario
    from fanout.testing.scripted import ScriptedCall, answers, crashes, fails, hangs

__all__ = [
    "CallConformance",
    "LeftBehind",
    "Point",
    "Points",
    "Program",
    "Replay",
    "ScriptedCall",
    "answers",
    "can_throw",
    "cancel_at",
    "crashes",
    "fails",
    "hangs",
    "repeatable",
    "run_scenario",
    "running",
    "throw",
]


_MODULES: Final = {
    "conformance": ("CallConformance",),
    "points": ("Point", "Points", "can_throw", "cancel_at", "repeatable", "throw"),
    "program": ("Program", "running"),
    "scenario": ("LeftBehind", "Replay", "run_scenario"),
    "scripted": ("ScriptedCall", "answers", "crashes", "fails", "hangs"),
}


def __getattr__(name: str) -> Any:
    """Imported when it is asked for: the conformance suite needs pytest, and a breakage has to be first."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"fanout.testing.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
