"""The front door over HTTP/2: every hostile kind against the real program, next to bystanders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.blackbox.front_door.certified import certified
from tests.blackbox.front_door.door import SETTLE_WITHIN_S, Door, closing, front_door
from tests.blackbox.front_door.http2_frames import OPENING, block, fields, headers, reset
from tests.blackbox.front_door.http2_kinds import HTTP2_KINDS, over_http2
from tests.blackbox.front_door.http2_siege import besiege_over_http2

PATIENT = ("--max-loop-lag-ms", "1000")  # see `test_front_door`
QUICK = ("--reliable", "--min-delay-ms", "20", "--max-delay-ms", "50")


@pytest.mark.alone
async def test_hostile_http2_connections_cost_bystanders_nothing(tmp_path: Path) -> None:
    """G1, G2, G10, G11: every answer is a success, nothing is left behind, a client's fault is no crash."""
    trust, options = certified(tmp_path)
    with front_door(upstream=QUICK, serve=(*PATIENT, *options), tls=trust) as door:
        siege = await besiege_over_http2(door, connections=len(HTTP2_KINDS), seconds=5, rate_per_s=10)
    assert siege.kinds == len(HTTP2_KINDS) >= 100
    siege.http1.assert_unharmed(at_least=50)
    siege.http2.assert_unharmed(at_least=50)
    assert siege.at_peak.resident_kib - siege.before.resident_kib < 100 * 1024
    assert siege.after.descriptors <= siege.before.descriptors
    assert siege.after.tasks <= siege.before.tasks
    assert siege.left_in_flight == siege.left_upstream == 0
    assert siege.connections["ended"]["flooding"] >= 20
    assert siege.connections["crashes"] == siege.bugs == 0


@pytest.fixture(scope="module")
def hanging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    trust, options = certified(tmp_path_factory.mktemp("tls"))
    serve = (*PATIENT, *options, "--max-in-flight", "40")
    with front_door(query="fault=hang_before_head", serve=serve, tls=trust) as door:
        yield over_http2(door)


async def test_the_calls_of_a_request_taken_back_end_on_the_wire(hanging: Door) -> None:
    """G6. Its connection stays, so it is the reset alone that ends them."""
    race = block(*fields(b"/api/all?timeout=30000"))
    last = max((call["id"] for call in await hanging.calls()), default=0)
    with closing(await hanging.connect()) as client:
        await client.send(OPENING + headers(1, race))
        await _until_calls_are(hanging, last, "open")
        await client.send(reset(1))
        with trio.fail_after(SETTLE_WITHIN_S):
            await _until_calls_are(hanging, last, "client_closed")
        (statistics,) = await hanging.statistics()
        assert statistics["connections"]["open"] >= 1
    assert statistics["admission"]["in_flight"] == 0


async def test_rapid_reset_begins_no_more_calls_than_the_limits_allow(hanging: Door) -> None:
    """G8, G10. Waves of requests, each reset once it runs: the connection ends with its allowance."""
    race = block(*fields(b"/api/all?timeout=30000"))
    (before,) = await hanging.statistics()
    last = max((call["id"] for call in await hanging.calls()), default=0)
    with hanging.bystander(target="/openapi.json") as seen, closing(await hanging.connect()) as client:
        await client.send(OPENING)
        for first in range(1, 4001, 100):
            streams = range(first, first + 100, 2)
            await client.send(b"".join(headers(stream_id, race) for stream_id in streams))
            await trio.sleep(0.05)
            await client.send(b"".join(map(reset, streams)))
    seen.assert_unharmed(statuses=(200, 503))  # the attack fills all 40 permits
    with trio.fail_after(SETTLE_WITHIN_S):
        while True:
            (after,) = await hanging.statistics()
            if not after["admission"]["in_flight"]:
                break
            await trio.sleep(0.05)
    assert after["connections"]["ended"]["flooding"] > before["connections"]["ended"].get("flooding", 0)
    assert after["admission"]["peak_in_flight"] <= 40
    assert len(await hanging.calls(since=last)) <= 2 * 300  # of 2,000 requests
    assert after["connections"]["crashes"] == 0


async def _until_calls_are(door: Door, since: int, end: str) -> None:
    with trio.fail_after(SETTLE_WITHIN_S):
        while [call["end"] for call in await door.calls(since=since)] != [end, end]:
            await trio.sleep(0.02)
