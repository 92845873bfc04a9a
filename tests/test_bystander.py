"""The bystander sees what a server does to its clients, and tells it from what the machine does."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.bystander import Seen, bystander

pytestmark = pytest.mark.alone


class Server(ThreadingHTTPServer):
    """Answers at once, unless it is told to stall or to reject."""

    daemon_threads = True
    stall_until = 0.0
    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answered: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        time.sleep(max(0.0, self.server.stall_until - time.monotonic()))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
        self.server.answered.append(self.server.status)

    def log_message(self, *_: object) -> None:
        """Nobody wants to know."""


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def messages(seen: Seen) -> str:
    with pytest.raises(AssertionError) as caught:
        seen.assert_unharmed()
    return str(caught.value)


def test_a_server_that_answers_harms_nobody() -> None:
    with serving() as server, bystander(server.url, timeout_ms=300, every_s=0.02) as seen:
        time.sleep(0.4)
    seen.assert_unharmed(at_least=10)
    assert seen.figures()["on_time"] == len(seen.requests)


def test_a_stall_of_the_server_is_seen_by_every_request_that_is_due_in_it() -> None:
    """On schedule: a client that waits for one answer before it asks again would see one."""
    with serving() as server, bystander(server.url, timeout_ms=200, every_s=0.02) as seen:
        time.sleep(0.1)
        server.stall_until = time.monotonic() + 0.6
        time.sleep(0.7)
    assert 10 <= len(seen.late) <= 25  # those of the stall's first 0.4 s
    assert "the rest is the server's" in messages(seen)


def test_a_rejection_and_a_lost_answer_are_harm() -> None:
    with serving() as server, bystander(server.url, every_s=0.02) as seen:
        server.status = 503
        while server.answered.count(503) < 3:
            time.sleep(0.01)
    seen.machines_share = 0.0  # on a busy machine a rejection counts as the machine's
    assert seen.rejected > 0
    assert "503" in messages(seen)
    assert seen.late == []


def test_a_machine_that_stands_still_is_not_blamed_on_the_server() -> None:
    """The bystander itself is stopped, as if it had no processor: its answers are late and nobody's fault."""
    with serving() as server, bystander(server.url, timeout_ms=100, every_s=0.01) as seen:
        time.sleep(0.1)
        os.kill(seen.pid, signal.SIGSTOP)
        time.sleep(0.5)
        os.kill(seen.pid, signal.SIGCONT)
        time.sleep(0.1)
    assert seen.longest_ms > 300
    seen.assert_unharmed()


def test_nothing_to_begin_with_is_an_error() -> None:
    with serving() as server:
        url = server.url
    with pytest.raises(AssertionError, match="no answer to begin with"), bystander(url):
        raise AssertionError("not reached")
