"""h2: after GOAWAY an endpoint can neither receive nor send the answers that GOAWAY does not exclude.

pip install h2; python h2_goaway.py
"""

from __future__ import annotations

import sys

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ResponseReceived
from h2.exceptions import ProtocolError
from hyperframe.frame import GoAwayFrame

GOAWAY = GoAwayFrame(last_stream_id=1).serialize()  # stream 1 is not excluded


def asked():
    """A client and a server, after the request on stream 1."""
    client, server = H2Connection(), H2Connection(H2Configuration(client_side=False))
    client.initiate_connection()
    server.initiate_connection()
    request = [(":method", "GET"), (":authority", "a"), (":scheme", "http"), (":path", "/")]
    client.send_headers(1, request, end_stream=True)
    server.receive_data(client.data_to_send())
    client.receive_data(server.data_to_send())
    return client, server


found = []
client, server = asked()
server.send_headers(1, [(":status", "200")], end_stream=True)
answer = server.data_to_send()
try:
    client.receive_data(GOAWAY)
    assert any(isinstance(event, ResponseReceived) for event in client.receive_data(answer))
except ProtocolError as error:
    found.append(f"to receive the answer after GOAWAY: {error}")
client, server = asked()
server.close_connection(last_stream_id=1)
try:
    server.send_headers(1, [(":status", "200")], end_stream=True)
except ProtocolError as error:
    found.append(f"to send the answer after GOAWAY: {error}")
if found:
    sys.exit("\n".join(found))
