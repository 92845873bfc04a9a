"""What an app is given, and what it may send."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from fanout.server import rejections
from fanout.server.asgi import (
    ANSWER,
    ARRIVAL_KEY,
    CLIENT_KEY,
    Message,
    http_scope,
    send_answer,
    send_json,
    start_of,
)
from fanout.server.connection import Connection
from fanout.server.head import parse_head
from fanout.server.limits import Limits
from fanout.server.rejections import Rejection, as_text
from fanout.server.timeouts import Timeouts
from tests.server.recorded import Recorded

START = {"type": "http.response.start", "status": 200}
BODY = {"type": "http.response.body"}


class Sent:
    """The messages that were sent."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def send(self, message: Message) -> None:
        await trio.lowlevel.checkpoint()
        self.messages.append(message)


async def test_the_scope_of_a_request(autojump_clock: MockClock) -> None:
    transport = Recorded()
    transport.client, transport.server = ("192.0.2.1", 1234), ("192.0.2.2", 80)
    connection = Connection(Timeouts(Limits()), transport)
    head = parse_head(b"GET /a%20b?c=d HTTP/1.1\r\nHost: a\r\n\r\n", Limits())
    state = {"key": "of the lifespan"}
    scope = http_scope(head, transport, state, 12.5, connection)
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "query_string": b"c=d",
        "root_path": "",
        "headers": [(b"host", b"a")],
        "client": ("192.0.2.1", 1234),
        "server": ("192.0.2.2", 80),
        "state": state,
        "extensions": {},
        ARRIVAL_KEY: 12.5,
        CLIENT_KEY: connection,
    }
    assert scope["state"] is not state  # a request changes its own
    assert (ARRIVAL_KEY, CLIENT_KEY, ANSWER) == ("fanout.arrived_at", "fanout.client", "fanout.answer")


@pytest.mark.parametrize("first", [START, {**START, "type": ANSWER}])
def test_an_answer_begins_once_and_before_its_body(first: Message) -> None:
    assert start_of(None, first) is first
    assert start_of(first, BODY) is first
    for start, message in ((None, BODY), (first, first), (first, {"type": "other"})):
        with pytest.raises(RuntimeError, match="is not expected now"):
            start_of(start, message)


@pytest.mark.parametrize("head_only", [False, True])
async def test_a_complete_answer(head_only: bool) -> None:
    sent = Sent()
    await send_answer(sent.send, 418, [("X-Y", "z\xe9")], b"body", head_only=head_only)
    assert sent.messages == [
        {**START, "status": 418, "headers": [(b"x-y", b"z\xe9"), (b"content-length", b"4")]},
        {**BODY, "body": b"" if head_only else b"body", "more_body": False},
    ]


async def test_an_answer_has_its_body_unless_somebody_says_otherwise() -> None:
    sent = Sent()
    await send_answer(sent.send, 200, [], b"body")
    await send_json(sent.send, 200, 1)
    assert [message["body"] for message in sent.messages[1::2]] == [b"body", b"1"]


async def test_a_complete_answer_in_json() -> None:
    sent = Sent()
    await send_json(sent.send, 200, {"a": "\xe9"}, ("B", "c"))
    fields = [
        (b"content-type", b"application/json"),
        (b"cache-control", b"no-store"),
        (b"b", b"c"),
        (b"content-length", b"15"),
    ]
    assert sent.messages == [
        {**START, "headers": fields},
        {**BODY, "body": b'{"a": "\\u00e9"}', "more_body": False},
    ]
    await send_json(sent.send, 200, {}, head_only=True)
    assert sent.messages[-1]["body"] == b""


@pytest.mark.parametrize(
    ("rejection", "status", "reason"),
    [
        (rejections.malformed("it").rejection, 400, "malformed_request"),
        (rejections.SLOW_HEAD, 408, "slow_request"),
        (rejections.target_too_long(1).rejection, 414, "target_too_long"),
        (rejections.EXPECTATION_FAILED, 417, "expectation_failed"),
        (rejections.head_too_large("it").rejection, 431, "head_too_large"),
        (rejections.INTERNAL, 500, "internal"),
        (rejections.METHOD_NOT_IMPLEMENTED, 501, "method_not_implemented"),
        (rejections.CODING_NOT_IMPLEMENTED, 501, "transfer_coding_not_implemented"),
        (rejections.TOO_MANY_CONNECTIONS, 503, "too_many_connections"),
        (rejections.VERSION_NOT_SUPPORTED, 505, "version_not_supported"),
    ],
)
def test_a_rejection_has_a_status_and_one_stable_word(rejection: Rejection, status: int, reason: str) -> None:
    """Clients and dashboards go by both."""
    assert (rejection.status, rejection.reason) == (status, reason)
    fields, body = as_text(rejection)
    assert fields[0] == ("content-type", "text/plain; charset=utf-8")
    assert fields[1:] == ([("Retry-After", "1")] if status == 503 else [])
    assert body == f"{rejection.title}. {rejection.detail}\n".encode()
    assert str(rejections.Rejected(rejection)) == reason


def test_over_http_2_there_is_no_room_in_two_frames() -> None:
    """Empty SETTINGS, and a GOAWAY of ENHANCE_YOUR_CALM that excludes every stream: RFC 9113 6.5 and 6.8."""
    goaway = bytes([0, 0, 8, 7, 0, 0, 0, 0, 0]) + bytes(4) + bytes([0, 0, 0, 11])
    assert bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]) + goaway == rejections.OVER_HTTP2
