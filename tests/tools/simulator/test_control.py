"""The simulator is steered over the wire while it runs."""

from __future__ import annotations

import pytest

from fanout.tools.simulator import Overrides
from fanout.tools.simulator.connection_faults import CONNECTION_FAULTS
from fanout.tools.simulator.faults import FAULTS
from fanout.tools.simulator.state import MAX_SLOTS
from tests.tools.simulator.wire_client import serving, until


async def test_settings_are_read_and_changed_while_it_runs() -> None:
    async with serving() as served, served.connected() as client:
        status, settings = await client.ask("GET", "/settings")
        assert status == 200
        assert settings == {
            "seed": 0,
            "min_delay_ms": 0,
            "max_delay_ms": 0,
            "faults": {},
            "connection_faults": {},
            "deadline_header": "X-Envoy-Expected-Rq-Timeout-Ms",
            "heeds_deadline": False,
        }
        assert await client.ask("PUT", "/settings", {"max_delay_ms": 3, "faults": {"not_json": 1}}) == (
            200,
            settings | {"max_delay_ms": 3, "faults": {"not_json": 1}},
        )
        await client.get("/api/work")
        assert await client.answer() == (200, b"<html><body>It works!</body></html>")


async def test_wrong_settings_change_nothing() -> None:
    """One wrong part of many: the right ones are not applied either."""
    async with serving() as served, served.connected() as client:
        before = served.simulator.settings
        wrong = {"min_delay_ms": 1, "max_delay_ms": 2, "faults": {"garbage": 0.5, "nope": 0.1}}
        status, answer = await client.ask("PUT", "/settings", wrong)
        assert status == 400
        assert answer["error"].startswith("faults has no 'nope'; known: ")
        assert served.simulator.settings is before


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 30_000, b'{"seed": 1}x'])
async def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    async with serving() as served, served.connected() as client:
        for path in ("/settings", "/slots/a"):
            status, answer = await client.ask("PUT", path, body)
            assert status == 400
            assert "JSON object" in answer["error"]


async def test_a_slot_steers_the_calls_that_name_it() -> None:
    """fanout's upstream URLs are fixed at its start: a slot is how a test changes what they do."""
    async with serving() as served, served.connected() as client:
        assert (await client.ask("GET", "/api/work?slot=a"))[0] == 200
        put = await client.ask("PUT", "/slots/a", {"status": 503, "delay_ms": 2, "tag": "t"})
        assert put == (200, {"fault": "status", "status": 503, "delay_ms": 2, "tag": "t"})
        assert await client.ask("GET", "/slots") == (200, {"a": put[1]})
        assert await client.ask("GET", "/api/work?slot=a") == (503, {"time": 2, "tag": "t"})
        assert await client.ask("GET", "/api/work?slot=a&fault=none&delay_ms=1") == (
            200,
            {"time": 1, "tag": "t"},
        )
        assert (await client.ask("GET", "/api/work?slot=b"))[0] == 200
        assert await client.ask("DELETE", "/slots/a") == (200, {"deleted": True})
        assert await client.ask("DELETE", "/slots/a") == (200, {"deleted": False})
        assert (await client.ask("GET", "/api/work?slot=a"))[0] == 200
        slots = [(record.slot, record.tag) for record in served.simulator.calls()]
        assert slots == [("a", None), ("a", "t"), ("a", "t"), ("b", None), ("a", None)]


async def test_a_wrong_slot_stores_nothing() -> None:
    async with serving() as served, served.connected() as client:
        assert (await client.ask("PUT", "/slots/a", {"fault": "nope"}))[0] == 400
        assert (await client.ask("PUT", "/slots/a.b", {}))[0] == 400
        assert await client.ask("GET", "/slots") == (200, {})


async def test_slots_are_bounded() -> None:
    async with serving() as served, served.connected() as client:
        for n in range(MAX_SLOTS):
            served.simulator.set_slot(f"s{n}", Overrides())
        assert (await client.ask("PUT", "/slots/more", {}))[0] == 400
        assert (await client.ask("PUT", "/slots/s0", {"delay_ms": 1}))[0] == 200


async def test_a_wrong_work_query_is_no_call() -> None:
    async with serving() as served, served.connected() as client:
        status, answer = await client.ask("GET", "/api/work?fault=nope")
        assert status == 400
        assert "allowed: none, chunked" in answer["error"]
        assert served.simulator.statistics().calls == 0


async def test_connections_are_counted_by_how_they_ended() -> None:
    async with serving() as served, served.connected() as client:
        left = await served.connect()
        left.close()
        async with served.connected() as reset:
            await reset.get("/api/work?fault=rst_before_head")
            await reset.to_end()
        async with served.connected() as closed:
            await closed.get("/api/work?fault=connection_close")
            await closed.to_end()
        await until(lambda: served.simulator.statistics().connections_open == 1)
        assert await client.ask("GET", "/connections") == (
            200,
            {
                "accepted": 4,
                "open": 1,
                "closed": 3,
                "ended": {"client_fin": 1, "server_reset": 1, "server_close": 1},
                "faults": {},
            },
        )


async def test_the_faults_are_listed_for_programs() -> None:
    async with serving() as served:
        status, faults = await served.ask("GET", "/faults")
        assert status == 200
        assert [fault["name"] for fault in faults] == [*FAULTS, *CONNECTION_FAULTS]
        assert faults[0] == {
            "name": "chunked",
            "of": "call",
            "kind": None,
            "summary": "The right answer in chunks, with an extension and a trailer field.",
        }
        assert {fault["of"] for fault in faults} == {"call", "connection"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/nope", 404),
        ("GET", "/calls/1", 404),
        ("GET", "/api/work/", 404),
        ("POST", "/calls", 405),
        ("DELETE", "/settings", 405),
        ("GET", "/slots/a", 405),
        ("POST", "/api/work", 405),
        ("GET", "/healthz", 200),
        ("GET", "/prefix/api/work", 200),
    ],
)
async def test_paths_and_methods(method: str, path: str, status: int) -> None:
    async with serving() as served:
        assert (await served.ask(method, path))[0] == status


async def test_what_is_not_allowed_says_what_is() -> None:
    async with serving() as served, served.connected() as client:
        await client.send(b"DELETE /settings HTTP/1.1\r\nConnection: close\r\n\r\n")
        data, end = await client.to_end()
        assert b"\r\nAllow: GET, PUT\r\n" in data
        assert data.endswith(b'\r\n\r\n{"error": "allowed: GET, PUT"}')
        assert end == "fin"


@pytest.mark.parametrize("path", ["/healthz", "/api/work"])
async def test_an_answer_to_head_has_no_body(path: str) -> None:
    async with serving() as served, served.connected() as client:
        await client.send(f"HEAD {path} HTTP/1.1\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await client.exactly(1)
        assert head.startswith(b"HTTP/1.1 405 ")
        assert await client.answer() == (200, b'{"status": "ok"}')
