"""A client of HTTP/2, on h2: several requests at once on a connection, each played by a task of its own."""

from __future__ import annotations

from typing import Final

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import trio
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from fanout.testing.world import frames
from fanout.testing.world.door import READ_BYTES, Door, Wire, disconnect
from fanout.testing.world.facts import RequestFacts
from fanout.testing.world.facts_streams import StreamsFacts
from fanout.testing.world.plan import Http2Script, Leave, RequestScript

_CONFIG: Final = h2.config.H2Configuration(
    client_side=True,
    header_encoding=None,
    validate_outbound_headers=False,  # malformed requests are sent on purpose
    normalize_outbound_headers=False,
)
_WHOLE_WINDOW: Final = 65535
_GROWN: Final = 200_000
_SHRUNK: Final = 50
# Each ends the connection, whatever it stands behind.
NOISE: Final = (
    b"\xff" * 40,
    frames.frame(frames.DATA, 0, 0, b"on no stream"),
    frames.frame(frames.HEADERS, frames.END_HEADERS, 2, b"\x82\x84\x86"),
    frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, b"\x82"),
    frames.frame(frames.SETTINGS, 0, 0, b"short"),
    frames.frame(frames.WINDOW_UPDATE, 0, 0, bytes(4)),
    frames.frame(frames.PING, 0, 1, bytes(8)),
    frames.frame(frames.RST_STREAM, 0, 0, bytes(4)),
    frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 0x7FFFFFFF, b"\xff\xff\xff\xff\xff"),
)


def fields_of(request: RequestScript) -> list[tuple[bytes, bytes]]:
    """Its head, as HTTP/2 has it, with an id that every answer must repeat."""
    pairs = list(request.fields)
    if not pairs:
        line, *lines = request.head.rstrip(b"\r\n").split(b"\r\n")
        method, target, _ = line.split(b" ")
        pairs = [(b":method", method), (b":scheme", b"http"), (b":path", target)]
        for text in lines:
            name, _, value = text.partition(b": ")
            if name == b"host":
                pairs.append((b":authority", value))
            elif name != b"connection":
                pairs.append((name, value))
    return [*pairs, (b"x-request-id", b"w%d" % request.id)]


class Http2Asker:
    """One connection, from the client's side."""

    def __init__(self, door: Door, facts: StreamsFacts, wire: Wire) -> None:
        self._door = door
        self._facts = facts
        self._wire = wire
        self._script = facts.client.http2 or Http2Script()
        self._h2 = h2.connection.H2Connection(_CONFIG)
        self._h2.local_settings = h2.settings.Settings(
            client=True, initial_values={SettingCodes.INITIAL_WINDOW_SIZE: self._script.window_bytes}
        )
        self._h2.initiate_connection()
        self._sending = trio.Lock()  # frames are sent one after the other
        self._sent = 0
        self._done: dict[int, trio.Event] = {}  # by stream: the request has come to its end
        self._over = trio.Event()  # nothing more can be asked
        self._gone = trio.Event()  # nothing more is read
        self._is_deaf = False  # what still comes is not looked at
        self._has_left = False  # our end is closed
        self._is_cut = False  # nothing can be sent behind half a frame
        self._unacknowledged = 1  # SETTINGS; with two of them h2 mistakes one for the other
        self._reads_from = 0.0

    async def ask(self, group: list[RequestScript]) -> bool:
        """Send these requests, each after its gap, and read their answers. Whether there may be others."""
        async with trio.open_nursery() as reading:
            reading.start_soon(self._read)
            async with trio.open_nursery() as asking:
                for request in group:
                    asking.start_soon(self._play, request, asking)
            reading.cancel_scope.cancel()
        return not self._over.is_set()

    async def _play(self, request: RequestScript, asking: trio.Nursery) -> None:
        await trio.sleep(request.gap_ms / 1000)
        try:
            stream = await self._send(request)
            if stream is None:
                return
            self._reads_from = max(self._reads_from, trio.current_time() + request.stall_ms / 1000)
            if self._script.opens_after_ms is not None:
                asking.start_soon(self._open_later, stream, self._script.opens_after_ms)
            done, leave = self._done[stream], request.leave
            if leave is None:
                await done.wait()
                return
            with trio.move_on_after(leave.after_ms / 1000):
                await done.wait()
            await self._leave(leave, stream)
        except OSError:
            self._end()

    async def _send(self, request: RequestScript) -> int | None:
        """Send the request. The number of its stream; `None` if nothing can be asked any more."""
        async with self._sending:
            for extra in request.extras:
                if not self._over.is_set():
                    await self._write(self._extra(extra))
            if self._over.is_set():
                return None
            waiting = self._h2.data_to_send()
            stream = self._h2.get_next_available_stream_id()
            self._h2.send_headers(stream, fields_of(request), end_stream=True)
            head = self._h2.data_to_send()
            if "continuation" in request.extras and len(head) < frames.MAX_BYTES:
                head = frames.continued(head)
            facts = RequestFacts(
                request, self._facts, trio.current_time(), self._sent + len(waiting + head), stream
            )
            self._facts.requests.append(facts)
            if request.is_head:
                self._facts.streams.to_head.add(stream)
            self._done[stream] = trio.Event()
            self._door.sent(facts)
            leave = request.leave
            if leave is not None and leave.of_head < 1:
                head = head[: round(leave.of_head * len(head))]
            split = round(request.split_at * len(head))
            if split:
                await self._write(waiting + head[:split])
                waiting = b""
                await trio.sleep(request.pause_ms / 1000)
            await self._write(waiting + head[split:])
            self._is_cut = self._is_cut or (leave is not None and leave.of_head < 1)
            await self._write(self._h2.data_to_send())  # what the reader left to be sent
            return stream

    def _extra(self, extra: str) -> bytes:
        match extra:
            case "ping":
                self._h2.ping(b"are you?")
            case "table":
                self._change(SettingCodes.HEADER_TABLE_SIZE, 0)
            case "grow" | "shrink":
                self._change(SettingCodes.INITIAL_WINDOW_SIZE, _GROWN if extra == "grow" else _SHRUNK)
            case "window":
                self._h2.increment_flow_control_window(1000)
        data = self._h2.data_to_send()
        match extra:
            case "priority":
                data += frames.frame(frames.PRIORITY, 0, 1, bytes(4) + b"\x10")
            case "unknown":
                data += frames.frame(frames.UNKNOWN, 0xFF, 0, b"whatever comes tomorrow")
        return data

    def _change(self, setting: SettingCodes, value: int) -> None:
        if not self._unacknowledged:
            self._unacknowledged += 1
            self._h2.update_settings({setting: value})

    async def _write(self, data: bytes) -> None:
        view = memoryview(b"" if self._is_cut else data)
        self._sent += len(view)
        while view:
            view = view[self._wire.write(view) :]
            if view:
                await self._wire.writable()
        await trio.lowlevel.checkpoint()

    async def _open_later(self, stream: int, after_ms: int) -> None:
        """Give the answer a window, late."""
        done = self._done[stream]
        with trio.move_on_after(after_ms / 1000):
            await done.wait()
        try:
            async with self._sending:
                if not done.is_set():
                    self._h2.increment_flow_control_window(_WHOLE_WINDOW, stream)
                    await self._write(self._h2.data_to_send())
        except OSError:
            self._end()

    async def _leave(self, leave: Leave, stream: int) -> None:
        await trio.lowlevel.checkpoint()
        if leave.how == "cancel":
            async with self._sending:
                if not self._done[stream].is_set():
                    self._h2.reset_stream(stream, ErrorCodes.CANCEL)
                    await self._write(self._h2.data_to_send())
            self._done[stream].set()
            return
        if leave.how in ("goaway", "noise"):
            async with self._sending:
                if self._over.is_set():
                    return
                self._is_deaf = True
                self._end()
                await self._write(self._farewell(leave))
        else:
            self._is_deaf = True
            self._end()
            self._has_left = leave.how != "half"
            disconnect(self._wire, leave.how)
        await self._gone.wait()

    def _farewell(self, leave: Leave) -> bytes:
        if leave.how == "goaway":
            self._h2.close_connection()
            return self._h2.data_to_send()
        noise = NOISE[leave.after_ms % len(NOISE)]
        self._facts.streams.noise = self._sent
        return noise

    # What the server sends

    async def _read(self) -> None:  # noqa: ASYNC910 - after the client has left there is nothing to wait for
        try:
            while not self._has_left:
                await self._wire.readable()
                if trio.current_time() < self._reads_from:
                    await trio.sleep_until(self._reads_from)
                data = self._wire.read(READ_BYTES)
                if not data:
                    break
                if not self._is_deaf:
                    for event in self._h2.receive_data(data):
                        self._on_event(event)
                    await self._acknowledge()
        except OSError:
            pass
        except h2.exceptions.ProtocolError as error:
            self._facts.bad.append(f"not HTTP/2: {error}")
        self._gone.set()
        self._end()

    async def _acknowledge(self) -> None:  # noqa: ASYNC910 - receiving is a checkpoint
        """Send what h2 has to send, unless somebody is sending, who takes it along."""
        if not self._sending.locked():
            async with self._sending:
                with trio.CancelScope(shield=True):  # a frame is sent whole
                    await self._write(self._h2.data_to_send())

    def _on_event(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.DataReceived():
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded() | h2.events.StreamReset():
                if event.stream_id in self._done:
                    self._done[event.stream_id].set()
            case h2.events.SettingsAcknowledged():
                self._unacknowledged -= 1
            case h2.events.ConnectionTerminated():
                self._is_deaf = True
                self._end()

    def _end(self) -> None:
        """Nothing more can be asked, and nothing that was asked is waited for."""
        self._over.set()
        for done in self._done.values():
            done.set()
