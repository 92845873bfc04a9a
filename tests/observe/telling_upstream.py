"""A right upstream that remembers the headers of every call, by the call's path.

`/fast` answers at once, `/slow` when the test is over, `/503` fails.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WITHIN_S = 20


class TellingUpstream:
    def __init__(self) -> None:
        self.url = ""
        self._calls: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
        self._changed = threading.Condition()

    def note(self, path: str, headers: dict[str, str]) -> None:
        with self._changed:
            self._calls[path].append(headers)
            self._changed.notify_all()

    def calls(self, path: str, count: int) -> list[dict[str, str]]:
        """The headers, names in lower case, of the calls for `path`, once there were so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._calls[path]) >= count, WITHIN_S)
            return list(self._calls[path])


@contextmanager
def telling_upstream() -> Iterator[TellingUpstream]:
    upstream = TellingUpstream()
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            with suppress(ConnectionError):  # a cancelled call is reset
                super().handle()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            upstream.note(path, {name.lower(): value for name, value in self.headers.items()})
            if path == "/slow":
                over.wait()
                return
            body = b'{"time": 1}'
            self.send_response(503 if path == "/503" else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    upstream.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield upstream
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()
