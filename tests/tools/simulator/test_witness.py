"""What a record tells of its call, and how records are kept, filtered and forgotten."""

from __future__ import annotations

import json
import time

import pytest
import trio

from fanout.tools.simulator import CallRecord, SimulatorSettings
from fanout.tools.simulator.control import RECORDS_PER_ITERATION, reply
from fanout.tools.simulator.requests import Request
from fanout.tools.simulator.state import State
from fanout.tools.simulator.witness import MAX_RECORDS, Witness
from tests.tools.simulator.wire_client import ended, serving, until


async def test_a_record_tells_everything_about_a_call() -> None:
    async with serving() as served, served.connected() as client:
        before = time.time()
        await client.ask("GET", "/a/api/work?delay_ms=20&tag=one")
        await client.ask("GET", "/a/api/work?delay_ms=0&tag=two&slot=s&status=503")
        (first, second) = (await client.ask("GET", "/calls"))[1]["calls"]
        assert before <= first.pop("started_at") <= second.pop("started_at") <= time.time()
        assert 20 <= first.pop("answered_ms") < 5_000
        assert 0 <= second.pop("answered_ms") < 5_000
        nothing = {"time_left_ms": None, "client_closed_ms": None, "client_closed_how": None}
        assert first == nothing | {
            "id": 1,
            "connection": 1,
            "nth": 1,
            "path": "/a/api/work",
            "slot": None,
            "tag": "one",
            "fault": None,
            "delay_ms": 20,
            "status": 200,
            "end": "answered",
        }
        assert second == nothing | {
            "id": 2,
            "connection": 1,
            "nth": 2,
            "path": "/a/api/work",
            "slot": "s",
            "tag": "two",
            "fault": "status",
            "delay_ms": 0,
            "status": 503,
            "end": "answered",
        }


ENDS = {
    "none": ("answered", 200),
    "status": ("answered", 504),  # as drawn for the first call of seed 0
    "chunked": ("answered", 200),
    "close_idle": ("answered", 200),
    "length_too_long": ("faulted", 200),
    "garbage": ("faulted", None),
    "rst_before_head": ("faulted", None),
    "rst_mid_body": ("faulted", 200),
}


@pytest.mark.parametrize("fault", ENDS)
async def test_a_call_ends_as_its_fault_wants(fault: str) -> None:
    async with serving() as served, served.connected() as client:
        await client.get(f"/api/work?fault={fault}")
        record = await ended(served.simulator, 1)
        assert (record.end, record.status) == ENDS[fault]
        assert (record.answered_ms is not None) == (record.end == "answered")


async def test_a_call_that_runs_is_open_and_has_no_status() -> None:
    async with serving() as served, served.connected() as client:
        await client.get("/api/work?delay_ms=60000")
        await until(lambda: served.simulator.statistics().calls_open == 1)
        (record,) = (await served.ask("GET", "/calls"))[1]["calls"]
        assert (record["end"], record["status"], record["answered_ms"]) == ("open", None, None)


async def test_pipelined_calls_begin_when_they_are_read_and_are_answered_in_order() -> None:
    async with serving() as served, served.connected() as client:
        requests = [f"GET /api/work?delay_ms={ms}&tag=t{ms} HTTP/1.1\r\n\r\n" for ms in (30, 0, 1)]
        await client.send("".join(requests).encode())
        await until(lambda: served.simulator.statistics().calls_open == 3)
        bodies = [(await client.answer())[1] for _ in range(3)]
        assert bodies == [b'{"time": %d, "tag": "t%d"}' % (ms, ms) for ms in (30, 0, 1)]
        assert [record.nth for record in served.simulator.calls()] == [1, 2, 3]


async def test_pipelined_calls_end_together_with_their_connection() -> None:
    async with serving() as served:
        async with served.connected() as client:
            await client.send(b"GET /api/work?fault=rst_before_head HTTP/1.1\r\n\r\n" * 3)
            assert await client.to_end() == (b"", "rst")
        async with served.connected() as client:
            await client.send(b"GET /api/work?delay_ms=60000 HTTP/1.1\r\n\r\n" * 3)
            await until(lambda: served.simulator.statistics().calls_open == 3)
        await until(lambda: served.simulator.statistics().calls_open == 0)
        ends = [record.end for record in served.simulator.calls()]
        assert ends == ["faulted"] * 3 + ["client_closed"] * 3


async def test_calls_can_be_filtered_and_forgotten() -> None:
    async with serving() as served, served.connected() as client, served.connected() as other:
        for query in ("tag=a", "tag=a&slot=x", "tag=b&slot=x"):
            await client.ask("GET", f"/api/work?{query}")
        await other.get("/api/work?fault=hang_before_head")
        await until(lambda: served.simulator.statistics().calls == 4)

        async def ids(query: str) -> list[int]:
            status, answer = await client.ask("GET", f"/calls{query}")
            assert status == 200
            return [record["id"] for record in answer["calls"]]

        assert await ids("") == [1, 2, 3, 4]
        assert await ids("?since=2") == [3, 4]
        assert await ids("?tag=a") == [1, 2]
        assert await ids("?slot=x") == [2, 3]
        assert await ids("?since=1&slot=x&tag=b") == [3]
        assert await ids("?since=4") == []
        for wrong in ("since=-1", "since=x", "limit=1"):
            assert (await client.ask("GET", f"/calls?{wrong}"))[0] == 400

        totals = (await client.ask("GET", "/calls"))[1]["totals"]
        connections = totals.pop("connections")
        faults = {"hang_before_head": 1}
        assert totals == {
            "calls": 4,
            "open": 1,
            "answered": 3,
            "faulted": 0,
            "client_closed": 0,
            "faults": faults,
        }
        assert connections == {"accepted": 2, "open": 2, "closed": 0, "ended": {}, "faults": {}}

        await client.ask("DELETE", "/calls")
        assert await ids("") == [4]
        other.close()
        await ended(served.simulator, 4)
        assert (await client.ask("DELETE", "/calls"))[1]["calls"] == 0
        await client.ask("GET", "/api/work")
        assert await ids("") == [5]


async def test_the_oldest_records_fall_out_and_the_totals_do_not() -> None:
    witness = Witness()
    for n in range(MAX_RECORDS + 5):
        record = _begin(witness, fault="not_json" if n < 3 else None)
        witness.answered(record)
    ids = [record.id for record in witness.records()]
    assert (len(ids), ids[0]) == (MAX_RECORDS, 6)
    assert witness.totals()["answered"] == MAX_RECORDS + 5
    assert witness.totals()["faults"] == {"not_json": 3}


async def test_records_are_small() -> None:
    """Twenty thousand of the longest paths that are read would be a gigabyte."""
    async with serving() as served:
        await served.ask("GET", "/" + "x" * 50_000 + "/api/work")
        assert served.simulator.calls()[0].path == "/" + "x" * 199


async def test_a_call_ends_once() -> None:
    witness = Witness()
    record = _begin(witness)
    witness.answered(record)
    with pytest.raises(RuntimeError, match="ended twice"):
        witness.client_closed(record, "fin", 0.0)
    assert record.end == "answered"


def _begin(witness: Witness, fault: str | None = None) -> CallRecord:
    return witness.begin(connection=1, nth=1, path="/api/work", slot=None, tag=None, fault=fault, delay_ms=0)


async def test_reading_all_records_takes_turns_with_the_calls() -> None:
    """Twenty thousand records are a tenth of a second of work: nobody waits for all of it."""
    state = State(SimulatorSettings())
    for _ in range(MAX_RECORDS):
        state.witness.answered(_begin(state.witness))
    passes = 0

    async def count_iterations() -> None:
        nonlocal passes
        while True:
            await trio.lowlevel.checkpoint()
            passes += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_iterations)
        answer = await reply(state, Request("GET", "/calls", "", b"", closing=False))
        nursery.cancel_scope.cancel()
    assert len(json.loads(answer.body)["calls"]) == MAX_RECORDS
    assert passes >= MAX_RECORDS / RECORDS_PER_ITERATION - 2
