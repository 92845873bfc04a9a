"""The real program and the simulated upstream, each a process of its own, as a user has them."""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

from fanout.testing import Program
from tests.bystander_process import waited_s
from tests.forked import running

MACHINE_S = 0.03  # of an answer: on a quiet machine below 0.005
TRIES = 10


@dataclass(frozen=True)
class Reply:
    """An HTTP answer as a client saw it; `took_s` by the client's clock, from before the connect."""

    status: int
    headers: dict[str, str]
    body: bytes
    took_s: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str | None:
        return self.json["reason"] if self.status >= 400 else None

    @property
    def outcomes(self) -> list[str]:
        return [
            part.rpartition('desc="')[2].rstrip('"') for part in self.headers["server-timing"].split(", ")
        ]


def request(
    base_url: str,
    target: str,
    *,
    method: str = "GET",
    document: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """One request on a connection of its own."""
    parts = urlsplit(base_url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        began = time.monotonic()
        body_sent = None if document is None else json.dumps(document)
        connection.request(method, target, body_sent, dict(headers or {}))
        response = connection.getresponse()
        body = response.read()
        took_s = time.monotonic() - began
        return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, body, took_s)
    finally:
        connection.close()


@dataclass(frozen=True)
class World:
    """A fanout whose two calls go to slots `a` and `b` of one simulated upstream."""

    fanout: Program
    simulator: Program

    def get(self, target: str, **headers: str) -> Reply:
        """The answer. headers: with _ for -.

        It asks again, a few times, when the machine kept a process from running meanwhile: the times and
        outcomes of such an answer are the machine's.
        """
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        pids = (os.getpid(), self.fanout.process.pid, self.simulator.process.pid)
        tries = 0
        while True:
            tries += 1
            before_s = waited_s(pids)
            reply = request(self.fanout.urls["api"], target, headers=sent)
            if waited_s(pids) - before_s < MACHINE_S or tries == TRIES:
                return reply

    def statistics(self) -> Any:
        return request(self.fanout.urls["admin"], "/statistics").json

    def set_slots(self, a: dict[str, Any], b: dict[str, Any]) -> None:
        """How the upstream treats the two calls from now on. A call is good unless its slot names a fault."""
        for slot, overrides in (("a", a), ("b", b)):
            reply = request(
                self.simulator.urls["upstream"],
                f"/slots/{slot}",
                method="PUT",
                document={"fault": "none", **overrides},
            )
            assert reply.status in (200, 201, 204), reply

    def calls(self, *, since: int = 0) -> list[dict[str, Any]]:
        """What the wire saw, oldest first."""
        found: list[dict[str, Any]] = request(self.simulator.urls["upstream"], f"/calls?since={since}").json[
            "calls"
        ]
        return found


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    with running("upstream", "--bind", "127.0.0.1:0") as simulator:
        url = simulator.urls["upstream"] + "/api/work?slot="
        arguments = ["--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0"]
        with running("serve", *arguments, "--upstream", f"{url}a", "--upstream", f"{url}b") as fanout:
            yield World(fanout, simulator)


@dataclass(frozen=True)
class Files:
    """PEM files: an authority, and a certificate of its for `localhost`."""

    ca: str
    cert: str
    key: str


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder: Path = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for index, blob in enumerate(certificate.cert_chain_pems):
        blob.write_to_path(folder / "cert.pem", append=index > 0)
    return Files(str(folder / "ca.pem"), str(folder / "cert.pem"), str(folder / "key.pem"))
