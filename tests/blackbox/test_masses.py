"""Thousands of the same mischief, in the short form; `make siege` has the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.blackbox.front_door.certified import certified
from tests.blackbox.front_door.door import front_door
from tests.blackbox.front_door.masses import KINDS, QUICK, hellos_at_once, overrun

PATIENT = ("--max-loop-lag-ms", "1000")  # see `test_front_door`
MAX_GROWTH_MIB = 5  # what the allocator may keep; a leak of 5 KiB in each is more
ON_TIME = (200, 500)  # a machine that stands still for 300 ms makes a deadline of an answer

pytestmark = [pytest.mark.alone, pytest.mark.long]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_thousand_of_a_kind_cost_no_memory_and_delay_nobody(kind: str, tmp_path: Path) -> None:
    """G2, G10, with 215 idle connections. Iterations are not bounded here: the machine may be busy."""
    trust, options = certified(tmp_path) if kind == "handshake" else (None, ())
    with front_door(upstream=QUICK, serve=(*PATIENT, *options), tls=trust) as door:
        masses = await overrun(door, kind, count=1000)
    masses.bystander.assert_unharmed(statuses=ON_TIME, at_least=20)
    assert masses.growth_mib < MAX_GROWTH_MIB
    assert masses.after.descriptors <= masses.before.descriptors
    assert masses.after.tasks <= masses.before.tasks
    assert masses.bugs == 0


async def test_a_thousand_client_hellos_at_once_delay_nobody(tmp_path: Path) -> None:
    """G2, G10. A handshake is work: as many as the loop has time for, and no more, in one iteration."""
    trust, options = certified(tmp_path)
    with front_door(upstream=QUICK, serve=(*PATIENT, *options), tls=trust) as door:
        seen = await hellos_at_once(door, 1000)
    seen.assert_unharmed(statuses=ON_TIME, at_least=40)
