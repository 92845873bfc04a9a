"""Whatever an HTTP/2 client sends is no bug of ours, and its connection ends. G1, G10, G11.

The long form is `python -m tests.server.random_frames --seeds 20000`. It prints the seeds that failed.
"""

from __future__ import annotations

from tests.server.random_frames import run

SEEDS = 150
ENDS = {"client_disconnected", "drained", "flooding", "idle", "refused", "slow_head", "slow_reader"}


def test_frames_at_random_are_never_a_bug_of_ours() -> None:
    """Every stream has one answer at most, every task ends, nothing is reported as a crash."""
    assert {run(seed) for seed in range(SEEDS)} == ENDS
