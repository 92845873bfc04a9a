"""When garbage is collected: when there may be some, and in a quiet moment if it can wait for one.

A collection stops the loop for a time in proportion to what it looks at: measured with 5,000 requests in
flight, Python's own schedule spent 2.4 s in ten full ones, one took 660 ms. Nor is a collection of the young
small here: whatever is replaced while it is in use, such as the receipts that are kept, stays young, so it
looked at most of what was alive, for 13 to 27 ms. And there is almost nothing to be found: what a request
leaves in cycles is less than an object, but some fifty where Quart deals with an exception, as for a
`timeout` that is none.

So Python's own schedule is off, and its count decides: of objects made since the last collection, less
those that were freed. While as much goes as comes it stays about zero, and nothing is collected. What is in
flight has been made and not freed, so there may be more of it the more tasks there are: a collection in the
middle of 5,000 requests made 635 answers late.
What is alive when the service has started stays so and is not looked at again, not even at the exit, which
takes 15 ms instead of 90.
"""

from __future__ import annotations

import gc
from typing import Final

import trio

QUIET_TASKS: Final = 200  # a full collection beside that many takes a few milliseconds
LOOK_EVERY_S: Final = 1.0
SOME: Final = 20_000  # objects, a few megabytes: worth a quiet moment
MANY: Final = 500_000  # worth any moment, and four times the receipts that are kept
A_TASK: Final = 60  # of them, for each task: twice what a request in flight keeps alive, which is no garbage


def take_over() -> None:
    """Collections are our affair from here on, for the rest of the process. To be called before it serves:
    the one that is done now takes 100 ms."""
    gc.disable()
    gc.collect()


async def collect_when_quiet() -> None:
    """Collect, until cancelled. To be started when the service has."""
    gc.freeze()
    while True:
        await trio.sleep(LOOK_EVERY_S)
        made = gc.get_count()[0]
        tasks = trio.lowlevel.current_statistics().tasks_living
        if made >= MANY + A_TASK * tasks or (made >= SOME and tasks <= QUIET_TASKS):
            gc.collect()
