"""The connection driver: what stands between hypercorn's sockets and an ASGI app.

`driver` owns what all connections share, `connection` is one of them, `http1` its loop, `cycle` one request
and its answer, `head` and `body` the grammar, `answer` and `refusals` the bytes back, `transport` everything
known of sockets, `server` and `http2` the joint with hypercorn, `accept` the listeners, `limits` and
`statistics` the numbers. From outside: `server.serve`, `driver.Driver`, `limits.Limits`.
"""
