"""A Host that is no name in the DNS: well-formed by RFC 9110, which takes any bytes of a registered name.

The server has one site and looks at no host, so a host is never what is wrong with a request. Only one that
breaks the grammar of the field is refused (`tests/server/test_http1.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio
import trustme

from fanout.api.app import make_app
from fanout.api.exchange import Exchanges
from fanout.api.handlers import Races
from fanout.observe.receipt import CLIENT_DISCONNECTED
from fanout.race.admission import Admission
from fanout.race.events import BugFound, Event, RequestEnded
from fanout.server.certificates import Certificate
from fanout.testing import answers, hangs
from tests.api.serving import Server, serving
from tests.server.http2 import H2Client
from tests.server.serving import Client, on_socket
from tests.server.tls_clients import over_tls

HOSTS = ["a..b", f"{64 * 'a'}.example", ".", "xn--", 300 * "a"]
REQUESTS = [
    ("GET", "/api/first", 200),
    ("GET", "/nowhere", 404),
    ("POST", "/docs", 405),
    ("OPTIONS", "/docs", 200),
]


def all_answered(events: Sequence[Event]) -> bool:
    """Whether no client disconnected before its answer, and no bug was found."""
    reasons = [event.reason for event in events if isinstance(event, RequestEnded)]
    return CLIENT_DISCONNECTED not in reasons and BugFound not in map(type, events)


@pytest.mark.parametrize("host", HOSTS)
async def test_any_host_gets_the_answer_that_every_host_gets(host: str) -> None:
    """In HTTP/1.1: the same status for each, with the request's id, and it is nobody's bug (G1, G11)."""
    async with serving([answers(1), hangs()]) as server:
        parts = urlsplit(server.url)
        for number, (method, path, status) in enumerate(REQUESTS):
            async with await trio.open_tcp_stream("127.0.0.1", parts.port or 0) as stream:
                head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nX-Request-Id: mine-{number}\r\n\r\n"
                found, fields, _ = await Client(stream).ask(head.encode("ascii"))
            assert (found, fields["x-request-id"]) == (status, f"mine-{number}")
        await server.told(RequestEnded, len(REQUESTS))
    assert all_answered(server.events)
    assert [event.status for event in server.events if isinstance(event, RequestEnded)] == [
        status for _, _, status in REQUESTS
    ]


@pytest.mark.parametrize("host", HOSTS)
async def test_any_authority_gets_the_answer_that_every_authority_gets(host: str, tmp_path: Path) -> None:
    """The same in HTTP/2."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    certificate.cert_chain_pems[0].write_to_path(str(chain))
    certificate.private_key_pem.write_to_path(str(key))
    observer = Server("")
    races = Races([answers(1), hangs()], observer, 1000, 30_000, reserve_ms=lambda: 20)
    app = Exchanges(make_app(races), Admission(10), observer, id_prefix="test")
    async with on_socket(app, certificate=Certificate(chain, key)) as world:
        client = H2Client(await over_tls(world, authority, "h2"))
        for stream_id, (method, path, status) in zip(range(1, 99, 2), REQUESTS, strict=False):
            pseudo = [(":method", method), (":scheme", "https"), (":authority", host), (":path", path)]
            pairs = [(name.encode("ascii"), value.encode("ascii")) for name, value in pseudo]
            await client.send(pairs, stream_id=stream_id)
            assert await client.status() == str(status).encode("ascii")
            assert await client.ended() == stream_id
    assert world.crashes == []
    assert all_answered(observer.events)
