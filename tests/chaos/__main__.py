"""`make chaos`: the server on a network that is harmed on purpose, for as long as one likes.

    python -m tests.chaos                          two minutes, a seed of its own
    python -m tests.chaos --minutes 30 --seed 7    that plan again, longer
    python -m tests.chaos --plan --seed 7          only say what would be done

Exit code: 0 when every guarantee held, 1 when one did not, 3 when no network can be made here.
"""

from __future__ import annotations

import argparse
import signal
import sys
from random import SystemRandom
from typing import Any

import trio

from tests.chaos.namespaces import why_not
from tests.chaos.plan import make_plan
from tests.chaos.run import Report, run_chaos


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def say_report(report: Report) -> None:
    for name, told in report.told.items():
        say(
            f"{name}: clients {told.answers}, {told.departed} departed, {len(told.lost)} lost, "
            f"{told.unconnected} could not connect"
        )
        say(f"{name}: bystander {report.seen[name].figures()}")
        samples = report.samples.get(name, [])
        say(f"{name}: MiB {[round(each.resident_mib, 1) for each in samples[:: 1 + len(samples) // 12]]}")
        say(f"{name}: drained in {report.drain_s.get(name, 0.0):.2f} s")
        for each in report.statistics.get(name, []):
            say(f"{name}: {each and each['upstream']['origins']}")
    say(f"packets: {report.packets}")
    late = {name: [_late(each) for each in found] for name, found in report.statistics.items()}
    say(f"late answers {late}; the server waited for a processor {report.waited:.1%} of the time")
    for line in report.broken:
        say(f"BROKEN: {line[:2000]}")
    say(f"{len(report.broken)} broken guarantees")


def _late(statistics: Any) -> int | None:
    return None if statistics is None else statistics["requests"]["guarantees_broken"]["late_answers"]


async def run_until_signalled(seed: int, seconds: float) -> Report | None:
    """`None` after SIGINT or SIGTERM, with everything cleaned up."""
    report: Report | None = None
    async with trio.open_nursery() as nursery:

        async def watch(task_status: trio.TaskStatus[None]) -> None:
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                task_status.started()
                async for _ in signals:
                    nursery.cancel_scope.cancel(reason="a signal")
                    return

        await nursery.start(watch)
        report = await run_chaos(seed, seconds, say)
        nursery.cancel_scope.cancel(reason="done")
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    parser.add_argument("--plan", action="store_true", help="print the plan and end")
    options = parser.parse_args()
    seconds = options.minutes * 60
    plan = make_plan(options.seed, seconds)
    if options.plan:
        say("\n".join(map(str, plan)))
        return 0
    if (reason := why_not()) is not None:
        say(f"skipped: {reason}")
        return 3
    say(f"seed {options.seed}: {len(plan)} steps in {seconds:.0f} s; repeat it with --seed {options.seed}")
    report = trio.run(run_until_signalled, options.seed, seconds)
    if report is None:
        say("ended by a signal; nothing is left")
        return 1
    say_report(report)
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
