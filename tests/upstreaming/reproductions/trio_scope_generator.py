"""trio: every cancel scope runs two generators, which take a quarter of its time or more.

pip install trio; python trio_scope_generator.py
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from timeit import repeat

import trio


@contextmanager
def generator():
    yield


class Plain:
    def __enter__(self):
        pass

    def __exit__(self, *_):
        pass


def microseconds(make):
    def use():
        with make():
            pass

    return min(repeat(use, number=1000, repeat=20)) * 1000


def of_contextlib():
    """The calls of contextlib's functions for one scope, and those of all functions."""
    files = []
    sys.setprofile(
        lambda frame, event, _: files.append(frame.f_code.co_filename) if event == "call" else None
    )
    with trio.CancelScope():
        pass
    sys.setprofile(None)
    return sum(file == contextmanager.__code__.co_filename for file in files), len(files)


async def main():
    calls, all_calls = of_contextlib()
    if calls:
        saved = 2 * (microseconds(generator) - microseconds(Plain))
        share = saved / microseconds(trio.CancelScope)
        sys.exit(f"contextlib makes {calls} of a scope's {all_calls} calls and takes {share:.0%} of its time")


trio.run(main)
