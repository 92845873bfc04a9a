"""One connection never hurts another, nothing is left behind, and bugs are loud."""

from __future__ import annotations

import errno
import os
import resource
from contextlib import suppress

import pytest
import trio

from fanout.tools.simulator import CallRecord, Simulator, SimulatorSettings
from fanout.tools.simulator import connection as connection_module
from fanout.tools.simulator.faults import FAULTS
from fanout.tools.simulator.player import play
from fanout.tools.simulator.script import Script
from fanout.tools.simulator.wire import Stream
from fanout.tools.simulator.witness import Witness
from tests.tools.simulator.wire_client import QUICK, Tls, serving, until


@pytest.fixture(params=["plain", "tls"])
def how_tls(request: pytest.FixtureRequest, tls: Tls) -> Tls | None:
    return tls if request.param == "tls" else None


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


async def test_clients_that_vanish_leave_nothing_behind(how_tls: Tls | None) -> None:
    """Every fault, left by FIN and by RST: tasks, descriptors and open counts go back to zero."""
    async with serving(tls=how_tls) as served:
        await served.ask("GET", "/healthz")
        await until(lambda: served.simulator.statistics().connections_open == 0)
        tasks, descriptors = _tasks(), _descriptors()
        for name in FAULTS:
            for how in ("fin", "rst"):
                client = await served.connect()
                await client.get(f"/api/work?fault={name}")
                client.close() if how == "fin" else client.reset()
        for how in ("fin", "rst"):
            client = await served.connect(handshake=False)
            await client.send(b"GET /api")
            client.close() if how == "fin" else client.reset()
        await until(lambda: served.simulator.statistics().connections_open == 0)
        statistics = served.simulator.statistics()
        assert statistics.calls_open == 0
        assert statistics.calls == (
            statistics.calls_answered + statistics.calls_faulted + statistics.calls_client_closed
        )
        assert sum(statistics.connections_ended.values()) == statistics.connections_accepted
        await until(lambda: _tasks() == tasks)
        assert _descriptors() == descriptors


async def test_cancelling_the_server_closes_every_connection_at_once(how_tls: Tls | None) -> None:
    """Running, hanging, not reading, idle, in the middle of a request or of a handshake."""
    simulator = Simulator(QUICK)
    clients = []
    before = _descriptors()
    async with serving(simulator, tls=how_tls) as served:
        for begin in (
            b"GET /api/work?delay_ms=60000 HTTP/1.1\r\n\r\n",
            b"GET /api/work?fault=hang_mid_body HTTP/1.1\r\n\r\n",
            b"GET /api/work?fault=huge_chunked HTTP/1.1\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\n\r\n",
            b"GET /hea",
        ):
            client = await served.connect()
            clients.append(client)
            await client.send(begin)
        clients.append(await served.connect(handshake=False))
        await until(lambda: simulator.statistics().calls == 3)
        await until(lambda: simulator.statistics().connections_open == 6)
        stopped_at = trio.current_time()
    assert trio.current_time() - stopped_at < 5
    statistics = simulator.statistics()
    assert (statistics.connections_open, statistics.calls_open) == (0, 0)
    assert statistics.connections_ended == {"server_stopped": 6}
    for client in clients:
        client.close()
    assert _descriptors() == before


async def test_a_bug_ends_its_connection_alone_and_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    bugs: list[BaseException] = []

    async def buggy_play(script: Script, stream: Stream, witness: Witness, record: CallRecord | None) -> None:
        await trio.sleep(0.01)
        if record is not None:
            raise ZeroDivisionError("a bug")
        await play(script, stream, witness, record)

    monkeypatch.setattr(connection_module, "play", buggy_play)
    simulator = Simulator(QUICK, on_crash=bugs.append)
    async with serving(simulator) as served, served.connected() as bystander:
        async with served.connected() as client:
            await client.get("/api/work")
            assert await client.to_end() == (b"", "fin")
        assert await bystander.ask("GET", "/healthz") == (200, {"status": "ok"})
        await until(lambda: simulator.statistics().connections_ended == {"crashed": 1})
        assert [repr(bug) for bug in bugs] == ["ZeroDivisionError('a bug')"]
        assert simulator.statistics().calls_faulted == 1


async def test_a_bug_while_reading_is_reported_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default: one line on standard error."""

    def buggy(*args: object) -> None:
        raise ZeroDivisionError("a bug\nof two lines")

    monkeypatch.setattr(connection_module, "call_job", buggy)
    async with serving(Simulator(QUICK)) as served, served.connected() as client:
        await client.get("/api/work")
        assert await client.to_end() == (b"", "fin")
    assert capsys.readouterr().err == (
        "simulator: a connection crashed: ZeroDivisionError('a bug\\nof two lines')\n"
    )


async def test_a_burst_of_connections_is_accepted_in_a_few_passes() -> None:
    """Not one a pass: then the last of many would wait for as many passes, each full of other work."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    clients = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(50)]
    simulator = Simulator(QUICK)
    passes = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(simulator.serve, listeners)
        while simulator.statistics().connections_accepted < len(clients):
            await trio.lowlevel.checkpoint()
            passes += 1
        nursery.cancel_scope.cancel()
    assert passes < 10
    for client in clients:
        client.socket.close()


async def test_running_out_of_descriptors_is_survived() -> None:
    async with serving() as served:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        stuffing = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (_descriptors() + 20, limits[1]))
        try:
            client = await served.connect()
            with suppress(OSError):
                while True:
                    stuffing.append(os.dup(0))
            os.close(stuffing.pop())
            late = await served.connect()  # takes the last descriptor: the server cannot accept it yet
            await trio.sleep(0.02)
            assert await client.ask("GET", "/healthz") == (200, {"status": "ok"})
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for descriptor in stuffing:
                os.close(descriptor)
        assert await late.ask("GET", "/healthz") == (200, {"status": "ok"})
        late.close()
        client.close()


async def test_a_broken_listener_is_not_passed_over() -> None:
    class Broken(trio.abc.Listener[trio.abc.Stream]):
        async def accept(self) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            raise OSError(errno.EIO, "broken")

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()

    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="broken")):
        await Simulator(SimulatorSettings()).serve([Broken()])
