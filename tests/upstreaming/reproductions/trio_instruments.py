"""trio: asks at every step of a task whether there are instruments, by a method that is written in Python.

pip install trio; python trio_instruments.py
"""

from __future__ import annotations

import sys
from collections import UserDict
from timeit import repeat

import trio

STEPS = 100


def microseconds(mapping):
    return 1000 * min(repeat("'a' in mapping", globals={"mapping": mapping}, number=1000, repeat=20))


async def main():
    calls = []
    sys.setprofile(lambda frame, event, _: calls.append(frame.f_code) if event == "call" else None)
    for _ in range(STEPS):
        await trio.lowlevel.checkpoint()
    sys.setprofile(None)
    looks = sum(code.co_name == "__contains__" for code in calls) / STEPS
    if looks >= 1:
        ratio = microseconds(UserDict()) / microseconds({})
        sys.exit(
            f"{looks:.0f} calls of __contains__ for each step; one takes {ratio:.0f} times a dict's time"
        )


trio.run(main)
