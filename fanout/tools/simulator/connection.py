"""One connection: a task that answers, and a task that listens and so sees at once that the client left.

Rule 1: only the listener reads. FIN or RST ends the open calls and cancels the answerer.
Rule 2: only the answerer writes, job by job, in the order in which the requests came.
Rule 3: what happens here ends here. A bug is reported where it happened and ends this connection alone.
Rule 4: an answer that the kernel had before the client left is an answer. Trio's reads and writes yield for
one pass after the kernel has spoken, so that pass goes by before a call is called abandoned.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import Final

import trio

from fanout.tools.simulator import wire
from fanout.tools.simulator.connection_faults import ConnectionFault
from fanout.tools.simulator.control import reply
from fanout.tools.simulator.jobs import WORK, Job, call_job, refusal_job, reply_job
from fanout.tools.simulator.player import play
from fanout.tools.simulator.requests import Refusal, Request, RequestParser
from fanout.tools.simulator.script import Close, Cut, Ending, Reset, Script, Step
from fanout.tools.simulator.state import ConnectionEnd, State
from fanout.tools.simulator.witness import CallRecord, Departure

MAX_WAITING: Final = 100  # pipelined requests; a client that sends more is refused

OnCrash = Callable[[BaseException], None]


class Connection:
    """Serves one stream, once."""

    def __init__(self, state: State, stream: wire.Stream, on_crash: OnCrash) -> None:
        self._state = state
        self._stream = stream
        self._on_crash = on_crash
        self._number = state.connection_accepted()
        self._parser = RequestParser()
        self._calls: deque[CallRecord] = deque()  # from arrival until their job is done
        self._calls_begun = 0
        self._waiting: deque[Job | Request] = deque()
        self._arrival = trio.Event()
        self._refused = False
        self._talk = trio.CancelScope()
        self._left: tuple[Departure, float] | None = None
        self._end: ConnectionEnd | None = None
        self._ending: Ending = Cut()

    async def run(self, ssl_context: ssl.SSLContext | None, fault: ConnectionFault | None) -> None:
        """Serve until either side ends the connection. The stream is closed then, also when cancelled."""
        try:
            with self._guard():
                await self._serve(ssl_context, fault)
            self._client_left()
            if isinstance(self._ending, Close):
                with self._guard():
                    await wire.close(self._stream)
        finally:
            if isinstance(self._ending, Reset):
                wire.reset(self._stream)
            wire.drop(self._stream)
            self._state.connection_ended(self._over("server_stopped"))

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Nothing but `Cancelled` gets past: the client's leave and bugs end the connection."""
        try:
            yield
        except trio.BrokenResourceError as broken:
            self._note_leave(wire.departure(broken))
        except Exception as bug:  # noqa: BLE001 - reported, and the other connections go on
            self._over("crashed")
            self._on_crash(bug)

    async def _serve(self, ssl_context: ssl.SSLContext | None, fault: ConnectionFault | None) -> None:
        """Open the connection as TLS or chance want it, then listen and answer."""
        take, answer = self._take, self._answer
        if fault is not None:
            flight = b""
            if fault.in_handshake and ssl_context is not None:
                flight = await wire.first_flight(self._stream, ssl_context)
            take, answer = _ignore, partial(self._spoil, fault.steps(flight))
        elif ssl_context is not None:
            self._stream = tls = wire.encrypted(self._stream, ssl_context)
            await tls.do_handshake()
        with self._talk:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, take)
                with self._guard():
                    await answer()
                await self._settle()

    async def _listen(self, take: Callable[[bytes | bytearray], None]) -> None:
        """Read until the client leaves. `take` gets what is read."""
        with self._guard():
            while data := await self._stream.receive_some():
                take(data)
            self._note_leave("fin")
        await self._settle()

    def _take(self, data: bytes | bytearray) -> None:
        for message in self._parser.feed(data):
            self._arrived(message)

    def _arrived(self, message: Request | Refusal) -> None:
        """Queue a request. Calls begin here and not when their turn comes: none can be missed."""
        if self._refused or self._end is not None:
            return
        if len(self._waiting) == MAX_WAITING:
            message = Refusal(HTTPStatus.TOO_MANY_REQUESTS, f"{MAX_WAITING} requests wait already")
        if isinstance(message, Refusal):
            self._refused = True
            self._waiting.append(refusal_job(message))
        elif message.path.endswith(WORK):
            job = call_job(self._state, message, self._number, self._calls_begun + 1)
            if job.record is not None:
                self._calls_begun += 1
                self._calls.append(job.record)
            self._waiting.append(job)
        else:
            self._waiting.append(message)
        self._arrival.set()

    async def _answer(self) -> None:
        while True:
            while not self._waiting:
                self._arrival = trio.Event()
                await self._arrival.wait()
            job = self._waiting.popleft()
            if isinstance(job, Request):
                job = reply_job(await reply(self._state, job), job)
            ending = await play(job.script, self._stream, self._state.witness, job.record)
            if job.record is not None:
                self._calls.popleft()
                if job.record.end == "open":
                    self._state.witness.faulted(job.record)
            if ending is not None:
                return self._server_ends(ending)

    async def _spoil(self, steps: tuple[Step, ...]) -> None:
        """What a connection fault does instead of answering."""
        ending = await play(Script(None, steps), self._stream, self._state.witness, None)
        self._server_ends(ending or Cut())

    def _server_ends(self, ending: Ending) -> None:
        if self._end is None:
            self._ending = ending
        self._over(_SERVER_ENDS[type(ending)])

    def _note_leave(self, how: Departure) -> None:
        """The first sight counts, but RST corrects FIN.

        The kernel tells of a reset once, to a read or to a write; the other then sees what looks like FIN.
        """
        if self._left is None:
            self._left = how, trio.current_time()
        elif how == "rst":
            self._left = how, self._left[1]

    async def _settle(self) -> None:
        """Let a read or write that is just ending have its say (rule 4). Then a client that left has left."""
        await trio.lowlevel.cancel_shielded_checkpoint()
        await trio.lowlevel.cancel_shielded_checkpoint()  # the order within a pass is random
        self._client_left()

    def _client_left(self) -> None:
        if self._end is None and self._left is not None:
            how, at = self._left
            for record in self._open_calls():
                self._state.witness.client_closed(record, how, at)
            self._over(_CLIENT_ENDS[how])

    def _over(self, end: ConnectionEnd) -> ConnectionEnd:
        """End the talk, and with it what calls are open. The first word counts."""
        if self._end is None:
            self._end = end
            for record in self._open_calls():
                self._state.witness.faulted(record)
            self._talk.cancel(reason=end)
        return self._end

    def _open_calls(self) -> list[CallRecord]:
        return [record for record in self._calls if record.end == "open"]


def _ignore(data: bytes | bytearray) -> None:
    pass


_SERVER_ENDS: Final[dict[type[Ending], ConnectionEnd]] = {
    Close: "server_close",
    Cut: "server_cut",
    Reset: "server_reset",
}
_CLIENT_ENDS: Final[dict[Departure, ConnectionEnd]] = {
    "fin": "client_fin",
    "rst": "client_rst",
    "tls_error": "client_tls_error",
}
