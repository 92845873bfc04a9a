"""The commands as a user runs them: exit codes, one clear line, real signals, real ports."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

from fanout.cli import HEALTH_WITHIN_S
from fanout.config import SETTINGS
from fanout.testing import running
from tests.blackbox.conftest import request
from tests.ports import port_without_listener

FREE = ["--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0"]


def fanout(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fanout", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=30, env={**os.environ, **environment}, check=False
    )


def assert_one_line(text: str, *parts: str) -> None:
    assert text.count("\n") == 1, text
    assert "Traceback" not in text
    for part in parts:
        assert part in text


@contextmanager
def port_in_use() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


@pytest.mark.parametrize("command", ["serve", "demo", "config"])
def test_a_wrong_setting_is_one_line_and_exit_2(command: str) -> None:
    done = fanout(command, FANOUT_RESERVE_MS="soon")
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_line(done.stderr, "FANOUT_RESERVE_MS='soon'", "use a whole number from 0 to 1000")


TAB = {"_FANOUT_COMPLETE": "bash_complete", "COMP_WORDS": "fanout ", "COMP_CWORD": "1"}


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--version"], {}),
        (["--help"], {}),
        ([], TAB),
        (["config"], {}),
        (["health", "--admin-bind", "127.0.0.1:1"], {}),
        (["serve", "--reserve-ms", "soon"], {}),
    ],
)
def test_a_command_that_serves_nothing_does_not_wait_for_the_imports_of_one_that_does(
    arguments: list[str], environment: dict[str, str]
) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "fanout", *arguments]
    environment = {**os.environ, **environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "fanout.cli" in imported
    assert imported.isdisjoint({"trio", "quart", "httpx", "hypercorn", "loguru"})


@pytest.mark.parametrize(
    ("flag", "variable"), [("--bind", "FANOUT_BIND"), ("--admin-bind", "FANOUT_ADMIN_BIND")]
)
def test_a_port_in_use_is_one_line_that_says_what_to_do(flag: str, variable: str) -> None:
    with port_in_use() as port:
        done = fanout("serve", *FREE, flag, f"127.0.0.1:{port}")
    assert done.returncode == 2
    assert_one_line(
        done.stderr, f"{variable}=127.0.0.1:{port}", "address already in use", f"set {variable} to"
    )


@pytest.mark.parametrize(
    ("bind", "parts"),
    [
        ("192.0.2.1:0", ["cannot assign requested address", "an address of this machine"]),
        ("no.such.host.invalid:0", ["cannot resolve the host"]),
    ],
)
def test_an_address_that_is_not_ours_is_one_line(bind: str, parts: list[str]) -> None:
    done = fanout("serve", *FREE, "--bind", bind)
    assert done.returncode == 2
    assert_one_line(done.stderr, f"FANOUT_BIND={bind}", *parts)


def test_too_few_open_files_is_one_line() -> None:
    script = f"ulimit -n 1000; exec {sys.executable} -m fanout serve --max-in-flight 500"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert_one_line(done.stderr, "FANOUT_MAX_IN_FLIGHT=500 needs 1756 open files", "the limit is 1000")


def test_a_file_that_is_no_certificate_is_one_line() -> None:
    done = fanout("serve", *FREE, "--upstream-ca", __file__)
    assert done.returncode == 2
    assert_one_line(done.stderr, "FANOUT_UPSTREAM_CA=", "use a PEM file")


def test_an_unreachable_upstream_is_one_line_that_says_what_to_do_and_the_server_runs() -> None:
    with (
        port_without_listener() as port,
        running("serve", *FREE, "--upstream", f"http://user:secret@127.0.0.1:{port}/x") as program,
    ):
        deadline = time.monotonic() + 10
        while b"cannot be reached" not in program.errors and time.monotonic() < deadline:
            time.sleep(0.01)
        reply = request(program.urls["api"], "/api/first?timeout=1000")
        assert (reply.status, reply.reason) == (500, "no_success")
        assert [call["error"] for call in reply.json["calls"]] == ["unreachable"] * 2
        program.stop()
    entry = json.loads(program.errors.splitlines()[0])
    assert entry["level"] == "warning"
    assert f"http://***@127.0.0.1:{port}/x cannot be reached: connection refused" in entry["message"]
    assert "set FANOUT_UPSTREAMS" in entry["message"]
    assert b"secret" not in program.errors


def test_demo_answers_both_endpoints_and_stops_cleanly() -> None:
    with running("demo", *FREE, "--reliable") as program:
        first = request(program.urls["api"], "/api/first?timeout=2000")
        assert first.status == 200
        assert 100 <= first.json["time"] <= 600
        every = request(program.urls["api"], "/api/all?timeout=2000")
        assert (every.status, len(every.json)) == (200, 2)
        assert request(program.urls["upstream"], "/calls").json["totals"]["calls"] == 4
        assert program.stop() == 0


@pytest.mark.parametrize(
    "signal_number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_a_signal_drains(signal_number: int) -> None:
    """G9: what was admitted is answered, readiness goes off at once, and the exit code is 0."""
    with running("demo", *FREE, "--reliable", "--min-delay-ms", "700", "--max-delay-ms", "700") as program:
        with ThreadPoolExecutor(max_workers=11) as threads:
            answers = [
                threads.submit(request, program.urls["api"], "/api/all?timeout=5000") for _ in range(10)
            ]
            while request(program.urls["admin"], "/statistics").json["admission"]["in_flight"] < 10:
                time.sleep(0.01)
            stopping = threads.submit(program.stop, signal_number)
            statuses = {request(program.urls["admin"], "/readyz").status}
            while statuses == {200}:
                statuses = {request(program.urls["admin"], "/readyz").status}
            assert statuses == {503}
            assert [answer.result().status for answer in answers] == [200] * 10
            assert stopping.result() == 0


def test_in_its_lame_duck_a_server_is_not_ready_and_serves_on() -> None:
    """G9: every answer says that its connection closes; new connections are served, too."""
    with running("demo", *FREE, "--reliable", "--lame-duck-ms", "2000") as program:
        kept = http.client.HTTPConnection(program.urls["api"].removeprefix("http://"), timeout=20)
        kept.request("GET", "/api/first?timeout=1")
        answer = kept.getresponse()
        assert (answer.status, answer.headers["connection"], answer.read()[:1]) == (500, None, b"{")
        program.process.send_signal(signal.SIGTERM)
        signalled_at = time.monotonic()
        while request(program.urls["admin"], "/readyz").status == 200:
            time.sleep(0.01)
        kept.request("GET", "/api/first?timeout=5000")
        answer = kept.getresponse()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        kept.close()
        served = request(program.urls["api"], "/api/all?timeout=5000")
        assert (served.status, served.headers["connection"]) == (200, "close")
        assert request(program.urls["admin"], "/readyz").status == 503
        assert program.process.wait(20) == 0
        assert time.monotonic() - signalled_at >= 2
        program.stop()  # it has ended: this closes its pipes


@pytest.mark.parametrize(
    "signal_number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_a_second_signal_ends_a_lame_duck_at_once(signal_number: int) -> None:
    with running("demo", *FREE, "--reliable", "--lame-duck-ms", "600000") as program:
        program.process.send_signal(signal_number)
        while request(program.urls["admin"], "/readyz").status == 200:
            time.sleep(0.01)
        assert program.stop(signal_number) == 0


def test_health_is_an_exit_code() -> None:
    with running("demo", *FREE) as program:
        admin = program.urls["admin"].removeprefix("http://")
        done = fanout("health", FANOUT_ADMIN_BIND=admin)
        assert (done.returncode, done.stdout) == (0, "ready\n")
    with port_without_listener() as port:
        admin = f"127.0.0.1:{port}"
        done = fanout("health", FANOUT_ADMIN_BIND=admin)
    assert done.returncode == 1
    assert_one_line(done.stderr, f"no answer from http://{admin}/readyz")


def test_health_reads_only_the_settings_that_say_where_it_asks() -> None:
    """Its admin address may be the default of the public one, and the server's own mistakes are not its."""
    with port_without_listener() as port:
        address = f"127.0.0.1:{port}"
        done = fanout("health", FANOUT_ADMIN_BIND=address, FANOUT_BIND=address, FANOUT_RESERVE_MS="soon")
    assert done.returncode == 1
    assert_one_line(done.stderr, f"no answer from http://{address}/readyz")
    done = fanout("health", "--admin-bind", "127.0.0.1:65535", FANOUT_WORKERS="2")
    assert done.returncode == 2
    assert_one_line(done.stderr, "FANOUT_WORKERS=2 needs as many admin ports")
    done = fanout("health", "--workers", "many")
    assert done.returncode == 2
    assert_one_line(done.stderr, "--workers='many': use a whole number from 1 to 64")


def test_health_does_not_wait_for_a_server_that_hangs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = fanout("health", FANOUT_ADMIN_BIND=f"127.0.0.1:{silent.getsockname()[1]}")
    assert done.returncode == 1
    assert_one_line(done.stderr, "timed out")


def test_health_does_not_wait_for_a_server_that_answers_byte_by_byte() -> None:
    """Each byte comes in time, and the answer does not."""

    def drip(slow: socket.socket) -> None:
        with suppress(OSError), slow.accept()[0] as client:
            client.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while client.send(b"x"):
                time.sleep(0.1)

    with socket.create_server(("127.0.0.1", 0)) as slow, ThreadPoolExecutor() as threads:
        threads.submit(drip, slow)
        address = f"127.0.0.1:{slow.getsockname()[1]}"
        began = time.monotonic()
        done = fanout("health", FANOUT_ADMIN_BIND=address)
    assert done.returncode == 1
    assert_one_line(done.stderr, f"no answer from http://{address}/readyz: timed out")
    assert time.monotonic() - began >= HEALTH_WITHIN_S


def test_health_asks_for_the_port_that_a_server_with_any_free_port_has() -> None:
    done = fanout("health", "--admin-bind", "127.0.0.1:0", "--workers", "2")
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_line(done.stderr, "FANOUT_ADMIN_BIND=127.0.0.1:0", "give its port")


def test_config_shows_values_sources_and_no_secrets() -> None:
    done = fanout(
        "config", "--json", "--reserve-ms", "30", FANOUT_UPSTREAMS="http://user:secret@a/?key=hidden"
    )
    assert done.returncode == 0
    rows = json.loads(done.stdout)
    assert set(rows) == {setting.variable for setting in SETTINGS}
    assert rows["FANOUT_RESERVE_MS"] == {"value": 30, "source": "--reserve-ms"}
    assert rows["FANOUT_UPSTREAMS"] == {"value": ["http://***@a/?key=***"], "source": "FANOUT_UPSTREAMS"}
    assert rows["FANOUT_BIND"]["source"] == "default"
    as_text = fanout("config", FANOUT_UPSTREAMS="http://user:secret@a/").stdout
    assert "secret" not in as_text
    assert len(as_text.splitlines()) == len(SETTINGS)


@pytest.mark.parametrize("command", ["serve", "config"])
@pytest.mark.parametrize("url", ["http://me:hunter2,x@10.0.0.1/y", '"http://me:hunter2@10.0.0.1/y"'])
def test_a_refused_upstream_is_named_by_its_setting_and_shows_no_password(command: str, url: str) -> None:
    for name, done in {
        "--upstream": fanout(command, "--upstream", "http://10.0.0.2/", "--upstream", url),
        "FANOUT_UPSTREAMS": fanout(command, FANOUT_UPSTREAMS=url),
    }.items():
        assert (done.returncode, done.stdout) == (2, "")
        assert_one_line(done.stderr, f"{name}='", "***@10.0.0.1/y", "use absolute URLs")
        assert "hunter2" not in done.stderr


@pytest.mark.parametrize("upstreams", ["http://a/", f"http://a/,http://{'b' * 60}/"])
def test_config_is_aligned_and_says_what_is_not_set(upstreams: str) -> None:
    """Three columns: the variable, its value, and where that came from."""
    lines = fanout("config", "--leak-check", "off", FANOUT_UPSTREAMS=upstreams).stdout.splitlines()
    rows = {
        variable: (value, source) for variable, value, source in (re.split(r"  +", line) for line in lines)
    }
    assert rows["FANOUT_UPSTREAMS"] == (upstreams, "FANOUT_UPSTREAMS")
    assert rows["FANOUT_LEAK_CHECK"] == ("off", "--leak-check")
    assert rows["FANOUT_TLS_KEY"] == rows["FANOUT_ADMIN_HOSTS"] == ("(not set)", "default")
    assert len({line.index(rows[line.split()[0]][0]) for line in lines}) == 1
    assert len({line.rindex("  ") for line in lines}) == 1


@pytest.mark.parametrize("command", ["", "serve", "demo", "upstream", "config", "health", "load"])
def test_help_teaches(command: str) -> None:
    done = fanout(*filter(None, [command]), "--help")
    assert done.returncode == 0
    assert "Usage:" in done.stdout


def test_serve_help_names_every_setting() -> None:
    text = fanout("serve", "--help").stdout
    for setting in SETTINGS:
        assert setting.flag in text
        assert setting.variable in text


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--fault", "no_such=0.1"], "faults has no 'no_such'"),
        (["--fault", "status"], "a rate is NAME=SHARE"),
        (["--min-delay-ms", "5", "--max-delay-ms", "4"], "min_delay_ms must not be above max_delay_ms"),
        (["--bind", "9000"], "use HOST:PORT"),
        (["--tls-cert", __file__], "go together"),
        (["--tls-cert", __file__, "--tls-key", __file__], "cannot be used"),
    ],
)
def test_a_wrong_option_of_the_simulator_is_one_line(arguments: list[str], part: str) -> None:
    done = fanout("upstream", *arguments)
    assert done.returncode == 2
    assert_one_line(done.stderr, "fanout upstream:", part)
