"""Whenever and however a client leaves, the witness says so at once, and says what was on the wire."""

from __future__ import annotations

import socket
import ssl

import pytest
import trio

from fanout.tools.simulator import CallRecord
from tests.tools.simulator.wire_client import Served, Tls, ended, serving, until


@pytest.fixture(params=["plain", "tls"])
def how_tls(request: pytest.FixtureRequest, tls: Tls) -> Tls | None:
    return tls if request.param == "tls" else None


# What the server is doing when the client leaves: the target, and how many bytes come before.
WHILE = {
    "delaying": ("/api/work?delay_ms=60000", 0),
    "dripping": ("/api/work?fault=drip&drip_ms=2000", 1),
    "hanging before the head": ("/api/work?fault=hang_before_head", 0),
    "hanging in the head": ("/api/work?fault=hang_mid_head", 39),
    "hanging in the body": ("/api/work?fault=hang_mid_body", 92),
}


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("what", WHILE)
async def test_a_client_that_leaves_is_seen_within_50_ms_and_how(
    what: str, how: str, how_tls: Tls | None
) -> None:
    """G6 is judged by this."""
    target, read = WHILE[what]
    lags_ms: list[float] = []
    async with serving(tls=how_tls) as served:
        while min(lags_ms, default=50.0) >= 50 and len(lags_ms) < 5:  # a busy machine may be late once
            record, lag_ms = await _leave(served, target, read, how)
            assert (record.end, record.client_closed_how) == ("client_closed", how)
            assert record.answered_ms is None
            lags_ms.append(lag_ms)
    assert 0 <= min(lags_ms) < 50


async def _leave(served: Served, target: str, read: int, how: str) -> tuple[CallRecord, float]:
    """Begin a call, read so much, leave. Its record, and how many ms later that says so."""
    calls = served.simulator.statistics().calls
    async with served.connected() as client:
        await client.get(target)
        await client.exactly(read)
        await until(lambda: served.simulator.statistics().calls > calls)
        left_at = trio.current_time()
        client.close() if how == "fin" else client.reset()
        record = await ended(served.simulator, calls + 1)
    assert record.client_closed_ms is not None
    return record, (record.clock_start - left_at) * 1000 + record.client_closed_ms


async def test_a_reset_is_seen_as_one_while_the_server_writes(how_tls: Tls | None) -> None:
    """The kernel reports a reset once, to the read or to the write, whichever comes first."""
    async with serving(tls=how_tls) as served:
        for call in range(1, 21):
            async with served.connected() as client:
                await client.get("/api/work?fault=huge_chunked")
                await client.exactly(1)
                client.reset()
                record = await ended(served.simulator, call)
                assert (record.end, record.client_closed_how) == ("client_closed", "rst")


async def test_a_client_that_does_not_read_holds_nobody_up() -> None:
    """The server's write waits for that client alone, and ends when it leaves."""
    async with serving() as served:
        client = await served.connect()
        await client.get("/api/work?fault=huge_chunked")
        await client.exactly(1)
        await trio.sleep(0.05)
        assert await served.ask("GET", "/healthz") == (200, {"status": "ok"})
        assert served.simulator.statistics().calls_open == 1
        client.close()  # with bytes unread, this is RST
        record = await ended(served.simulator, 1)
        assert (record.end, record.client_closed_how) == ("client_closed", "rst")


async def test_a_client_that_asks_and_leaves_in_one_breath_still_has_a_record() -> None:
    async with serving() as served:
        for how in ("fin", "rst"):
            client = await served.connect()
            await client.get("/api/work?delay_ms=60000")
            client.close() if how == "fin" else client.reset()
        await until(lambda: served.simulator.statistics().connections_open == 0)
        # An RST may overtake the request in the kernel: then the call never was.
        hows = [record.client_closed_how for record in served.simulator.calls()]
        assert hows in (["fin"], ["fin", "rst"], ["rst", "fin"])


async def test_a_half_closed_connection_counts_as_left() -> None:
    """A known limit: a client that only shuts down its sending side gets no answer."""
    async with serving() as served, served.connected() as client:
        await client.get("/api/work?delay_ms=60000")
        client.half_close()
        record = await ended(served.simulator, 1)
        assert (record.end, record.client_closed_how) == ("client_closed", "fin")


async def test_an_answer_that_the_client_had_before_it_left_is_an_answer(how_tls: Tls | None) -> None:
    """Clients that read the last byte and close at once: none counts as having left its call.

    They run in threads, so that they can be faster than the pass of the loop in which they are answered.
    """

    def ask_and_leave(port: int) -> None:
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", port)) as plain:
                sock = how_tls.client.wrap_socket(plain, server_hostname="localhost") if how_tls else plain
                sock.sendall(b"GET /api/work HTTP/1.1\r\n\r\n")
                data = b""
                while not data.endswith(b"}"):
                    data += sock.recv(1000)
                sock.close()

    async with serving(tls=how_tls) as served:
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(trio.to_thread.run_sync, ask_and_leave, served.port)
        await until(lambda: served.simulator.statistics().connections_open == 0)
        totals = served.simulator.statistics()
        assert (totals.calls_answered, totals.calls_client_closed) == (200, 0)


async def test_a_client_that_breaks_tls_is_told_apart(tls: Tls) -> None:
    async with serving(tls=tls) as served, served.connected() as client:
        await client.get("/api/work?delay_ms=60000")
        await until(lambda: served.simulator.statistics().calls == 1)
        await client.send_raw(b"this is no TLS record, and too long to be one " * 10)
        record = await ended(served.simulator, 1)
        assert (record.end, record.client_closed_how) == ("client_closed", "tls_error")


async def test_a_client_that_does_not_trust_the_certificate_is_counted(tls: Tls) -> None:
    def distrust(port: int) -> None:
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")

    async with serving(tls=tls) as served:
        await trio.to_thread.run_sync(distrust, served.port)
        await until(lambda: served.simulator.statistics().connections_open == 0)
        assert served.simulator.statistics().connections_ended == {"client_tls_error": 1}
