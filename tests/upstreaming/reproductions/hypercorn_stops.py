"""hypercorn, trio worker: one connection with an unusual request stops the server, for all clients.

pip install hypercorn[trio]; python hypercorn_stops.py
"""

from __future__ import annotations

import socket
import sys
from functools import partial

import trio
from h2.connection import H2Configuration, H2Connection
from hypercorn.config import Config
from hypercorn.trio import serve

UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a\r\n"
)
GET, HTTP, ROOT = (b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")
CLIENT = H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
stopped = []


async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def http2(*fields, data=b""):
    client = H2Connection(CLIENT)
    client.initiate_connection()
    client.send_headers(1, [(b":authority", b"a"), *fields], end_stream=not data)
    yield client.data_to_send()
    if data:
        client.send_data(1, data)
        yield client.data_to_send()


async def send_each(pieces, address):
    async with await trio.open_tcp_stream(*address) as stream:
        for piece in pieces:
            await stream.send_all(piece)
            await trio.sleep(0.2)  # it ends here, if the server does


for name, pieces in {
    "a path that is not ASCII": http2(GET, HTTP, (b":path", b"/\xff")),
    "a method that is not ASCII": http2((b":method", b"G\xff"), HTTP, ROOT),
    "CONNECT": http2((b":method", b"CONNECT")),
    "DATA after the answer": http2(GET, HTTP, ROOT, data=b"x"),
    "bytes behind a WebSocket upgrade": [b"GET / HTTP/1.1\r\nHost: a\r\n" + UPGRADE + b"\r\nmore"],
}.items():
    listener = socket.create_server(("127.0.0.1", 0))
    client = partial(send_each, pieces, listener.getsockname())  # when it is done, the server ends in order
    config = Config.from_mapping(bind=f"fd://{listener.detach()}", errorlog=None)
    try:
        trio.run(partial(serve, app, config, shutdown_trigger=client))
    except* Exception as group:
        while isinstance(group, BaseExceptionGroup):
            group = group.exceptions[0]
        stopped.append(f"\n{name}: {type(group).__name__}")
if stopped:
    sys.exit("one connection has stopped the server:" + "".join(stopped))
