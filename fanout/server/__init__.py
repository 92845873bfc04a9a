"""HTTP over sockets: what stands between a listener and an ASGI app. It knows nothing of the API.

`serve` is the way in. `driver` owns what all connections share, `connection` is one of them, `http1` its
loop, `cycle` one request and its answer, `head` and `body` the grammar, `answer` and `rejections` the bytes
back, `transport` the socket, `tls` TLS over it, `http2*` the joint with hypercorn, `frames` what HTTP/2 may
cost, `accept` and `listeners` the listening sockets, `limits` and `timeouts` the bounds.
"""
