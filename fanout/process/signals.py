"""Signals: the first SIGTERM or SIGINT drains, the second ends at once."""

from __future__ import annotations

import signal

import trio

from fanout.process.early_signals import HANDLED, event_loop_listens


async def stop_on_signals(
    stop: trio.Event,
    everything: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Set `stop` on the first signal and cancel `everything` on the second. Runs until cancelled."""
    with trio.open_signal_receiver(*HANDLED) as received:
        event_loop_listens()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)  # a worker starts with these blocked
        task_status.started()
        async for _ in received:
            if stop.is_set():
                everything.cancel(reason="a second signal")
            stop.set()
