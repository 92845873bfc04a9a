"""HTTP over sockets: what stands between a listener and an ASGI app. It knows nothing of the API.

`serve` is the way in. `driver` owns what all connections share, `connection` is one of them.
HTTP/1: `http1` is its loop, `http1_reader` reads, `http1_request` is one request and its answer as ASGI.
HTTP/2: `http2` reads, `http2_write` has the requests as ASGI and writes, `frames` counts.
Both use `head`, the grammar of a request head. `answer` and `rejections` have the bytes back, `transport` the
socket, `tls` TLS over it, `accept` and `listeners` the listening sockets, `limits` and `timeouts` the bounds.
"""
