"""The front door on the real program: the short form. `benchmarks/front_door.py` is the long one.

A loop that another process on the machine holds up refuses new requests, and rightly; these tests are about
something else, so `PATIENT` lets it be held up.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import pytest
import trio

from tests.blackbox.front_door.certified import certified
from tests.blackbox.front_door.door import Door, closing, front_door
from tests.blackbox.front_door.drain import Drain, drain
from tests.blackbox.front_door.hostile import KINDS
from tests.blackbox.front_door.leaving import DEPARTURES, leave
from tests.blackbox.front_door.many import crowd
from tests.blackbox.front_door.siege import besiege
from tests.bystander import assert_in_time, machine_of

PATIENT = ("--max-loop-lag-ms", "1000")
TIMES = 3


async def test_two_hundred_hostile_connections_cost_a_steady_load_nothing() -> None:
    """G1, G2, G10, G11: no guarantee broken, no request lost, nothing left behind, nothing logged as a bug.

    The load's timeout is far away: its answers are judged, and the bystander's are timed.
    """
    with front_door(upstream=("--reliable", "--fault", "status=0.2"), serve=PATIENT) as door:
        siege = await besiege(door, connections=200, idle=300, rate_per_s=50, seconds=2.5, timeout_ms=10_000)
    siege.bystander.assert_unharmed(statuses=(200, 500), at_least=50)  # 500: no success, or the deadline
    assert siege.kinds == len(KINDS) >= 40
    assert siege.load["offered"] == 225
    assert siege.load["outcomes"].keys() == {"useful", "no_success"}  # the upstream fails, too
    assert siege.load["broken_guarantees"] == 0
    assert siege.accepted > 500
    assert siege.at_peak.descriptors > siege.before.descriptors
    assert siege.after.descriptors <= siege.before.descriptors
    assert siege.after.tasks <= siege.before.tasks
    assert siege.bugs == 0


@pytest.fixture(scope="module")
def hanging() -> Iterator[Door]:
    with front_door(query="fault=hang_before_head", serve=PATIENT) as door:
        yield door


@pytest.mark.parametrize("how", DEPARTURES)
async def test_when_a_client_leaves_its_calls_end_on_the_wire(hanging: Door, how: str) -> None:
    """G6, G10. A half-close counts as leaving. The median: the machine may hold up any one of them."""
    (before,) = await hanging.statistics()
    with hanging.bystander(target="/openapi.json", every_s=0.01) as seen:
        took_ms = await leave(hanging, how, times=TIMES)
    (after,) = await hanging.statistics()
    seen.assert_unharmed()
    assert median(took_ms) < 50
    assert max(took_ms) < 1000
    assert after["requests"]["clients_disconnected"] == before["requests"]["clients_disconnected"] + TIMES
    assert after["admission"]["in_flight"] == 0


async def test_five_hundred_hanging_requests_end_on_time_and_leave_nothing(hanging: Door) -> None:
    """G2, G3. Time in which the machine kept the processes from running does not count against the server."""
    many = await crowd(hanging, requests=500, per_s=400, timeout_ms=4000, at_one_moment=False)
    assert many.answers == {500: 500}
    assert many.peak_in_flight == 500
    assert many.late_ms[0] > -150  # the largest reserve is 100 ms, and 15 for 500 in flight
    assert many.kib_a_request < 60
    assert many.after.descriptors <= many.before.descriptors
    assert many.after.tasks <= many.before.tasks
    assert many.bugs == 0
    assert_in_time(many.servers_ms[-1] / 1000, machines_share=many.machines_share, took_s=many.took_s)


PROMISED_S = 1  # beyond the last deadline, for the server; the machine may take more
SLOW = ("--reliable", "--min-delay-ms", "800", "--max-delay-ms", "1200", "--fault", "hang_before_head=0.5")


def assert_ends_as_promised(drained: Drain) -> None:
    late_s = drained.over_s - drained.machine_s - PROMISED_S
    assert_in_time(late_s, machines_share=drained.machines_share, took_s=drained.took_s)


@pytest.mark.parametrize("workers", [1, 2])
async def test_sigterm_cuts_no_admitted_request(workers: int) -> None:
    """G9, with idle clients and clients that never read."""
    with front_door(upstream=SLOW, serve=(*PATIENT, "--workers", f"{workers}")) as door:
        drained = await drain(door, requests=100, timeout_ms=1500)
    assert drained.answers.keys() == {200, 500}  # one hanging call of two is none, two are a deadline
    assert sum(drained.answers.values()) == 100
    assert drained.exit_code == 0
    assert_ends_as_promised(drained)


async def test_sigterm_over_tls_also_with_a_handshake_under_way(tmp_path: Path) -> None:
    """G9."""
    trust, options = certified(tmp_path)
    with front_door(upstream=SLOW, serve=(*PATIENT, *options), tls=trust) as door:
        drained = await drain(door, requests=50, timeout_ms=1500)
    assert drained.answers.keys() == {200, 500}
    assert sum(drained.answers.values()) == 50
    assert drained.exit_code == 0
    assert_ends_as_promised(drained)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_second_signal_ends_at_once(workers: int) -> None:
    with front_door(query="fault=hang_before_head", serve=(*PATIENT, "--workers", f"{workers}")) as door:
        with ExitStack() as clients:
            for _ in range(20):
                client = clients.enter_context(closing(await door.connect()))
                await client.send(b"GET /api/first?timeout=20000 HTTP/1.1\r\nHost: a\r\n\r\n")
            await door.until_begun(20)
            door.fanout.process.send_signal(signal.SIGTERM)
            await until_refused(door)
            assert door.fanout.process.poll() is None
            with machine_of([door.fanout.process.pid]) as machine:
                second_at = time.monotonic()
                assert await trio.to_thread.run_sync(door.fanout.stop) == 0
                ended_at = time.monotonic()
        if workers == 1:  # of several, each is killed
            assert door.fanout.errors.count(b'"reason":"client_disconnected"') == 20, (
                "each has its line in the log"
            )
    servers_s = ended_at - second_at - machine.delay_ms(second_at, ended_at) / 1000
    share = machine.share(second_at, ended_at)
    assert_in_time(servers_s - PROMISED_S, machines_share=share, took_s=ended_at - second_at)


async def until_refused(door: Door) -> None:
    """The listener closes soon after the first signal."""
    with trio.fail_after(10):
        while True:
            await trio.sleep(0.01)
            try:
                with closing(await door.connect()):
                    pass
            except OSError:
                return
