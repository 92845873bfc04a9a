"""The clients that the demo's page sends: each one request, on a connection of its own.

Rule 1: clients wait neither for the server nor for each other, so more than it can answer is an overload.
Rule 2: many clients are a process of their own. In the server's they would take the event loop's time, which
        sheds nearly everything then, and the page would show a server that nobody has.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from subprocess import DEVNULL
from typing import Final

import trio

MAX_IN_THIS_PROCESS: Final = 100  # clients of one order
_PROGRAM: Final = "from fanout.tools.demo_clients import main; main()"


@dataclass(frozen=True, slots=True)
class Clients:
    """Some clients that do the same, evenly spread over a time.

    host, port, family, is_tls: of the listener. stay_s: a client disconnects then, answered or not.
    """

    host: str
    port: int
    family: int
    is_tls: bool
    target: str
    count: int
    over_s: float
    stay_s: float

    async def run(self) -> None:  # noqa: ASYNC910 - to start a process, or not to, is a checkpoint
        """Send them all, and wait until the last has ended. A client that fails is no error."""
        if self.count <= MAX_IN_THIS_PROCESS:
            await self.run_here()
            return
        # As the server starts its workers, but out of reach of the terminal's Ctrl-C: it ends with the demo.
        command = [sys.executable, "-P", "-c", _PROGRAM, json.dumps(asdict(self))]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        start = partial(trio.run_process, command, env=environment, start_new_session=True, check=False)
        with suppress(OSError, MemoryError, RuntimeError):  # no descriptor, memory, process or thread is left
            await start(stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)

    async def run_here(self) -> None:
        tls = _trusting() if self.is_tls else None
        began_at = trio.current_time()
        sent = 0
        async with trio.open_nursery() as nursery:
            while sent < self.count:
                due_at = began_at + self.over_s * sent / self.count
                if due_at > trio.current_time():
                    await trio.sleep_until(due_at)
                nursery.start_soon(self._send, tls)  # all that are due come in one iteration
                sent += 1

    async def _send(self, tls: ssl.SSLContext | None) -> None:  # noqa: ASYNC910 - to connect is a checkpoint
        with suppress(OSError, trio.BrokenResourceError), trio.socket.socket(self.family) as sock:
            await sock.connect((self.host, self.port))
            with trio.move_on_after(self.stay_s):
                await self._talk(sock, tls)

    async def _talk(self, sock: trio.socket.SocketType, tls: ssl.SSLContext | None) -> None:
        """Ask, and read to the end. The client closes the socket, which is what the server sees."""
        stream: trio.abc.Stream = trio.SocketStream(sock)
        if tls is not None:
            stream = trio.SSLStream(stream, tls, server_hostname="demo", https_compatible=True)
        head = f"GET {self.target} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n"
        await stream.send_all(head.encode("ascii"))
        while await stream.receive_some():
            pass


def _trusting() -> ssl.SSLContext:
    """Our own listener on loopback, whatever its certificate says."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def clients_of(public: socket.socket, is_tls: bool) -> partial[Clients]:
    """Clients of this listener; what they do is still to be said."""
    host, port = public.getsockname()[:2]
    return partial(Clients, host, port, int(public.family), is_tls)


def main() -> None:
    """Run the clients that the one argument describes, in a process of their own."""
    trio.run(Clients(**json.loads(sys.argv[1])).run_here)
