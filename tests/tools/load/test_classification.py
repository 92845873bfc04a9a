"""Every kind of answer, over real sockets, is counted as what it is."""

from __future__ import annotations

import socket
from itertools import count
from typing import Any

import pytest
import trio
import trio.testing

from fanout.tools.load.outcome import Outcome
from fanout.tools.load.plan import LoadPlan, parsed_mix, parsed_target
from fanout.tools.load.shot import Draw
from fanout.tools.load.text import verdict_line
from tests.tools.load.scripted import GOOD, Script, Stream, always, answer, loaded, problem, serving


async def hang(target: str, stream: Stream) -> None:
    """Never answer."""
    await trio.sleep_forever()


async def answer_slowly(target: str, stream: Stream) -> None:
    """Answer 20 ms after the shortest timeout used here."""
    await trio.sleep(0.04)
    await stream.send_all(answer(200))


async def refuse_slowly(target: str, stream: Stream) -> None:
    """A refusal that comes after the timeout."""
    await trio.sleep(0.04)
    await stream.send_all(problem(503, "overloaded"))


async def drip(target: str, stream: Stream) -> None:
    """A good answer, byte by byte."""
    for byte in answer(200):
        await stream.send_all(bytes([byte]))


async def reset(target: str, stream: Stream) -> None:
    """Abort the connection."""
    assert isinstance(stream, trio.SocketStream)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    await stream.aclose()


CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"6\r\n" + GOOD[:6] + b"\r\n7\r\n" + GOOD[6:] + b"\r\n0\r\n\r\n"
)
CLOSING = answer(200, GOOD, b"Connection: close")
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n"


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        pytest.param(always(answer(200)), Outcome.USEFUL, id="good"),
        pytest.param(always(CHUNKED), Outcome.USEFUL, id="chunked"),
        pytest.param(always(INTERIM + answer(200)), Outcome.USEFUL, id="interim"),
        pytest.param(drip, Outcome.USEFUL, id="drip"),
        pytest.param(always(CLOSING, then_close=True), Outcome.USEFUL, id="closed after the answer"),
        pytest.param(always(problem(503, "overloaded")), Outcome.REFUSED, id="refused"),
        pytest.param(always(problem(500, "deadline")), Outcome.DEADLINE, id="deadline"),
        pytest.param(always(problem(500, "no_success")), Outcome.NO_SUCCESS, id="no success"),
        pytest.param(always(answer(500, b"oops")), Outcome.OTHER, id="bare 500"),
        pytest.param(always(problem(404, "not_found")), Outcome.OTHER, id="404"),
        pytest.param(answer_slowly, Outcome.LATE, id="late"),
        pytest.param(refuse_slowly, Outcome.LATE, id="late refusal"),
        pytest.param(hang, Outcome.MISSING, id="missing"),
        pytest.param(always(answer(200)[:-1]), Outcome.MISSING, id="never complete"),
        pytest.param(always(b"", then_close=True), Outcome.BROKEN, id="closed without a byte"),
        pytest.param(always(answer(200)[:-1], then_close=True), Outcome.BROKEN, id="cut"),
        pytest.param(
            always(b"HTTP/1.1 200 OK\r\n\r\n" + GOOD, then_close=True), Outcome.BROKEN, id="no length"
        ),
        pytest.param(reset, Outcome.BROKEN, id="reset"),
        pytest.param(always(b"SSH-2.0-OpenSSH\r\n"), Outcome.MALFORMED, id="not HTTP"),
        pytest.param(
            always(b"HTTP/1.1 101 Yes\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
            Outcome.MALFORMED,
            id="upgrade",
        ),
        pytest.param(always(answer(200, b'{"error": "x"}')), Outcome.WRONG_BODY, id="error in a 200"),
    ],
)
async def test_every_request_of_a_kind_has_that_outcome(script: Script, outcome: Outcome) -> None:
    """G1, G2: exactly one outcome each, and only broken guarantees break the verdict."""
    slow = outcome in (Outcome.LATE, Outcome.MISSING)
    async with serving(script) as (url, visits):
        patience_ms = 50.0 if outcome is Outcome.MISSING else 5000.0
        report = await loaded(url, timeouts_ms=(20 if slow else 5000,), give_up_ms=patience_ms)
    assert report["outcomes"] == {outcome: 10}
    assert len(visits.targets) == 10
    assert report["unasked_answers"] == 0
    broken = outcome in (Outcome.LATE, Outcome.MISSING, Outcome.BROKEN, Outcome.MALFORMED, Outcome.WRONG_BODY)
    assert report["broken_guarantees"] == (10 if broken else 0)
    assert report["verdict"] == ("broken" if broken else "kept" if outcome is Outcome.USEFUL else "useless")


async def test_an_allowance_is_added_to_the_timeout() -> None:
    """The same late answers are useful when 5 s are allowed."""
    async with serving(answer_slowly) as (url, _):
        report = await loaded(url, timeouts_ms=(20,), allowance_ms=5000.0)
    assert report["outcomes"] == {"useful": 10}


@pytest.mark.parametrize("extra", [answer(200), b"HTTP/1.1 200 OK\r\n", b"garbage"])
async def test_an_answer_nobody_asked_for_breaks_a_guarantee(extra: bytes) -> None:
    """G1: exactly one complete answer; what follows it is counted, and the connection is not used again."""
    async with serving(always(answer(200) + extra)) as (url, visits):
        report = await loaded(url)
    assert report["outcomes"] == {"useful": 10}
    assert report["unasked_answers"] == report["broken_guarantees"] == 10
    assert visits.connections == 11  # the first look, then one a request
    assert "10 answers to no request" in verdict_line(report)


async def test_keep_alive_uses_one_connection_and_without_it_each_request_has_its_own() -> None:
    """One at a time: a place for a second connection would hide which of the two happened."""
    async with serving(always(answer(200))) as (url, visits):
        report = await loaded(url, max_connections=1)
        assert (report["client"]["connections_opened"], visits.connections) == (1, 2)
        report = await loaded(url, max_connections=1, keep_alive=False)
        assert (report["client"]["connections_opened"], visits.connections) == (10, 13)
    assert b"\r\nConnection: close" in visits.heads[-1]
    assert report["outcomes"] == {"useful": 10}


async def test_a_mix_is_reported_endpoint_by_endpoint() -> None:
    """`all` answers with an array; an answer good for one endpoint is wrong for the other."""

    async def script(target: str, stream: Stream) -> None:
        body = b"[%s]" % GOOD if target.startswith("/api/all?timeout=") else GOOD
        await stream.send_all(answer(200, body))

    async with serving(script) as (url, visits):
        report = await loaded(url, mix=parsed_mix("first=1,all=1"), requests=40, rate_per_s=1000.0)
    first = sum(target == "/api/first?timeout=1000" for target in visits.targets)
    assert 0 < first < 40
    assert {name: part["outcomes"] for name, part in report["endpoints"].items()} == {
        "all": {"useful": 40 - first},
        "first": {"useful": first},
    }


async def test_clients_that_hang_up_are_counted_apart_and_seen_by_the_server() -> None:
    """G6: all leave; some end their connection in order (FIN), some by reset (RST)."""
    release = trio.Event()

    async def hold(target: str, stream: Stream) -> None:
        await release.wait()

    async with serving(hold) as (url, visits):
        report = await loaded(url, requests=30, rate_per_s=1000.0, hang_up_share=1.0, hang_up_within_ms=20.0)
        release.set()
        await trio.testing.wait_all_tasks_blocked()
    assert report["outcomes"] == {"left": 30}
    assert report["verdict"] == "useless"
    assert verdict_line(report) == "NO USEFUL ANSWER, only 30 left by the client: lower --hang-up"
    assert len(visits.ends) == 31
    assert 0 < visits.ends.count("rst") < 30


async def test_an_answer_before_the_hang_up_counts_and_frees_the_connection() -> None:
    """A client that would have left later was answered; later requests on its connection are not cut."""
    async with serving(always(answer(200))) as (url, _):
        report = await loaded(
            url, rate_per_s=1000.0, requests=50, hang_up_share=1.0, hang_up_within_ms=60_000.0
        )
    assert report["outcomes"] == {"useful": 50}


async def test_a_hang_up_that_came_too_late_does_not_cut_the_next_request() -> None:
    """The first would leave after 200 to 300 ms but is answered at once; the second, on the same connection,
    is answered after that time."""
    options: dict[str, Any] = {"requests": 2, "rate_per_s": 1_000_000.0, "max_connections": 1}
    options |= {"hang_up_share": 0.5, "hang_up_within_ms": 400.0}

    def suits(seed: int) -> bool:
        draw = Draw(LoadPlan(target=parsed_target("http://a"), seed=seed, **options))
        first, second = draw.leave(), draw.leave()
        return first is not None and 0.2 < first.after_s < 0.3 and second is None

    delays_s = iter((0.0, 0.35))

    async def script(target: str, stream: Stream) -> None:
        await trio.sleep(next(delays_s))
        await stream.send_all(answer(200))

    async with serving(script) as (url, _):
        report = await loaded(url, seed=next(filter(suits, count())), **options)
    assert report["outcomes"] == {"useful": 2}


async def test_a_server_that_goes_away_is_a_client_side_error() -> None:
    """Connections refused in the middle of a run are counted with their cause and break no guarantee."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"

    async def serve_two_connections() -> None:
        await (await listener.accept()).aclose()  # the first look
        stream = await listener.accept()
        await listener.aclose()
        await stream.receive_some(65536)
        await stream.send_all(answer(200, GOOD, b"Connection: close"))
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_two_connections)
        # One connection at a time: the second is made when the first has ended, and the listener before it.
        report = await loaded(url, requests=5, max_connections=1)
    assert report["outcomes"] == {"useful": 1, "not_connected": 4}
    assert report["reasons"] == {"ECONNREFUSED": 4}
    assert report["verdict"] == "kept"


async def test_requests_beyond_the_cap_on_connections_wait_and_say_so() -> None:
    """The schedule was broken: counted, flagged, and part of the latency from the intended start."""

    async def script(target: str, stream: Stream) -> None:
        await trio.sleep(0.02)
        await stream.send_all(answer(200))

    async with serving(script) as (url, _):
        report = await loaded(url, rate_per_s=1_000_000.0, max_connections=2)
    assert report["outcomes"] == {"useful": 10}
    assert report["client"]["connections_peak"] == 2
    assert report["client"]["held_back"] == 8
    assert report["client"]["kept_schedule"] is False
    useful = report["latency_ms"]["useful"]
    assert useful["from_intended"]["max"] >= 75 > useful["from_written"]["p50"]


async def test_the_cap_holds_also_when_connections_close_after_each_answer() -> None:
    """The place of a closed connection goes to the request that waited longest."""
    async with serving(always(answer(200))) as (url, visits):
        report = await loaded(url, rate_per_s=100_000.0, max_connections=1, keep_alive=False)
    assert report["outcomes"] == {"useful": 10}
    assert report["client"]["connections_peak"] == 1
    assert visits.targets == ["/api/first?timeout=1000"] * 10
