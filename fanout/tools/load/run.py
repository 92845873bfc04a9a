"""One run from the first look at the target to the report."""

from __future__ import annotations

import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime

import trio

from .first_look import wires_to
from .generator import Generator
from .plan import LoadPlan
from .report import Report
from .reporting import Course, report_of
from .schedule import pace, planned_offsets
from .timer import precise_timer

Watch = Callable[[Generator], Awaitable[None]]
"""Runs next to the load and is cancelled at its end: live progress."""


async def run_load(
    plan: LoadPlan,
    watch: Watch | None = None,
    *,
    offsets: Iterable[float] | None = None,
    generator_class: type[Generator] = Generator,
) -> Report:
    """Do the whole run and report it.

    offsets: when to start requests, in ascending seconds after the start, if not as the plan says.

    SIGINT or SIGTERM ends the schedule early: what is in flight is waited for and the report is complete.
    A second signal cuts what is in flight. Must be called in the main thread, on Trio's real clock.
    Raises CouldNotRun when the target cannot be reached before the first request.
    """
    new_wire = await wires_to(plan.target)
    began, cpu_before_s, started_at = datetime.now(UTC), time.process_time(), trio.current_time()
    schedule = trio.CancelScope()
    last_at = started_at
    with precise_timer() as sleep_until, trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            generator = generator_class(plan, nursery, new_wire, started_at)

            def launch(intended_at: float) -> None:
                nonlocal last_at
                last_at = intended_at
                generator.launch(intended_at)

            async def obey_signals() -> None:
                """The first signal ends the schedule, the second the run."""
                await anext(signals)
                schedule.cancel(reason="ended early by a signal")
                await anext(signals)
                generator.abandon()

            nursery.start_soon(obey_signals)
            nursery.start_soon(generator.sweep)
            if watch is not None:
                nursery.start_soon(watch, generator)
            with schedule:
                await pace(
                    planned_offsets(plan) if offsets is None else offsets, started_at, launch, sleep_until
                )
                if plan.requests is None and plan.duration_s is not None:
                    await sleep_until(generator.tally.started_at + plan.duration_s)
            ended_early = schedule.cancelled_caught
            await generator.quiet()
            generator.abandon()
    span_s = max(last_at - generator.tally.started_at, 0.0) + 1 / plan.rate_per_s
    if plan.duration_s is not None:
        complete = not ended_early and plan.requests is None
        span_s = plan.duration_s if complete else min(span_s, plan.duration_s)
    course = Course(
        began=began,
        elapsed_s=trio.current_time() - started_at,
        cpu_s=time.process_time() - cpu_before_s,
        span_s=span_s,
        ended_early=ended_early,
    )
    return report_of(generator, course)
