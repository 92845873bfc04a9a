"""The shipped test kit.

* `ScriptedCall`: an upstream call that does what its script says, and tells whether it was cleaned up.
* `run_scenario`: one request through the real application in virtual time, with exact times, and a
  check that nothing of it is left.
* `CallConformance`: what every call must do, real or scripted; subclass it to test yours.
* `cancel_at`: cancels an async function at its n-th point, where it begins to wait or resumes; `Points` is
  the same for any tasks and any interruption.
* `asyncio_points.AsyncioPoints`: the same for asyncio code behind the bridge, whose Trio task waits only once.
* `world`: the whole server in simulated worlds, and a judge of every guarantee; see `fanout simulate`.
* `running`: the real program, booted on free ports, with real sockets and real signals.
"""

from typing import TYPE_CHECKING, Any

from fanout.testing.points import Point, Points, can_throw, cancel_at, repeatable, throw
from fanout.testing.program import Program, running
from fanout.testing.scenario import LeftBehind, Replay, run_scenario
from fanout.testing.scripted import ScriptedCall, answers, crashes, fails, hangs

if TYPE_CHECKING:
    from fanout.testing.conformance import CallConformance

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


def __getattr__(name: str) -> Any:
    """The conformance suite needs pytest; the rest of the kit, and the commands built on it, do not."""
    if name != "CallConformance":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fanout.testing.conformance import CallConformance

    return CallConformance
