"""trio: SSLStream does not send the alert that says why a handshake has failed.

pip install trio; python trio_ssl_alert.py
"""

from __future__ import annotations

import ssl
import sys

import trio
import trio.testing

client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
client_context.maximum_version = ssl.TLSVersion.TLSv1_2
server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server_context.minimum_version = ssl.TLSVersion.TLSv1_3
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
client = client_context.wrap_bio(incoming, outgoing, server_hostname="a")


async def main():
    ours, theirs = trio.testing.memory_stream_pair()
    server = trio.SSLStream(theirs, server_context, server_side=True)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        await ours.send_all(outgoing.read())
    try:
        await server.do_handshake()
    except trio.BrokenResourceError as error:
        reason = error.__cause__.reason
    await server.aclose()
    incoming.write(await ours.receive_some())
    incoming.write_eof()
    try:
        client.do_handshake()
    except ssl.SSLEOFError as error:
        sys.exit(f"the server's reason is {reason}, and the client receives nothing: {error.reason}")
    except ssl.SSLError:
        pass


trio.run(main)
