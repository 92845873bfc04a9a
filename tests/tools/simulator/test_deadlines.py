"""The simulator reports how much time its clients said they had left, and can heed it."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from fanout.config import DEFAULT_DEADLINE_HEADER
from fanout.tools.simulator import Simulator, SimulatorSettings
from tests.tools.simulator.test_virtual_time import connected

SLOW = SimulatorSettings(min_delay_ms=100, max_delay_ms=100, faults={})


async def asked(simulator: Simulator, *fields: str, target: str = "/api/work") -> tuple[bytes, float]:
    """The answer, and when it came."""
    head = "".join(f"{line}\r\n" for line in (f"GET {target} HTTP/1.1", "Host: a", *fields, ""))
    async with connected(simulator) as client:
        began_at = trio.current_time()
        await client.send_all(head.encode("latin-1"))
        answer = await client.receive_some()
        return bytes(answer), trio.current_time() - began_at


@pytest.mark.parametrize(
    ("fields", "left_ms"),
    [
        ((), None),
        ((f"{DEFAULT_DEADLINE_HEADER}: 973",), 973),
        ((f"{DEFAULT_DEADLINE_HEADER.upper()}: 0",), 0),
        ((f"{DEFAULT_DEADLINE_HEADER}: -3",), None),
        ((f"{DEFAULT_DEADLINE_HEADER}: soon",), None),
        ((f"{DEFAULT_DEADLINE_HEADER}: \xb2",), None),
        ((f"{DEFAULT_DEADLINE_HEADER}: {'9' * 5000}",), None),
        (("X-Other: 5",), None),
    ],
)
async def test_the_record_of_a_call_has_the_time_that_its_client_had_left(
    autojump_clock: trio.testing.MockClock, fields: tuple[str, ...], left_ms: int | None
) -> None:
    simulator = Simulator(SLOW)
    _, took_s = await asked(simulator, *fields)
    (record,) = simulator.calls()
    assert record.as_json()["time_left_ms"] == left_ms
    assert took_s == pytest.approx(0.1)
    assert (record.end, record.status) == ("answered", 200)


async def test_each_request_of_a_connection_says_its_own(autojump_clock: trio.testing.MockClock) -> None:
    simulator = Simulator(SLOW)
    async with connected(simulator) as client:
        for field in (b"X-Envoy-Expected-Rq-Timeout-Ms: 7\r\n", b""):
            await client.send_all(b"GET /api/work HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n")
            await client.receive_some()
    assert [record.time_left_ms for record in simulator.calls()] == [7, None]


async def test_the_header_has_the_name_that_it_was_given(autojump_clock: trio.testing.MockClock) -> None:
    simulator = Simulator(SLOW.changed({"deadline_header": "X-Left"}))
    await asked(simulator, "x-left: 8", f"{DEFAULT_DEADLINE_HEADER}: 9")
    simulator.apply(SLOW.changed({"deadline_header": ""}))
    await asked(simulator, "x-left: 8", f"{DEFAULT_DEADLINE_HEADER}: 9")
    assert [record.time_left_ms for record in simulator.calls()] == [8, None]


@pytest.mark.parametrize(
    ("left_ms", "status", "took_s", "fault"),
    [
        (0, 504, 0, "out_of_time"),
        (40, 504, 0.04, "out_of_time"),
        (99, 504, 0.099, "out_of_time"),
        (100, 200, 0.1, None),
        (101, 200, 0.1, None),
    ],
)
async def test_a_call_that_takes_longer_than_its_client_has_is_given_up_then(
    autojump_clock: trio.testing.MockClock, left_ms: int, status: int, took_s: float, fault: str | None
) -> None:
    simulator = Simulator(SLOW.changed({"heeds_deadline": True}))
    answer, took = await asked(simulator, f"{DEFAULT_DEADLINE_HEADER}: {left_ms}")
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert took == pytest.approx(took_s)
    (record,) = simulator.calls()
    assert (record.status, record.end, record.fault) == (status, "answered", fault)


async def test_a_fault_does_not_come_to_a_client_that_is_out_of_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    simulator = Simulator(SLOW.changed({"heeds_deadline": True}))
    target = "/api/work?fault=not_json"
    answer, _ = await asked(simulator, f"{DEFAULT_DEADLINE_HEADER}: 10", target=target)
    assert answer.startswith(b"HTTP/1.1 504 ")
    answer, _ = await asked(simulator, f"{DEFAULT_DEADLINE_HEADER}: 200", target=target)
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_without_the_header_there_is_nothing_to_heed(autojump_clock: trio.testing.MockClock) -> None:
    simulator = Simulator(SLOW.changed({"heeds_deadline": True}))
    answer, took_s = await asked(simulator)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert took_s == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"deadline_header": 5}, "deadline_header must be the name of a header field, or empty, not 5"),
        ({"deadline_header": "Host"}, "deadline_header='Host': use the name of a header field"),
        ({"deadline_header": "a b"}, "deadline_header='a b': use the name of a header field"),
        ({"heeds_deadline": 1}, "heeds_deadline must be true or false, not 1"),
    ],
)
def test_wrong_settings_are_refused_in_one_sentence(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=f"^{why}"):
        SLOW.changed(changes)
