"""How late the loop is. Deadlines are checked once a pass, so a loop that is late makes every answer late."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import trio

INTERVAL_S: Final = 0.25
WINDOW: Final = 40  # beats: the worst of the last ten seconds


@dataclass(frozen=True, slots=True)
class LoopStatistics:
    """Lags in milliseconds: how late a sleep ended. `worst_lag_ms`: of the last ten seconds."""

    tasks: int
    runnable: int
    lag_ms: float
    worst_lag_ms: float


class LoopLag:
    """A heartbeat that measures its own lateness."""

    def __init__(self) -> None:
        self._lags_ms: deque[float] = deque([0.0], maxlen=WINDOW)

    async def run(self) -> None:
        while True:
            due_at = trio.current_time() + INTERVAL_S
            await trio.sleep_until(due_at)
            self._lags_ms.append((trio.current_time() - due_at) * 1000)

    def statistics(self) -> LoopStatistics:
        trio_statistics = trio.lowlevel.current_statistics()
        return LoopStatistics(
            tasks=trio_statistics.tasks_living,
            runnable=trio_statistics.tasks_runnable,
            lag_ms=round(self._lags_ms[-1], 3),
            worst_lag_ms=round(max(self._lags_ms), 3),
        )
