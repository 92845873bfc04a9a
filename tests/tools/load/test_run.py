"""A whole run: open loop, warm-up, sums, early ends."""

from __future__ import annotations

import os
import signal
import ssl
import time
from math import inf

import pytest
import trio
import trustme

from fanout.tools.load.first_look import CouldNotRun
from fanout.tools.load.generator import Generator
from fanout.tools.load.plan import LoadPlan, parsed_target
from fanout.tools.load.run import run_load
from fanout.tools.load.text import verdict_line, warnings_of
from tests.ports import port_without_listener
from tests.tools.load.scripted import Stream, always, answer, loaded, serving


async def test_a_stalled_server_shows_in_every_request_scheduled_meanwhile() -> None:
    """Open loop: 100 requests fall into a stall of 500 ms and wait for its rest: half of it in the median."""
    over_at = inf

    async def stalled_at_first(target: str, stream: Stream) -> None:
        nonlocal over_at
        over_at = min(over_at, trio.current_time() + 0.5)
        await trio.sleep_until(over_at)
        await stream.send_all(answer(200))

    async with serving(stalled_at_first) as (url, visits):
        report = await loaded(url, rate_per_s=200.0, requests=100, timeouts_ms=(5000,))
    latency = report["latency_ms"]["useful"]["from_intended"]
    assert report["outcomes"] == {"useful": 100}
    assert latency["max"] >= 480
    assert latency["p50"] >= 230
    assert latency["p90"] >= 430
    assert visits.connections > 50  # nobody waited for an answer before sending


async def test_a_stalled_client_counts_from_the_intended_start_and_says_that_it_was_late() -> None:
    """No coordinated omission: what fell into the client's own stall is sent late, and the report says so."""
    stalled = False

    async def stall_the_process(target: str, stream: Stream) -> None:
        nonlocal stalled
        await stream.send_all(answer(200))
        if not stalled:
            stalled = True
            time.sleep(0.3)  # noqa: ASYNC251 - client and server share this process

    async with serving(stall_the_process) as (url, _):
        report = await loaded(url, rate_per_s=200.0, requests=100)
    useful = report["latency_ms"]["useful"]
    client = report["client"]
    assert report["outcomes"] == {"useful": 100}
    assert useful["from_intended"]["p90"] >= 200
    assert (
        useful["from_intended"]["mean"] - useful["from_written"]["mean"] >= 70
    )  # 60 of 100 were 0 to 300 ms late
    assert client["kept_schedule"] is False
    assert client["launch_lateness_ms"]["max"] >= 280
    assert client["late_launches"] >= 50
    assert "did not keep its schedule" in warnings_of(report)[0]


async def test_the_outcomes_of_all_seconds_add_up_to_what_was_offered() -> None:
    """A request belongs to the second of its intended start; the warm-up counts apart."""
    async with serving(always(answer(200))) as (url, visits):
        report = await loaded(url, rate_per_s=100.0, requests=None, duration_s=1.5, warmup_s=0.2)
    assert report["offered"] == 150
    assert [(second["second"], second["offered"]) for second in report["seconds"]] == [(0, 100), (1, 50)]
    assert all(second["p99_ms"] >= second["p50_ms"] > 0 for second in report["seconds"])
    assert report["warmup"] == {"offered": 20, "broken_guarantees": 0}
    assert len(visits.targets) == 170
    assert report["span_s"] == 1.5
    assert report["offered_per_s"] == report["useful_per_s"] == 100.0
    assert report["on_time_share"] == report["useful_share"] == 1.0


async def test_a_guarantee_broken_in_the_warm_up_is_told_but_does_not_count() -> None:
    """The verdict is about what was measured."""
    first = True

    async def break_the_first(target: str, stream: Stream) -> None:
        nonlocal first
        body, first = (b"{}" if first else b'{"time": 1}'), False
        await stream.send_all(answer(200, body))

    async with serving(break_the_first) as (url, _):
        report = await loaded(url, warmup_s=0.05, max_connections=1)
    assert report["verdict"] == "kept"
    assert report["warmup"] == {"offered": 10, "broken_guarantees": 1}
    assert "warm-up" in warnings_of(report)[-1]


async def test_the_spectrum_ends_with_all_answers_and_never_falls() -> None:
    """The whole distribution is in the report, not a few of its points."""
    async with serving(always(answer(200))) as (url, _):
        report = await loaded(url, rate_per_s=1000.0, requests=200)
    points = report["spectrum"]["useful"]["points"]
    assert points[-1]["count"] == 200
    assert points[-1]["percentile"] == 100.0
    latencies = [point["latency_ms"] for point in points]
    assert latencies == sorted(latencies)
    assert report["spectrum"]["useful"]["hdr"].startswith("HISTF")
    assert report["client"]["cpu_s"] > 0


async def test_one_signal_ends_the_schedule_and_waits_for_what_is_in_flight() -> None:
    """SIGINT at the first request of many: it is answered and counted, and the report says so."""

    async def interrupt(target: str, stream: Stream) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await trio.sleep(0.05)
        await stream.send_all(answer(200))

    async with serving(interrupt) as (url, visits):
        report = await loaded(url, rate_per_s=0.1, requests=1000)
    assert report["ended_early"] is True
    assert report["outcomes"] == {"useful": len(visits.targets)}
    assert report["span_s"] == pytest.approx(10.0)


async def test_a_second_signal_cuts_what_is_in_flight() -> None:
    """Nothing is lost from the sums: what was cut or still waited is counted as abandoned."""

    async def interrupt(target: str, stream: Stream) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await trio.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)
        await trio.sleep_forever()

    async with serving(interrupt) as (url, _):
        with trio.fail_after(5):
            report = await loaded(url, rate_per_s=1000.0, timeouts_ms=(60_000,), max_connections=1)
    assert list(report["outcomes"]) == ["abandoned"]
    assert report["offered"] >= 1
    assert report["verdict"] == "useless"


async def test_progress_runs_beside_the_load_and_ends_with_it() -> None:
    """A watcher that never returns does not hold up the end."""
    seen: list[int] = []

    async def watch(generator: Generator) -> None:
        while True:
            seen.append(generator.launched)
            await trio.sleep(0.005)

    async with serving(always(answer(200))) as (url, _):
        plan = LoadPlan(target=parsed_target(url), requests=10, duration_s=None, rate_per_s=200.0)
        report = await run_load(plan, watch)
    assert report["offered"] == 10
    assert seen == sorted(seen)
    assert len(seen) > 1


async def test_a_target_without_a_server_cannot_be_run_against() -> None:
    """One line with the address, the cause and the remedy."""
    with (
        port_without_listener() as port,
        pytest.raises(CouldNotRun, match=rf"127\.0\.0\.1:{port} \(Connection refused\).*fanout demo"),
    ):
        await loaded(f"http://127.0.0.1:{port}")


async def test_a_server_that_leaves_before_the_first_request_was_not_run_against() -> None:
    """There for the first look only: nothing was measured, so the verdict is neither kept nor broken."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")

    async def serve_the_first_look() -> None:
        async with await listener.accept():
            await listener.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_the_first_look)
        report = await loaded(f"http://127.0.0.1:{listener.socket.getsockname()[1]}", warmup_s=0.2)
    assert report["outcomes"] == {"not_connected": 10}
    assert report["verdict"] == "unreachable"
    assert "ECONNREFUSED" in warnings_of(report)[-1]
    assert verdict_line(report).startswith("COULD NOT RUN")


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "x" * 300])
async def test_a_name_that_does_not_resolve_is_told_in_one_line(host: str) -> None:
    """Never a traceback."""
    with pytest.raises(CouldNotRun, match=r"cannot be resolved"):
        await loaded(f"http://{host}:1")


async def test_https_is_spoken_to_a_trusted_server_only() -> None:
    """Encrypted both ways, kept alive, and the certificate is checked unless told otherwise."""
    authority = trustme.CA()
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_tls)

    async with serving(always(answer(200)), server_tls) as (url, visits):
        with authority.cert_pem.tempfile() as ca_file:
            trusting = parsed_target(url, ca_file=ca_file)
        for target in (trusting, parsed_target(url, insecure=True)):
            report = await run_load(LoadPlan(target, requests=10, duration_s=None, max_connections=1))
            assert report["outcomes"] == {"useful": 10}
            assert report["client"]["connections_opened"] == 1
        with pytest.raises(CouldNotRun, match=r"CERTIFICATE_VERIFY_FAILED.*--ca"):
            await loaded(url)
    assert len(visits.targets) == 20
