"""docs/architecture.md traces a request and a disconnect through the code: they really go that way."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import trio

from fanout.config import load
from fanout.process.resources import open_transport
from fanout.process.service import Service
from fanout.server.listeners import open_listeners
from tests.project.names import ROOT
from tests.upstream.raw_server import RawConnection, answer, raw_server

TEXT: Final = (ROOT / "docs/architecture.md").read_text("utf-8")
REQUEST: Final = b"GET /api/first HTTP/1.1\r\nhost: test\r\n\r\n"
PACKAGE: Final = str(ROOT / "fanout") + "/"

Hop = tuple[str, str]  # a file below `fanout/`, and a function in it


def hops_of(section: str) -> list[Hop]:
    """The numbered rows of a section's table, in order."""
    text = TEXT.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| `([\w./]+)::([\w.]+)` \|", text, re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(1, len(rows) + 1))
    return [(path, name) for _, path, name in rows]


@contextmanager
def traced() -> Iterator[list[Hop]]:
    """Every function of fanout that is entered or resumed in the block, in order."""
    seen: list[Hop] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(PACKAGE):
            seen.append((path.removeprefix(PACKAGE), frame.f_code.co_qualname))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield seen
    finally:
        sys.setprofile(before)


def missing(hops: list[Hop], seen: list[Hop]) -> list[Hop]:
    """The hops that were not taken, or not in this order. A closure counts for the function around it."""
    steps = iter([(path, name.partition(".<locals>")[0]) for path, name in seen])
    return [hop for hop in hops if hop not in steps]


async def test_a_request_and_a_disconnect_take_the_hops_that_the_document_has() -> None:
    is_answering = True

    async def upstream(connection: RawConnection) -> None:
        while await connection.request():
            if not is_answering:
                await trio.sleep_forever()
            await connection.send(answer(b'{"time": 1}'))

    async with raw_server(upstream) as server:
        flags = {"bind": "127.0.0.1:0", "admin_bind": "127.0.0.1:0", "upstreams": server.origin}
        settings = load({}, flags).settings
        public = open_listeners(settings.bind, "FANOUT_BIND")
        admin = open_listeners(settings.admin_bind, "FANOUT_ADMIN_BIND")
        stop = trio.Event()
        service = Service(settings, open_transport(settings))
        async with trio.open_nursery() as nursery:
            await nursery.start(service.run, public, admin, stop)
            client = await trio.open_tcp_stream(*public[0].getsockname()[:2])
            await client.send_all(REQUEST)  # the first one also begins the connection
            assert (await client.receive_some()).startswith(b"HTTP/1.1 200")
            with traced() as request:
                await client.send_all(REQUEST)
                assert (await client.receive_some()).startswith(b"HTTP/1.1 200")
            is_answering = False
            await client.send_all(REQUEST)
            await trio.sleep(0.05)
            with traced() as disconnect:
                await client.aclose()
                await trio.sleep(0.05)
            stop.set()
    assert missing(hops_of("One request"), request) == []
    assert missing(hops_of("One disconnect"), disconnect) == []
