"""Which formulas each breakage breaks in a thousand simulated requests. `make formulas` checks it."""

from __future__ import annotations

from typing import Final

SEEN: Final[dict[str, tuple[str, ...]]] = {
    "answers_in_order_of_arrival": ("G5",),
    "await_in_pool_clean_up": ("G3", "G7", "G11"),
    "bug_lost_in_group": (),
    "call_started_after_deadline": ("G2",),
    "cancelled_swallowed": ("G4",),
    "crash_not_reported": ("G11",),
    "dirty_connection_reused": ("G4", "G5", "G7"),
    "disconnect_not_noticed": ("G6",),
    "drain_closes_early": ("G1", "G9"),
    "early_failure_ends_race": ("G4",),
    "limit_off_by_one": ("G8", "G11"),
    "losers_not_cancelled": ("G4",),
    "permit_lost_on_disconnect": ("G2", "G3", "G8"),
    "permit_released_late": ("G2", "G3", "G8"),
    "reserve_ignored": ("G2",),
    "retry_after_first_byte": ("G7",),
    "slow_head_waited_for": ("G10",),
    "socket_left_open": ("G3", "G7"),
    "thread_per_call": ("G12",),
    "time_left_of_the_start": ("G2",),
    "verdict_from_cancelled_caught": (),
}
