"""Who may ask the admin listener: no page of anybody else, by no name of anybody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from trio.testing import MockClock

from fanout.testing import Program
from tests.admin.live_app import FREE, admin, guarded
from tests.blackbox.conftest import Reply, request
from tests.forked import running
from tests.server.serving import in_memory

EVERYTHING = (
    "/",
    "/config",
    "/livez",
    "/readyz",
    "/statistics",
    "/metrics",
    "/live",
    "/live/events",
    "/live/trace.json",
    "/no",
)
CROSS_SITE = ("Host: 127.0.0.1:8081", "Sec-Fetch-Site: cross-site")


def head(path: str, *fields: str, version: str = "1.1", method: str = "GET") -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/{version}", *fields, "", "")).encode("ascii")


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (200, ("Host: 127.0.0.1:8081",)),
        (200, ("Host: 10.1.2.3",)),
        (200, ("Host: [::1]:8081",)),
        (200, ("Host: [fe80::1]",)),
        (200, ("Host: localhost:8081",)),
        (200, ("Host: LocalHost",)),
        (200, ("Host: fanout.example:8081",)),
        (200, ("Host: FANOUT.example.",)),
        (421, ("Host: rebound.example:8081",)),
        (421, ("Host: localhost.example",)),
        (421, ("Host: x.fanout.example",)),
        (421, ("Host: 127.0.0.1.example",)),
        (421, ("Host: 127.1",)),
        (421, ("Host: a..b",)),
        (421, ("Host: " + "a" * 64,)),
        (400, ("Host:",)),
        (400, ("Host: :8081",)),
        (403, CROSS_SITE),
        (403, (*CROSS_SITE, "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script")),
        (403, (*CROSS_SITE, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe")),
        (403, ("Host: localhost:8081", "Sec-Fetch-Site: same-site")),
        (403, ("Host: localhost:8081", "Origin: http://localhost:8080")),
        (403, ("Host: localhost:8081", "Origin: null")),
        (200, (*CROSS_SITE, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")),
        (200, ("Host: localhost:8081", "Sec-Fetch-Site: same-origin")),
        (200, ("Host: localhost:8081", "Sec-Fetch-Site: none")),
        (200, ("Host: localhost:8081", "Origin: http://localhost:8081")),
    ],
)
async def test_only_addresses_and_configured_names_and_no_page_of_another_origin(
    status: int, fields: tuple[str, ...], autojump_clock: MockClock
) -> None:
    """DNS rebinding: a page may have any name, and have it point here. It has no address as its name."""
    async with in_memory(guarded(admin, "fanout.example")) as world:
        answer, _, body = await world.connect().ask(head("/livez", *fields))
        assert answer == status
        assert (body == b"admin") is (status == 200)
        if status == 421:
            assert "FANOUT_ADMIN_HOSTS" in json.loads(body)["error"]


async def test_a_target_with_a_host_of_its_own_is_judged_by_that(autojump_clock: MockClock) -> None:
    async with in_memory(guarded(admin)) as world:
        asked = head("http://rebound.example/livez", "Host: 127.0.0.1")
        assert (await world.connect().ask(asked))[0] == 421


async def test_a_request_without_host_is_answered(autojump_clock: MockClock) -> None:
    """HTTP/1.0 probes send none. A browser always does, so no page can use this."""
    async with in_memory(guarded(admin)) as world:
        assert (await world.connect().ask(head("/livez", version="1.0")))[0] == 200
        assert (await world.connect().ask(head("/livez", version="1.1")))[0] == 400


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    with running(
        "serve", *FREE, "--upstream", "http://127.0.0.1:1/x", "--admin-hosts", "fanout.example"
    ) as it:
        yield it


def asked_as(program: Program, path: str, **headers: str) -> Reply:
    return request(program.urls["admin"], path, headers={k.replace("_", "-"): v for k, v in headers.items()})


@pytest.mark.parametrize("path", EVERYTHING)
def test_the_whole_listener_is_inside_of_the_guard(program: Program, path: str) -> None:
    """G10 in a browser inside of the network: not a single address answers to another name."""
    assert asked_as(program, path, Host="rebound.example").status == 421
    assert asked_as(program, path, Sec_Fetch_Site="cross-site").status == 403


@pytest.mark.parametrize("path", [path for path in EVERYTHING if path != "/live/events"])
def test_a_configured_name_is_answered_as_an_address_is(program: Program, path: str) -> None:
    port = urlsplit(program.urls["admin"]).port
    expected = 404 if path == "/no" else 200
    assert asked_as(program, path).status == expected
    assert asked_as(program, path, Host=f"fanout.example:{port}").status == expected


def test_the_log_says_once_what_to_set() -> None:
    with running("serve", *FREE, "--upstream", "http://127.0.0.1:1/x") as program:
        for _ in range(3):
            assert asked_as(program, "/metrics", Host="fanout.monitoring.svc").status == 421
        assert program.stop() == 0
        said = program.errors.decode()
    assert said.count("FANOUT_ADMIN_HOSTS") == 1
    assert "fanout.monitoring.svc" in said
