"""What the server adds to Trio's event loop, by Trio's public names, for clients and for upstreams.

`sockets` calls back when epoll reports a socket; `stream` is the bytes over one; `turns` bounds the work per
event-loop iteration. `tests/loop/test_trios_names.py` holds that only public names are used.
"""
