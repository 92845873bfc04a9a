"""httpcore: start_tls() closes its socket if the handshake fails, and not if it is cancelled.

pip install httpcore trio; python httpcore_start_tls.py     (or pip install httpcore2; ... httpcore2)
"""

from __future__ import annotations

import importlib
import ssl
import sys

import trio

httpcore = importlib.import_module(sys.argv[1] if len(sys.argv) > 1 else "httpcore")


async def main():
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    backend, context = httpcore.TrioBackend(), ssl.create_default_context()

    async def connect():
        stream = await backend.connect_tcp("127.0.0.1", listener.socket.getsockname()[1])
        return stream, stream.get_extra_info("socket"), await listener.accept()

    stream, sock, peer = await connect()
    await peer.send_all(b"this is not TLS")
    try:
        await stream.start_tls(context, "a")
    except httpcore.ConnectError:
        pass
    assert sock.fileno() == -1

    stream, sock, peer = await connect()
    with trio.move_on_after(0.1):
        await stream.start_tls(context, "a")
    if sock.fileno() != -1:
        sys.exit(f"{httpcore.__name__}: the handshake was cancelled, and its socket is open")


trio.run(main)
