"""The table's verdicts, checked by a strict client made of h11 and twenty lines of rules.

It shares no code with fanout's own client: two readers of the guarantee must come to the same word.
"""

from __future__ import annotations

import json
import zlib
from typing import Any, NoReturn

import h11
import pytest
import trio

from fanout.tools.simulator import Simulator, SimulatorSettings
from fanout.tools.simulator.connection_faults import CONNECTION_FAULTS
from fanout.tools.simulator.fault import Kind
from fanout.tools.simulator.faults import FAULTS
from tests.tools.simulator.wire_client import Served, Tls, serving

PATIENCE_S = 10.0  # a busy machine is not a fault
HANGING_S = 0.1  # for what is expected to hang
MAX_BODY_BYTES = 64 * 1024
MAX_HEAD_BYTES = 64 * 1024
MAX_INTERIM = 20
MAX_DEPTH = 63


class Failed(Exception):
    def __init__(self, kind: Kind) -> None:
        self.kind = kind


async def judge(served: Served, target: str, expected: Kind | None) -> Kind | None:
    """`None` for a success, else the kind of the failure. What is expected decides only the patience."""
    with trio.move_on_after(HANGING_S if expected == "hang" else PATIENCE_S):
        try:
            stream = await _connect(served)
        except trio.BrokenResourceError:
            return "unreachable"
        try:
            _check(await _body(stream, target))
        except Failed as failed:
            return failed.kind
        except (h11.RemoteProtocolError, trio.BrokenResourceError):
            return "broken"
        finally:
            await trio.aclose_forcefully(stream)
        return None
    return "hang"


async def _connect(served: Served) -> trio.abc.Stream:
    stream = await trio.open_tcp_stream("127.0.0.1", served.port)
    if served.tls is None:
        return stream
    tls = trio.SSLStream(stream, served.tls.client, server_hostname="localhost", https_compatible=True)
    try:
        await tls.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return tls


async def _body(stream: trio.abc.Stream, target: str) -> bytes:
    """The decoded body of a 200."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
    request = h11.Request(method="GET", target=target, headers=[("Host", "localhost")])
    await stream.send_all(connection.send(request) + connection.send(h11.EndOfMessage()))
    body, interim = b"", 0
    decoder: Any = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some()))
        elif isinstance(event, h11.InformationalResponse):
            interim += 1
            if interim > MAX_INTERIM:
                raise Failed("broken")
        elif isinstance(event, h11.Response):
            if event.status_code != 200:
                raise Failed("bad_status")
            coding = dict(event.headers).get(b"content-encoding")
            decoder = {b"gzip": zlib.decompressobj(31), b"deflate": zlib.decompressobj()}.get(coding or b"")
        elif isinstance(event, h11.Data):
            body += _decoded(decoder, event.data)
            if len(body) > MAX_BODY_BYTES:
                raise Failed("too_large")
        elif isinstance(event, h11.EndOfMessage):
            return body


def _decoded(decoder: Any, data: bytes) -> bytes:
    if decoder is None:
        return bytes(data)
    try:
        decoded: bytes = decoder.decompress(data, MAX_BODY_BYTES + 1)
    except zlib.error:
        raise Failed("bad_payload") from None
    return decoded


def _check(body: bytes) -> None:
    try:
        payload = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Failed("bad_payload") from None
    if _depth(payload) > MAX_DEPTH:
        raise Failed("bad_payload")
    time = payload.get("time") if isinstance(payload, dict) else None
    if type(time) is not int or time < 0:
        raise Failed("bad_payload")


def _depth(value: Any) -> int:
    depth = 0
    level = [value]
    while level := [each for each in level if isinstance(each, (dict, list))]:
        depth += 1
        level = [child for each in level for child in (each.values() if isinstance(each, dict) else each)]
    return depth


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name occurs twice")
    return dict(pairs)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


@pytest.mark.parametrize("name", FAULTS)
async def test_a_strict_client_agrees_with_the_table(name: str) -> None:
    async with serving() as served:
        expected = FAULTS[name].kind
        assert await judge(served, f"/api/work?fault={name}&drip_ms=20", expected) == expected


async def test_a_strict_client_agrees_over_tls(tls: Tls) -> None:
    async with serving(tls=tls) as served:
        verdicts: dict[str, Kind | None] = {}

        async def run(name: str) -> None:
            verdicts[name] = await judge(served, f"/api/work?fault={name}&drip_ms=20", FAULTS[name].kind)

        async with trio.open_nursery() as nursery:
            for name in FAULTS:
                if not name.startswith(("huge", "endless")):
                    nursery.start_soon(run, name)
    assert verdicts == {name: FAULTS[name].kind for name in verdicts}


@pytest.mark.parametrize("name", CONNECTION_FAULTS)
@pytest.mark.parametrize("over", ["plain", "tls"])
async def test_a_strict_client_agrees_about_connections(name: str, over: str, tls: Tls) -> None:
    fault = CONNECTION_FAULTS[name]
    settings = SimulatorSettings(0, 0, 0, faults={}, connection_faults={name: 1})
    async with serving(Simulator(settings), tls=tls if over == "tls" else None) as served:
        expected = fault.kind_over(tls=over == "tls")
        assert await judge(served, "/api/work", expected) == expected
