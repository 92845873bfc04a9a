"""`fanout check-trace` as an operator runs it: exit codes, one clear line, and the log of the real server."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner, Result

from fanout.cli import cli
from tests.blackbox.conftest import request
from tests.forked import running
from tests.testing.monitor.test_receipts import FIRST, SOUND, changed

FREE = ("--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0")
ALLOWANCE_MS = "5000"  # for a machine that has much else to do


def run(*arguments: str, given: str | bytes | None = None) -> Result:
    return CliRunner().invoke(cli, ["check-trace", *arguments], input=given)


def lines_of(entries: list[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(entry)}\n" for entry in entries)


def test_standard_input_and_the_exit_codes() -> None:
    assert run("-", given=lines_of(SOUND)).exit_code == 0
    late = run("-", given=lines_of(changed(FIRST, used_ms=400.0)(SOUND)))
    assert late.exit_code == 1
    (line,) = [line for line in late.stdout.splitlines() if line.startswith("G4 line ")]
    assert line == (
        "G4 line 2, r-1: not so: it comes at once: r.arrived=1795867200.600000, r.asks=first, r.status=200, "
        "r.began=+0.4, r.left=never, calls: cancelled +0.1528, ok +0.1526"
    )


def test_a_file_that_is_not_there_is_one_line_and_exit_2(tmp_path: Path) -> None:
    done = run(str(tmp_path / "none.log"))
    assert done.exit_code == 2
    assert "No such file or directory" in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"INFO    12:30:05.120 GET /api/first 200 160 ms\n", "no JSON: JSON is malformed"),
        (b"[1, 2]\n", "no JSON object"),
        (b'"\xff"\n', "no UTF-8"),
        (
            b'{"kind": "answer"}\n',
            "kind is 'answer': there are connection, end, leak, pool, request, run, wire",
        ),
        (b'{"message":"request","request_id":"r"}\n', "missing required field `used_ms`"),
        (
            b'{"message":"request","request_id":"r","used_ms":"soon","reason":"x","endpoint":"all"}\n',
            "Expected `float`, got `str` - at `$.used_ms`",
        ),
        (b'{"message":"draining: 0 requests in flight","time":"noon"}\n', "time is 'noon'"),
        (b'{"kind":"request","began":"noon"}\n', "a field has no value that its kind of record can have"),
        (b'{"kind":"request","calls":7}\n', "a field has no value that its kind of record can have"),
    ],
)
def test_a_bad_line_is_named_with_its_number_and_the_rest_is_checked(line: bytes, said: str) -> None:
    done = run("-", given=lines_of(SOUND).encode() + line)
    assert done.exit_code == 2
    assert f"fanout check-trace: <stdin>, line {len(SOUND) + 1}: " in done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout.startswith("8 requests in 13 lines\n") or b'"kind":"request"' in line
    assert "Traceback" not in done.output


def test_of_many_bad_lines_a_few_are_shown_and_a_broken_formula_counts_more() -> None:
    done = run("-", given=lines_of(changed(FIRST, used_ms=400.0)(SOUND)) + "x\n" * 10)
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 4
    assert done.stderr.endswith("<stdin> has 7 more such lines\n")


@pytest.mark.parametrize("given", ["", "\n", '{"message":"ready","level":"info"}\n', "x\n"])
def test_a_file_without_requests_is_not_green(given: str) -> None:
    done = run("-", given=given)
    assert done.exit_code == 2
    assert (
        "says nothing about any request: give the log of `fanout serve` with FANOUT_LOG_FORMAT=json"
        in done.stderr
    )


def test_show_limits_what_is_printed_and_not_what_is_counted() -> None:
    late = lines_of(changed(FIRST, used_ms=400.0)(SOUND))
    done = run("-", "--show", "1", given=late)
    assert done.stdout.splitlines()[-1] == "and 2 more: --show 3 shows all"
    found = json.loads(run("-", "--show", "1", "--json", given=late).stdout)
    assert len(found["violations"]) == 1
    assert found["formulas"]["G2"]["broken"] == 2
    assert found["violations"][0].keys() == {"guarantee", "of", "line", "says", "clause", "read"}


def test_memory_does_not_grow_with_the_log() -> None:
    """What is kept of a line is gone when its formulas have been evaluated; a bug waits for its report."""
    from fanout.testing.monitor.reading import Reading

    reading = Reading(allowance_s=0.1)
    lines = lines_of(SOUND).encode().splitlines()
    for hour in range(3, 24):
        for line in lines[1:-2]:
            reading.read(line.replace(b"T12:", b"T%02d:" % hour))
    log = reading._log
    assert log is not None
    assert reading.requests == 21 * 8
    assert len(log._waiting) == 1  # of the last hour
    assert len(log._bugs) == 1


def test_a_simulation_writes_a_trace_that_shows_every_formula(tmp_path: Path) -> None:
    trace = tmp_path / "runs.jsonl"
    simulate = ["simulate", "--seeds", "2", "--requests", "60", "--processes", "1", "--trace", str(trace)]
    done = CliRunner().invoke(cli, simulate)
    assert done.exit_code == 0, done.output
    assert "the judge and the monitor agree on every run\n" in done.output
    checked = json.loads(run(str(trace), "--json").stdout)
    assert checked["requests"] > 60
    assert {found["result"] for found in checked["formulas"].values()} <= {"kept", "no case"}
    assert [name for name, found in checked["formulas"].items() if found["not_visible_without"]] == []
    spoilt = trace.read_text().replace('"threads_started":0', '"threads_started":1')
    assert run("-", given=spoilt).exit_code == 1


def test_a_trace_that_cannot_be_written_is_one_line() -> None:
    done = CliRunner().invoke(
        cli, ["simulate", "--seeds", "1", "--requests", "50", "--processes", "1", "--trace", "/dev/full"]
    )
    assert done.exit_code == 3
    assert done.stderr == "fanout simulate: --trace '/dev/full' cannot be written: No space left on device\n"


# The real server.


@pytest.fixture(scope="module")
def real_log() -> list[dict[str, Any]]:
    """The log of a server that has had requests of every kind, and was shut down."""
    limits = ("--max-in-flight", "4", "--reserve-ms", "800", "--max-loop-lag-ms", "1000")
    upstream = ("--reliable", "--min-delay-ms", "300", "--max-delay-ms", "400")
    with running("demo", *FREE, *limits, *upstream) as program:
        api = program.urls["api"]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda _: request(api, "/api/first?timeout=9000"), range(2)))
            list(threads.map(lambda _: request(api, "/api/all?timeout=9000"), range(2)))
            together = list(threads.map(lambda _: request(api, "/api/all?timeout=9000"), range(8)))
        assert {reply.status for reply in together} == {200, 503}
        assert request(api, "/api/first?timeout=1000").reason == "deadline"
        assert request(api, "/api/none").status == 404
        leave(api)
        assert request(api, "/api/first?timeout=9000").status == 200
        program.stop()
    return [json.loads(line) for line in (program.output + program.errors).splitlines()]


def leave(api: str) -> None:
    """A client that disconnects before its answer."""
    parts = urlsplit(api)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    connection.request("GET", "/api/all?timeout=9000")
    assert connection.sock is not None
    connection.sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        connection.sock.recv(1)
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()


def test_the_log_of_the_real_server_is_green(real_log: list[dict[str, Any]]) -> None:
    done = run("-", "--json", "--allowance-ms", ALLOWANCE_MS, given=lines_of(real_log))
    found = json.loads(done.stdout)
    assert done.exit_code == 0, done.output
    words = {name: each["result"] for name, each in found["formulas"].items()}
    assert words == {
        **dict.fromkeys(("G1", "G2", "G3", "G4", "G5", "G7", "G8", "G9"), "kept in part"),
        "G6": "kept",
        "G11": "no case",  # it has no bug
        "G10": "not visible",
        "G12": "not visible",
    }


def one(entries: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """The first line with these fields."""
    return next(entry for entry in entries if fields.items() <= entry.items())


@pytest.mark.parametrize(
    ("guarantee", "tamper"),
    [
        ("G1", lambda log: one(log, status=200).pop("status")),
        ("G2", lambda log: one(log, reason="deadline").update(used_ms=1000.9)),
        ("G3", lambda log: one(log, status=200, endpoint="first")["calls"][0].update(ended_ms=8000.0)),
        ("G4", lambda log: one(log, status=200, endpoint="first").update(used_ms=8000.0)),
        ("G5", lambda log: one(log, status=200, endpoint="all")["calls"][1].update(outcome="cancelled")),
        ("G6", lambda log: one(log, reason="client_disconnected")["calls"][0].update(ended_ms=6000.0)),
        ("G7", lambda log: one(log, reason="deadline")["calls"][0].update(kept=True)),
        ("G8", lambda log: one(log, reason="overloaded").update(used_ms=8000.0)),
        ("G9", lambda log: one(log, reason="overloaded").update(reason="draining")),
        ("G11", lambda log: one(log, status=200).update(reason="internal")),
    ],
    ids=lambda value: str(value)[:3],
)
def test_the_log_of_the_real_server_is_red_when_it_was_tampered_with(
    guarantee: str, tamper: Callable[[list[dict[str, Any]]], None], real_log: list[dict[str, Any]]
) -> None:
    log = json.loads(json.dumps(real_log))
    tamper(log)
    done = run("-", "--json", "--allowance-ms", ALLOWANCE_MS, given=lines_of(log))
    assert done.exit_code == 1, done.output
    assert json.loads(done.stdout)["formulas"][guarantee]["result"] == "broken"
