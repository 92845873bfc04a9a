"""The program's objects lie in huge pages, its stacks do not. Linux tells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fanout.testing import running
from fanout.web.huge_pages import mappings_worth_it

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


@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="a kernel without huge pages"
)
def test_a_server_has_most_of_its_memory_in_huge_pages() -> None:
    with running("serve", "--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0") as program:
        text = Path(f"/proc/{program.process.pid}/smaps_rollup").read_text()
        found = {name: int(kib) for name, kib in re.findall(r"^(\w+): +(\d+) kB$", text, re.MULTILINE)}
    assert found["AnonHugePages"] * 2 > found["Anonymous"]
