"""The other side of the measurements, in a process of its own, so that none of its objects is counted.

It is two upstreams, one of them over TLS, and the clients. Everything blocks: a thread is simpler than a loop
and none of it is measured. Run as a module: the ports of the upstreams are printed, then each line of the
input is one `Order` as JSON, and each line of the output says what came of it.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NotRequired, TypedDict

import h2.config
import h2.connection
import h2.events

PATIENCE_S: Final = 20.0
_RESET: Final = struct.pack("ii", 1, 0)
_OK: Final = b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"time":1}'

# What an upstream sends by path, and whether the connection stays open for the next request.
_ANSWERS: Final[dict[bytes, tuple[bytes, bool]]] = {
    b"/ok": (_OK, True),
    b"/status": (b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}", True),
    b"/payload": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", True),
    b"/malformed": (b"this is not HTTP\r\n\r\n", False),
    b"/close": (b"", False),
}
# It sends so much of an answer, and the rest never comes.
_STALLS: Final[dict[bytes, bytes]] = {b"/hang": b"", b"/head": _OK[:20], b"/body": _OK[:-5]}


class Order(TypedDict):
    """times: how often. action: a function of `ACTIONS`. data: what a client sends, latin-1.
    alpn: over TLS, with this protocol. calls: the upstream calls to wait for."""

    action: str
    times: int
    port: int
    data: NotRequired[str]
    alpn: NotRequired[str | None]
    calls: NotRequired[int]


class Upstream:
    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.stalled = threading.Semaphore(0)
        self.released = threading.Event()
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=[sock], daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            with sock:
                while self._answer(sock):
                    pass
        except OSError:  # of TLS, too
            sock.close()

    def _answer(self, sock: socket.socket) -> bool:
        request = b""
        while b"\r\n\r\n" not in request:
            data = sock.recv(65536)
            if not data:
                return False
            request += data
        path = request.split(b" ")[1]
        if path == b"/later":
            self.stalled.release()
            self.released.wait(PATIENCE_S)
            sock.sendall(_OK)
            return True
        if path in _ANSWERS:
            answer, stays_open = _ANSWERS[path]
            sock.sendall(answer)
            return stays_open
        sock.sendall(_STALLS[path])
        self.stalled.release()
        sock.recv(1)  # until the server closes
        return False


class Silent:
    """An upstream whose port takes no connection: its queue is full, so every SYN is dropped."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.port = self._listener.getsockname()[1]
        self._fill = [socket.socket() for _ in range(4)]
        for sock in self._fill:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", self.port))


class Mute:
    """An upstream that takes connections and never says a word, also not to a ClientHello."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port = self._listener.getsockname()[1]
        self._held: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            self._held.append(sock)
            if len(self._held) > 100:
                self._held.pop(0).close()


class Clients:
    """One order. `seen` counts what each of its clients saw: a status, or how else it ended."""

    def __init__(self, order: Order, upstreams: list[Upstream], trust: ssl.SSLContext) -> None:
        self.seen: Counter[str] = Counter()
        self._order = order
        self._upstreams = upstreams
        self._data = order.get("data", "").encode("latin-1")
        self._trust = trust

    def run(self) -> None:
        for upstream in self._upstreams:
            while upstream.stalled.acquire(blocking=False):
                pass  # of an order before
        alpn = self._order.get("alpn")
        if alpn is not None:
            self._trust.set_alpn_protocols([alpn])
        ACTIONS[self._order["action"]](self)

    def new_connections(self) -> None:
        """A connection for each request."""
        for _ in range(self._order["times"]):
            with self._connect() as sock:
                self._ask(sock)

    def one_connection(self) -> None:
        with self._connect() as sock:
            for _ in range(self._order["times"]):
                self._ask(sock)

    def beside_one_that_hangs(self) -> None:
        """For a server that admits one request."""
        with self._connect() as first:
            first.sendall(self._data)
            self._wait_for_calls()
            self.new_connections()

    def half_a_head(self) -> None:
        for _ in range(self._order["times"]):
            with self._connect() as sock:
                sock.sendall(self._data[:-5])
                self.seen["left"] += 1

    def close_while_it_runs(self) -> None:
        self._leave(reset=False)

    def reset_while_it_runs(self) -> None:
        self._leave(reset=True)

    def reset_at_once(self) -> None:
        """At whatever point the server is by then."""
        for _ in range(self._order["times"]):
            with self._connect() as sock:
                sock.sendall(self._data)
                _reset_on_close(sock)
            self.seen["left"] += 1

    def close_soon(self) -> None:
        """After about as long as the server needs to begin with the upstream calls."""
        for _ in range(self._order["times"]):
            with self._connect() as sock:
                sock.sendall(self._data)
                time.sleep(0.005)
            self.seen["left"] += 1

    def wait_for_the_end(self) -> None:
        """Send no request, or a part of one, and wait until the server has had enough."""
        for _ in range(self._order["times"]):
            with socket.create_connection(("127.0.0.1", self._order["port"]), PATIENCE_S) as sock:
                sock.sendall(self._data)
                try:
                    while sock.recv(65536):
                        pass
                    self.seen["closed"] += 1
                except ConnectionError:
                    self.seen["reset"] += 1

    def never_read(self) -> None:
        """Ask for more than the socket's buffers hold, and read nothing of it."""
        for _ in range(self._order["times"]):
            with socket.socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.settimeout(PATIENCE_S)
                sock.connect(("127.0.0.1", self._order["port"]))
                try:
                    while True:
                        sock.sendall(100 * self._data)
                except ConnectionError:
                    self.seen["reset"] += 1

    def hold(self) -> None:
        """All at once. They wait for their answers, which come after `release`."""
        for upstream in self._upstreams:
            upstream.released.clear()
        held[:] = [self._connect() for _ in range(self._order["times"])]
        for sock in held:
            sock.sendall(self._data)
            self._wait_for_calls()

    def release(self) -> None:
        """Those that are held: each gets its answer, and then the server closes its connection."""
        for upstream in self._upstreams:
            upstream.released.set()
        for sock in held:
            answer = b""
            with sock:
                while data := sock.recv(65536):
                    answer += data
            self.seen[answer.split(b" ")[1].decode() if answer else "closed"] += 1

    def stream_until_left(self) -> None:
        """An answer without an end: read some of it, and leave."""
        for _ in range(self._order["times"]):
            with self._connect() as sock:
                sock.sendall(self._data)
                self.seen[sock.recv(65536).split(b" ")[1].decode()] += 1

    def to_the_end(self) -> None:
        """An answer whose end is the end of the connection, or that of its chunks."""
        for _ in range(self._order["times"]):
            with self._connect() as sock:
                sock.sendall(self._data)
                answer = b""
                while not answer.endswith(b"0\r\n\r\n") and (data := sock.recv(65536)):
                    answer += data
                self.seen[answer.split(b" ")[1].decode()] += 1

    def bad_handshake(self) -> None:
        """No TLS at all."""
        for _ in range(self._order["times"]):
            with socket.create_connection(("127.0.0.1", self._order["port"]), PATIENCE_S) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                while sock.recv(65536):
                    pass
                self.seen["closed"] += 1

    def half_a_handshake(self) -> None:
        """The first bytes of a ClientHello, and the client leaves."""
        for _ in range(self._order["times"]):
            with socket.create_connection(("127.0.0.1", self._order["port"]), PATIENCE_S) as sock:
                sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
                self.seen["left"] += 1

    def http2(self) -> None:
        """A connection for each request."""
        for _ in range(self._order["times"]):
            with self._connect() as sock:
                self.seen[_http2_status(sock, self._data.decode("latin-1"))] += 1

    def http2_reset_while_it_runs(self) -> None:
        for _ in range(self._order["times"]):
            with self._connect() as sock:
                connection = _http2_request(sock, self._data.decode("latin-1"))
                self._wait_for_calls()
                connection.reset_stream(1)
                sock.sendall(connection.data_to_send())
                _http2_ping(sock, connection)
                self.seen["left"] += 1

    def _leave(self, *, reset: bool) -> None:
        for _ in range(self._order["times"]):
            with self._connect() as sock:
                sock.sendall(self._data)
                self._wait_for_calls()
                if reset:
                    _reset_on_close(sock)
            self.seen["left"] += 1

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self._order["port"]), PATIENCE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._order.get("alpn") is None:
            return sock
        return self._trust.wrap_socket(sock, server_hostname="localhost")

    def _ask(self, sock: socket.socket) -> None:
        """Ask, and read the answer, which has a length."""
        sock.sendall(self._data)
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = sock.recv(65536)
            if not data:
                self.seen["closed"] += 1
                return
            answer += data
        head, _, body = answer.partition(b"\r\n\r\n")
        lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        missing = 0 if self._data.startswith(b"HEAD") else int(lengths[0]) - len(body)
        while missing > 0:
            missing -= len(sock.recv(65536))
        self.seen[head.split(b" ")[1].decode()] += 1

    def _wait_for_calls(self) -> None:
        for _ in range(self._order.get("calls", 0)):
            if not _stalled(self._upstreams):
                raise RuntimeError("no upstream call came")


held: list[socket.socket] = []  # of the last `Clients.hold`


def _stalled(upstreams: list[Upstream]) -> bool:
    """Wait for one call that an upstream will not answer."""
    for _ in range(int(PATIENCE_S / 0.01)):
        if any(upstream.stalled.acquire(timeout=0.005) for upstream in upstreams):
            return True
    return False


def _reset_on_close(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def _http2_request(sock: socket.socket, target: str) -> h2.connection.H2Connection:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    authority, _, path = target.partition("/")
    pairs = [(":method", "GET"), (":scheme", "https"), (":authority", authority), (":path", f"/{path}")]
    connection.send_headers(1, pairs, end_stream=True)
    sock.sendall(connection.data_to_send())
    return connection


def _http2_status(sock: socket.socket, target: str) -> str:
    connection = _http2_request(sock, target)
    status = "closed"
    while data := sock.recv(65536):
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                status = str(dict(event.headers)[b":status"], "ascii")
            elif isinstance(event, h2.events.StreamEnded):
                return status
            elif isinstance(event, h2.events.StreamReset):
                return "reset"
        sock.sendall(connection.data_to_send())
    return status


def _http2_ping(sock: socket.socket, connection: h2.connection.H2Connection) -> None:
    """Returns when the server has read everything that was sent before."""
    connection.ping(b"12345678")
    sock.sendall(connection.data_to_send())
    while data := sock.recv(65536):
        if any(isinstance(event, h2.events.PingAckReceived) for event in connection.receive_data(data)):
            return


ACTIONS: Final[dict[str, Callable[[Clients], None]]] = {
    name: value for name, value in vars(Clients).items() if callable(value) and not name.startswith("_")
}


def main(certificate: str, key: str, authority: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    trust = ssl.create_default_context(cafile=authority)
    plain, secure, silent, mute = Upstream(None), Upstream(context), Silent(), Mute()
    _say({"http": plain.port, "https": secure.port, "silent": silent.port, "mute": mute.port})
    for line in sys.stdin:
        clients = Clients(json.loads(line), [plain, secure], trust)
        try:
            clients.run()
        except Exception as error:  # noqa: BLE001 - the measurement fails, with what was seen
            clients.seen[repr(error)] += 1
        _say(clients.seen)


def _say(value: Any) -> None:
    print(json.dumps(value), flush=True)  # noqa: T201 - its way to answer


if __name__ == "__main__":
    main(*sys.argv[1:])
