"""trio: an SSLStream refers to itself, so OpenSSL's memory waits for the garbage collector.

pip install trio; python trio_ssl_cycle.py
"""

from __future__ import annotations

import gc
import ssl
import sys
import weakref

import trio
import trio.testing

gc.disable()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
stream = trio.SSLStream(trio.testing.memory_stream_pair()[0], context, server_hostname="a")
gone = weakref.ref(stream)
del stream
is_left = gone() is not None
gc.collect()
assert gone() is None
if is_left:
    sys.exit("nothing refers to the SSLStream, and only the garbage collector frees it")
