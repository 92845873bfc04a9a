"""What fanout makes of HTTP/2: of one head, and of all that a client sends on one connection.

What it should make of a head, `http2_rules` says. In a conversation h2 says which frames there may be, and in
which order: the server uses h2 for these, so this tests what the server does with its events.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hpack
import trio
import trio.testing
from h2.settings import SettingCodes

from fanout.server.asgi import CLIENT_KEY, Receive, Scope, Send
from fanout.server.connection import Connection
from fanout.server.driver import Driver
from fanout.server.head import Head
from fanout.server.http2 import Http2
from fanout.server.http2_head import Malformed, read_head
from fanout.server.rejections import Rejected
from tests.blackbox.front_door.http2_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PREFACE,
    RST_STREAM,
)
from tests.fuzz.http2_rules import (
    MALFORMED,
    SERVED,
    Field,
    Request,
    are_malformed,
    fields_of_app,
    h2_refuses,
    outcomes,
)
from tests.fuzz.ours import LIMITS, Wire

_PROTOCOL_ERROR: Final = 1
_MAX_FRAME_BYTES: Final = 2**14
_ROOM_BYTES: Final = 1000  # for an answer


def head_of(data: bytes) -> Request | None:
    """The request in an input of `Http2Grammar.head`; `None` if it is no field block."""
    try:
        fields = [(bytes(name), bytes(value)) for name, value in hpack.Decoder().decode(data[1:], raw=True)]
    except hpack.HPACKError:
        return None
    return Request(fields, data[:1] == b"\x01", LIMITS)


def look_at_head(request: Request) -> Iterator[tuple[str, str]]:
    """What is wrong, if anything: who differs from the table, and in what."""
    allowed, broken = outcomes(request)
    head: Head | None = None
    try:
        head = read_head(request.fields, LIMITS, ended=request.ended)
        outcome = SERVED
    except Malformed:
        outcome = MALFORMED
    except Rejected as rejected:
        outcome = rejected.rejection.status
    rules = ", ".join(rule.what for rule in broken) or "no rule"
    if outcome not in allowed:
        yield "fanout", f"{outcome} for {rules}"
    elif head is not None and not _is_as_sent(head, request):
        yield "fanout", "another head than was sent"
    if h2_refuses(request.fields) != any(rule.h2 for rule in broken):
        yield "h2", f"{'refuses' if h2_refuses(request.fields) else 'takes'} {rules}"


def _is_as_sent(head: Head, request: Request) -> bool:
    path, _, query = (request.first(b":path") or b"").partition(b"?")
    return (head.method.encode("ascii"), head.raw_path, head.query, head.fields) == (
        request.first(b":method"),
        path,
        query,
        fields_of_app(request),
    )


# Conversations


@dataclass(slots=True)
class Stream:
    """What a client sends on one stream, and what may follow: statuses and `MALFORMED`, or nothing at all."""

    fields: list[Field] = field(default_factory=list)
    body: bytes = b""
    ended: bool = False
    allowed: set[int] = field(default_factory=set)
    may_be_nothing: bool = False


@dataclass(slots=True)
class Plan:
    """is_clean: the client keeps to the order of frames, so that every stream must have its outcome."""

    streams: dict[int, Stream] = field(default_factory=dict)
    is_clean: bool = True


def plan_of(data: bytes) -> Plan:
    """What should become of these bytes.

    What is no mistake behind a refusal is one if it comes before that, which is a matter of chance. `patient`
    refuses nothing, and so finds it.
    """
    plan = Plan()
    connection, patient = _server(), _server()
    kind, flags = 0, 0
    for piece in _frames(data):
        continues = kind in (HEADERS, CONTINUATION) and not flags & END_HEADERS
        kind, flags = piece.removeprefix(PREFACE)[3:5].ljust(2, b"\0")
        if kind == CONTINUATION and not continues:
            plan.is_clean = False  # 6.10; h2 lets it pass on a stream that was reset
        if int.from_bytes(piece.removeprefix(PREFACE)[:3]) > _MAX_FRAME_BYTES:
            plan.is_clean = False  # the server does not wait for the rest of it
        if (stream := plan.streams.get(_reset_by_client(piece))) is not None:
            stream.may_be_nothing = True  # which h2 does not report of a stream that was refused
        try:
            events = connection.receive_data(piece)
        except h2.exceptions.ProtocolError:
            plan.is_clean = False
            break
        plan.is_clean = plan.is_clean and _is_clean(patient, piece)
        for event in events:
            _follow(plan, connection, event)
    return plan


def _is_clean(patient: h2.connection.H2Connection, piece: bytes) -> bool:
    """Must not be called again once it is not."""
    try:
        events = patient.receive_data(piece)
    except h2.exceptions.ProtocolError:
        return False
    return not any(isinstance(event, h2.events.StreamReset) and not event.remote_reset for event in events)


def _server() -> h2.connection.H2Connection:
    config = h2.config.H2Configuration(
        client_side=False, header_encoding=None, validate_inbound_headers=False
    )
    connection = h2.connection.H2Connection(config)
    connection.initiate_connection()
    return connection


def _follow(plan: Plan, connection: h2.connection.H2Connection, event: h2.events.Event) -> None:
    match event:
        case h2.events.RequestReceived():
            stream = plan.streams[event.stream_id] = Stream(
                fields=[(bytes(n), bytes(v)) for n, v in event.headers]
            )
            request = Request(stream.fields, event.stream_ended is not None, LIMITS)
            stream.allowed, _ = outcomes(request)
            if SERVED not in stream.allowed:
                # If h2 sees the end of its body first, it ends the connection for a wrong length.
                has_length = request.first(b"content-length") is not None
                plan.is_clean = plan.is_clean and (request.ended or not has_length)
                _reset(connection, event.stream_id)
        case h2.events.DataReceived():
            plan.streams[event.stream_id].body += event.data
        case h2.events.StreamEnded():
            stream = plan.streams[event.stream_id]
            stream.ended = True
            length = next((value for name, value in stream.fields if name == b"content-length"), None)
            if SERVED in stream.allowed and length is not None and int(length) != len(stream.body):
                stream.allowed = {MALFORMED}  # 8.1.1; h2 sees it only if the body ends with its data
        case h2.events.TrailersReceived():
            trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
            if are_malformed(trailers):
                plan.streams[event.stream_id].allowed = {MALFORMED}
                _reset(connection, event.stream_id)
        case h2.events.StreamReset():
            plan.is_clean = plan.is_clean and event.remote_reset
        case h2.events.ConnectionTerminated():
            plan.is_clean = False  # it ends with what it does
        case h2.events.RemoteSettingsChanged():
            window = event.changed_settings.get(SettingCodes.INITIAL_WINDOW_SIZE)
            if window is not None and window.new_value < _ROOM_BYTES:
                plan.is_clean = False  # an answer may wait for room


def _reset_by_client(frame: bytes) -> int:
    """The stream; 0 if it is another frame."""
    stream_id = int.from_bytes(frame[5:9]) & 0x7FFFFFFF  # the first bit is reserved
    return stream_id if frame[3:4] == bytes([RST_STREAM]) else 0


def _reset(connection: h2.connection.H2Connection, stream_id: int) -> None:
    try:
        connection.reset_stream(stream_id)
    except h2.exceptions.ProtocolError:
        return  # it is closed


def _frames(data: bytes) -> Iterator[bytes]:
    """The bytes, cut before each frame. The settings of the beginning stay with the preface."""
    at = len(PREFACE)
    begin = 0
    while at + 9 <= len(data):
        at += 9 + int.from_bytes(data[at : at + 3])
        yield data[begin:at]
        begin = at
    yield data[begin:]


class Answers:
    """What the server has sent, stream by stream. Raises `AssertionError` for what no server may send."""

    def __init__(self, data: bytes) -> None:
        self.status: dict[int, int] = {}
        self.reset: dict[int, int] = {}
        self.goodbye: int | None = None
        decoder = hpack.Decoder()
        decoder.max_allowed_table_size = 2**32  # what the client has allowed is not followed here
        ended: set[int] = set()
        at = 0
        while at + 9 <= len(data):
            length = int.from_bytes(data[at : at + 3])
            kind, flags, stream_id = struct.unpack(">BBI", data[at + 3 : at + 9])
            payload = data[at + 9 : at + 9 + length]
            at += 9 + length
            if kind == GOAWAY:
                self.goodbye = int.from_bytes(payload[4:8])
            elif kind == RST_STREAM:
                self.reset[stream_id] = int.from_bytes(payload)
            elif kind in (HEADERS, DATA):
                assert stream_id not in ended, f"more behind the end of stream {stream_id}"
                if kind == HEADERS:
                    status = int(dict(decoder.decode(payload, raw=True))[b":status"])
                    assert stream_id not in self.status, f"stream {stream_id} was answered twice"
                    if status != 100:
                        self.status[stream_id] = status
                if flags & END_STREAM:
                    ended.add(stream_id)


class _Wire(Wire):
    """Delivers a piece per event-loop iteration. Its client leaves when the server has nothing more to do."""

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        piece = await super().receive()
        if not piece:
            await trio.testing.wait_all_tasks_blocked()
        return piece


class Http2Server:
    """The server's own loop of a connection, with an app that keeps what it receives."""

    def __init__(self) -> None:
        self.crashes: list[BaseException] = []
        self.served: dict[int, tuple[Scope, bytes]] = {}
        self._driver = Driver(LIMITS, on_crash=self.crashes.append)

    async def answers(self, pieces: Iterable[bytes]) -> Answers:
        self.served = {}
        wire = _Wire(pieces)

        async def serve(connection: Connection) -> None:
            connection.is_http2 = True
            await Http2(self._driver, connection, self._app, {}).run()

        await self._driver.hold(wire, serve)
        return Answers(wire.sent)

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        self.served[scope[CLIENT_KEY].stream_id] = scope, body
        await send({"type": "http.response.start", "status": SERVED, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else b"ok"})


def look_at_answers(plan: Plan, answers: Answers, served: dict[int, tuple[Scope, bytes]]) -> str | None:
    """The first thing that is wrong with them."""
    for stream_id, (scope, body) in served.items():
        stream = plan.streams.get(stream_id)
        if stream is None or SERVED not in stream.allowed:
            return "an app gets a request that it may not get"
        request = Request(stream.fields, ended=False, limits=LIMITS)
        if not stream.ended or body != stream.body:
            return "an app gets another body than was sent"
        expected = fields_of_app(request)
        got = [each for each in scope["headers"] if each != (b"transfer-encoding", b"chunked")]
        if got != [each for each in expected if each != (b"transfer-encoding", b"chunked")]:
            return "an app gets other fields than were sent"
    for stream_id, status in answers.status.items():
        if stream_id not in plan.streams or status not in plan.streams[stream_id].allowed:
            return f"answered with {status}"
    for stream_id, stream in plan.streams.items():
        outcome = answers.status.get(stream_id)
        if outcome is None and answers.reset.get(stream_id) == _PROTOCOL_ERROR:
            outcome = MALFORMED
        if (
            plan.is_clean
            and stream.ended
            and outcome not in stream.allowed
            and not (outcome is None and stream.may_be_nothing)
        ):
            return f"{outcome} instead of {sorted(stream.allowed)}"
    if plan.is_clean and answers.goodbye:
        return f"goodbye with {answers.goodbye}"
    return None
