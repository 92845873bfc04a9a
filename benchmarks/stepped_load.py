"""`fanout load` with a rate that changes in steps: one process, one schedule, one report.

    python -m benchmarks.stepped_load URL first 1000 500x2 4000x5 500x2

Offers 500/s for 2 s, 4,000/s for 5 s, 500/s for 2 s, with a timeout of 1000 ms, and prints the report of
`fanout load --json`. No two requests are alike (`varied.py`). The report's `seconds` tell the steps apart, so
a step lasts whole seconds.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
from collections.abc import Iterable, Iterator
from functools import partial

import trio

from benchmarks.varied import VariedGenerator
from fanout.tools.load.endpoint import ENDPOINTS
from fanout.tools.load.plan import LoadPlan, parsed_target
from fanout.tools.load.run import run_load

Step = tuple[float, int]  # requests a second, seconds


def offsets(steps: Iterable[Step]) -> Iterator[float]:
    """Intended starts, in seconds after the start of the run: evenly spaced within a step."""
    began_s = 0
    for rate_per_s, seconds in steps:
        for number in range(round(rate_per_s * seconds)):
            yield began_s + number / rate_per_s
        began_s += seconds


def parsed_step(text: str) -> Step:
    rate, _, seconds = text.partition("x")
    return float(rate), int(seconds)


def main() -> None:
    url, endpoint, timeout_ms, *texts = sys.argv[1:]
    steps = [parsed_step(text) for text in texts]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    plan = LoadPlan(
        target=parsed_target(url),
        mix=((ENDPOINTS[endpoint], 1.0),),
        rate_per_s=max(rate for rate, _ in steps),
        duration_s=sum(seconds for _, seconds in steps),
        timeouts_ms=(int(timeout_ms),),
    )
    gc.freeze()  # a pause of the generator would look like one of the server
    report = trio.run(partial(run_load, plan, offsets=offsets(steps), generator_class=VariedGenerator))
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
