"""Every fault of a connection, as a raw client sees it; and that only the right connections get it."""

from __future__ import annotations

import ssl

import pytest

from fanout.tools.simulator import Simulator, SimulatorSettings
from fanout.tools.simulator.connection_faults import CONNECTION_FAULTS
from tests.tools.simulator.wire_client import Tls, serving, until

ACCEPT = {"accept_hang": "silent", "accept_rst": "rst", "accept_fin": "fin"}
HANDSHAKE = {
    "handshake_hang": "silent",
    "handshake_rst": "rst",
    "handshake_fin": "fin",
    "handshake_garbage": "fin",
}

HANDSHAKE_RECORD = b"\x16\x03\x03"
HALF_FLIGHT_BYTES = 300  # at least: half of a ServerHello, a certificate and a signature


def always(fault: str) -> Simulator:
    return Simulator(SimulatorSettings(0, 0, 0, faults={}, connection_faults={fault: 1}))


def _client_hello(tls: Tls) -> bytes:
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        tls.client.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


def test_every_fault_has_an_expectation_here() -> None:
    assert {*ACCEPT, *HANDSHAKE} == set(CONNECTION_FAULTS)


@pytest.mark.parametrize("fault", ACCEPT)
async def test_a_connection_is_spoilt_before_a_byte_is_read(fault: str) -> None:
    async with serving(always(fault)) as served:
        async with served.connected() as client:
            if ACCEPT[fault] == "silent":
                await client.get("/api/work")
                assert await client.to_silence(0.03) == (b"", "silent")
            else:
                assert await client.to_end() == (b"", ACCEPT[fault])
        await until(lambda: served.simulator.statistics().connections_open == 0)
        assert served.simulator.statistics().connections_faulted == {fault: 1}
        assert served.simulator.statistics().calls == 0


@pytest.mark.parametrize("fault", HANDSHAKE)
async def test_a_handshake_is_spoilt_after_the_client_hello(fault: str, tls: Tls) -> None:
    async with serving(always(fault), tls=tls) as served:
        async with served.connected(handshake=False) as client:
            assert await client.to_silence(0.01) == (b"", "silent")
            await client.send(_client_hello(tls))
            if fault == "handshake_garbage":
                http = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                assert await client.to_end() == (http, "fin")
            else:
                assert (await client.exactly(HALF_FLIGHT_BYTES))[:3] == HANDSHAKE_RECORD
                end = await client.to_silence(0.03) if fault == "handshake_hang" else await client.to_end()
                assert end[1] == HANDSHAKE[fault]
        await until(lambda: served.simulator.statistics().connections_open == 0)
        assert served.simulator.statistics().connections_faulted == {fault: 1}


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize(
    ("fault", "over"), [("accept_hang", "plain"), ("accept_hang", "tls"), ("handshake_hang", "tls")]
)
async def test_a_client_that_leaves_a_hanging_connection_is_noticed(
    fault: str, over: str, how: str, tls: Tls
) -> None:
    async with serving(always(fault), tls=tls if over == "tls" else None) as served:
        async with served.connected(handshake=False) as client:
            await client.send(_client_hello(tls))
            await client.to_silence(0.03)
            client.close() if how == "fin" else client.reset()
            await until(lambda: served.simulator.statistics().connections_open == 0)
        assert served.simulator.statistics().connections_ended == {f"client_{how}": 1}


async def test_handshake_faults_spare_plain_connections() -> None:
    async with serving(always("handshake_rst")) as served:
        assert await served.ask("GET", "/healthz") == (200, {"status": "ok"})
        assert served.simulator.statistics().connections_faulted == {}


async def test_listeners_can_be_kept_free_of_connection_faults() -> None:
    """A way in, to change the settings, when every other connection is spoilt."""
    simulator = always("accept_rst")
    async with serving(simulator) as spoilt, serving(simulator, connection_faults=False) as spared:
        async with spoilt.connected() as client:
            assert await client.to_end() == (b"", "rst")
        assert (await spared.ask("PUT", "/settings", {"connection_faults": {}}))[0] == 200
        assert await spoilt.ask("GET", "/healthz") == (200, {"status": "ok"})
