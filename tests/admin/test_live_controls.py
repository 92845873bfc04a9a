"""The demo's controls: who may use them, what they do, and that there are none elsewhere."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from trio.testing import MockClock

from fanout.admin.live.controls import MAX_BODY_BYTES
from fanout.tools.demo import Demo, Order
from fanout.tools.simulator import SimulatorSettings
from tests.admin.live_app import FREE, PAGE, admin, control, guarded, make_live, post, wait_until
from tests.blackbox.conftest import request
from tests.forked import running
from tests.server.serving import get, in_memory

FIRE = "/live/control/fire"


class Recorded:
    """The demo's controls, which do nothing but remember."""

    def __init__(self) -> None:
        self.done: list[object] = []
        self.pages: dict[str, tuple[str, bytes]] = {}

    async def run(self, public: socket.socket, is_tls: bool) -> None:
        await trio.sleep_forever()

    def upstream(self) -> dict[str, Any]:
        return {"min_delay_ms": 1}

    def change_upstream(self, changes: object) -> dict[str, Any]:
        self.done.append(changes)
        return self.upstream()

    def fire(self, order: object) -> dict[str, Any]:
        if order == "no":
            raise ValueError("not that")
        self.done.append(order)
        return {"count": 1}


async def test_without_controls_there_is_nothing_to_post_to(autojump_clock: MockClock) -> None:
    async with in_memory(make_live().around(admin)) as world:
        for path in (FIRE, "/live/control/upstream"):
            assert (await world.connect().ask(post(path, b"{}", "Host: 127.0.0.1", *PAGE)))[0] == 405
            assert (await world.connect().ask(get(path)))[0] == 404


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (200, ("Host: 127.0.0.1:8081", *PAGE)),
        (200, ("Host: [::1]:8081", *PAGE)),
        (200, ("Host: [::1]", *PAGE)),
        (200, ("Host: localhost", "Origin: http://localhost", "Sec-Fetch-Site: same-origin", *PAGE)),
        (403, ("Host: 127.0.0.1", "Content-Type: application/json")),
        (421, ("Host: rebound.example:8081", "Origin: http://rebound.example:8081", *PAGE)),
        (421, ("Host: localhost.example", *PAGE)),
        (403, ("Host: 127.0.0.1:8081", "Origin: http://127.0.0.1:8080", *PAGE)),
        (403, ("Host: 127.0.0.1:8081", "Origin: null", *PAGE)),
        (403, ("Host: 127.0.0.1:8081", "Sec-Fetch-Site: same-site", *PAGE)),
        (415, ("Host: 127.0.0.1", "X-Fanout-Live: 1", "Content-Type: text/plain")),
    ],
)
async def test_only_the_page_of_this_server_may_use_them(
    status: int, fields: tuple[str, ...], autojump_clock: MockClock
) -> None:
    """Neither a form, nor a script of another origin, nor a name that was bound to our address."""
    controls = Recorded()
    async with in_memory(guarded(make_live(controls).around(admin))) as world:
        answer = await world.connect().ask(post(FIRE, b'{"count": 1}', *fields))
    assert answer[0] == status
    assert controls.done == ([{"count": 1}] if status == 200 else [])


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 4000, b"9" * (MAX_BODY_BYTES + 1), b'"no"'])
async def test_a_wrong_order_does_nothing_and_is_told_why(body: bytes, autojump_clock: MockClock) -> None:
    controls = Recorded()
    async with in_memory(make_live(controls).around(admin)) as world:
        status, _, said = await world.connect().ask(post(FIRE, body, "Host: 127.0.0.1", *PAGE))
        assert (await world.connect().ask(post("/live/control/x", body, "Host: 127.0.0.1", *PAGE)))[0] == 404
    assert status == 400
    assert json.loads(said)["error"]
    assert controls.done == []


@pytest.mark.parametrize(
    "order",
    [
        {"endpoint": "work"},
        {"timeout_ms": 0},
        {"timeout_ms": 30_001},
        {"count": 2001},
        {"count": True},
        {"over_ms": 10_001},
        {"hang_up_after_ms": -1},
        {"url": "http://example.org"},
        [],
    ],
)
async def test_what_a_page_can_start_is_bounded(order: Any) -> None:
    with closing(socket.socket()) as listener:
        demo = Demo(SimulatorSettings(), listener)
        with pytest.raises(ValueError, match=r"must|has no"):
            demo.fire(order)
    assert Order().count == 1


def test_in_the_demo_the_page_can_send_hang_up_and_change_the_upstream() -> None:
    with running("demo", *FREE, "--reliable") as program:
        url = program.urls["live"]
        changed = control(url, "upstream", {"min_delay_ms": 300, "max_delay_ms": 300, "faults": {}})
        assert changed == {"min_delay_ms": 300, "max_delay_ms": 300, "faults": {}}
        assert request(program.urls["upstream"], "/settings").json["max_delay_ms"] == 300
        assert control(url, "fire", {"endpoint": "all", "count": 3}) == {"count": 3}
        wait_until(url, "requests.answers", {"200": 3})
        control(url, "fire", {"count": 2, "hang_up_after_ms": 50})
        wait_until(url, "requests.clients_disconnected", 2)
        assert "must be" in control(url, "fire", {"count": 0})["error"]


def test_the_page_can_send_where_the_public_listener_speaks_tls(tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("localhost")
    pem = tmp_path / "both.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(pem)
    tls = ["--tls-cert", str(pem), "--tls-key", str(pem)]
    with running("demo", *FREE, *tls, "--reliable") as program:
        control(program.urls["live"], "fire", {"count": 2})
        wait_until(program.urls["live"], "requests.answers", {"200": 2})


def test_serve_has_the_page_and_none_of_the_controls() -> None:
    with running("serve", *FREE, "--upstream", "http://127.0.0.1:1/x") as program:
        assert request(program.urls["live"], "/live").status == 200
        assert control(program.urls["live"], "fire", {"count": 1}) == {"error": "allowed: GET, HEAD"}
