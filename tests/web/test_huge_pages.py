"""The program's objects lie in huge pages, its stacks do not. Linux tells."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest
import trio
import trio.testing

from fanout.testing import running
from fanout.web.huge_pages import (
    AT_REST_KIB,
    LOOK_EVERY_S,
    WORTH_IT_KIB,
    mappings_worth_it,
    resident_kib,
    use_huge_pages_as_it_grows,
)

SMAPS = """\
55d0c0a00000-55d0c0e00000 rw-p 00000000 00:00 0                          [heap]
Size:               4096 kB
KernelPageSize:        4 kB
MMUPageSize:           4 kB
Rss:                4000 kB
Pss:                4000 kB
VmFlags: rd wr mr mw me ac
7f0000000000-7f0000400000 rw-p 00000000 00:00 0{name}
Size:               4096 kB
Rss:                {rss} kB
Pss:                4000 kB
7f1000000000-7f1000400000 {other}
Size:               4096 kB
Rss:                4096 kB
7f2000000000-7f2000001000 rw-p 00000000 00:00 0
Size:                  4 kB
Rss:                   4 kB
"""
HEAP = (0x55D0C0A00000, 4 << 20)
ANONYMOUS = (0x7F0000000000, 4 << 20)
SMALL = (0x7F2000000000, 4096)


def smaps(*, name: str = "", rss: int = 2048, other: str = "r-xp 00000000 fe:00 77 /usr/lib/x.so") -> str:
    return SMAPS.format(name=name, rss=rss, other=other)


@pytest.mark.parametrize("name", ["", " ", " [anon:python]"])
def test_what_is_mostly_in_use_is_worth_it(name: str) -> None:
    assert list(mappings_worth_it(smaps(name=name))) == [HEAP, ANONYMOUS, SMALL]


def test_what_is_mostly_empty_is_not() -> None:
    assert list(mappings_worth_it(smaps(rss=2047))) == [HEAP, SMALL]


@pytest.mark.parametrize(
    "other",
    [
        "r-xp 00000000 fe:00 77 /usr/lib/x.so",  # code
        "rw-p 00001000 fe:00 77 /usr/lib/x.so",  # the data of a library
        "rw-s 00000000 00:01 77 /dev/zero (deleted)",  # shared with other processes
        "r--p 00000000 00:00 0",
        "rw-p 00000000 00:00 0 [stack]",
    ],
)
def test_nor_is_what_is_not_the_programs_own_data(other: str) -> None:
    assert list(mappings_worth_it(smaps(name=" [stack]", other=other))) == [HEAP, SMALL]


def kernel_can() -> bool:
    """It has huge pages, and moves what is in memory into them when it is asked to: since Linux 6.1."""
    version = tuple(map(int, platform.release().split(".")[:2]))
    return version >= (6, 1) and Path("/sys/kernel/mm/transparent_hugepage").exists()


# There the program runs as it did before, and there is nothing to be seen.
@pytest.mark.skipif(not kernel_can(), reason="a kernel without huge pages on demand")
def test_a_server_has_most_of_its_memory_in_huge_pages() -> None:
    with running("serve", "--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0") as program:
        text = Path(f"/proc/{program.process.pid}/smaps_rollup").read_text()
        found = {name: int(kib) for name, kib in re.findall(r"^(\w+): +(\d+) kB$", text, re.MULTILINE)}
    assert found["AnonHugePages"] * 2 > found["Anonymous"]


@pytest.mark.parametrize(
    ("sizes", "done_after"),
    [
        ([0, WORTH_IT_KIB, WORTH_IT_KIB, WORTH_IT_KIB], [2]),
        ([0, WORTH_IT_KIB - 1, WORTH_IT_KIB - 1], []),  # not much
        ([0, 5000, 10_000, 15_000, 15_000 + AT_REST_KIB], [4]),  # once it has come to rest
        ([0, 5000, 5000 + AT_REST_KIB + 1], []),
        ([9000, 1000, 5200, 5200, 5200], [3]),  # it had become smaller
        ([0, 5000, 5000, 10_000, 10_000], [2, 4]),
    ],
)
async def test_it_is_done_again_when_the_process_has_grown_and_stopped_growing(
    sizes: list[int], done_after: list[int], autojump_clock: trio.testing.MockClock
) -> None:
    looks = -1
    done: list[int] = []

    def resident() -> int:
        nonlocal looks
        looks += 1
        return sizes[looks]

    began_at = trio.current_time()
    with pytest.raises(IndexError):  # at the look after the last
        await use_huge_pages_as_it_grows(resident, lambda: done.append(looks))
    assert trio.current_time() - began_at == LOOK_EVERY_S * len(sizes)
    assert done == done_after


async def test_where_nobody_tells_how_large_it_is_the_service_goes_on() -> None:
    def no_proc() -> int:
        raise FileNotFoundError("/proc/self/statm")

    await use_huge_pages_as_it_grows(no_proc, lambda: pytest.fail("nothing has grown"))


def test_the_kernel_tells_how_large_the_process_is() -> None:
    before = resident_kib()
    block = bytearray(b"x") * (64 << 20)
    assert 60_000 <= resident_kib() - before <= 80_000
    assert len(block) == 64 << 20
