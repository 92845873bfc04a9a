"""The objects of the program in huge pages, so that the processor finds them again.

What a request touches is spread over some 30 MB of small objects: seven thousand pages of 4 KiB, for whose
addresses the processor has room for one or two thousand. After each pause it has to look them up anew, in a
virtual machine in two tables at once. Fourteen pages of 2 MiB it can remember. Measured at 250 and 500
requests a second: 3 to 4 % less processor time on a quiet machine, 9 to 12 % on one with busy neighbours, for
a few hundred KiB of memory and 20 to 30 ms before the service starts. What requests in flight have made it
grow by is moved when it has come to rest: 3 to 4 % more.
"""

from __future__ import annotations

import ctypes
import mmap
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

LOOK_EVERY_S: Final = 5.0
WORTH_IT_KIB: Final = 4096
AT_REST_KIB: Final = 1024
_PAGE_KIB: Final = mmap.PAGESIZE // 1024
_MADV_COLLAPSE: Final = 25  # Linux 6.1; whatever `transparent_hugepage/enabled` says, for it is asked for
# What malloc and Python have taken: private, writable, of no file. The stack of a thread is that, too.
_MAPPING: Final = re.compile(
    r"^([0-9a-f]+)-([0-9a-f]+) rw-p [0-9a-f]+ 00:00 0 *(?:\[heap\]|\[anon:.*\])?\n"
    r"Size: +(\d+) kB\n(?:[A-Z]\w+: .*\n)*?Rss: +(\d+) kB\n",
    re.MULTILINE,
)


def use_huge_pages() -> None:
    """Have the kernel move what is in memory now into huge pages. Without them all works as well, as before.

    To be called when nearly all that stays has been made, by the process that serves.
    """
    madvise = ctypes.CDLL(None).madvise
    with suppress(OSError):
        for start, length in mappings_worth_it(Path("/proc/self/smaps").read_text()):
            madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _MADV_COLLAPSE)


def resident_kib() -> int:
    """How much memory the process has."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * _PAGE_KIB


async def use_huge_pages_as_it_grows(
    resident_kib: Callable[[], int] = resident_kib, use: Callable[[], None] = use_huge_pages
) -> None:
    """Do it again when the process has grown, and has stopped growing: until cancelled, or where nobody tells
    how large it is.

    In a thread, because it takes a millisecond a page; at rest, because more memory would be waited for.
    """
    with suppress(OSError):
        looked_at = done_at = resident_kib()
        while True:
            await trio.sleep(LOOK_EVERY_S)
            before, looked_at = looked_at, resident_kib()
            done_at = min(done_at, looked_at)
            if looked_at - done_at >= WORTH_IT_KIB and abs(looked_at - before) <= AT_REST_KIB:
                await trio.to_thread.run_sync(use)
                done_at = looked_at
    await trio.lowlevel.checkpoint()


def mappings_worth_it(smaps: str) -> Iterator[tuple[int, int]]:
    """Where they begin and how long they are, in bytes. smaps: what the kernel says, see proc(5).

    Those mostly in use: the rest of a huge page is memory, too, and a thread's stack is nearly empty.
    """
    for mapping in _MAPPING.finditer(smaps):
        start, end = int(mapping[1], 16), int(mapping[2], 16)
        if int(mapping[4]) * 2 >= int(mapping[3]):
            yield start, end - start
