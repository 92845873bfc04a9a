"""The connection driver: what stands between hypercorn's sockets and an ASGI app.

`driver` owns what all connections share, `connection` is one of them, `http1` its loop, `cycle` one request
and its answer, `head` and `body` the grammar, `answer` and `refusals` the bytes back, `transport` everything
known of sockets, `server`, `http2` and `http2_app` the joint with hypercorn, `frames` what HTTP/2 may cost,
`accept` the listeners, `limits` and `statistics` the numbers. From outside: `server.serve`, `driver.Driver`,
`limits.Limits`.
"""
