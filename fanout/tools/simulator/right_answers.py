"""Right answers in unusual shape, and right answers on a connection that then misbehaves.

A strict client counts every one as a success. Where the connection is spoilt, it must not be used again.
"""

from __future__ import annotations

import gzip as gzip_format
import json
import zlib
from typing import Final

from fanout.tools.simulator.fault import success, whole
from fanout.tools.simulator.script import Answered, Ask, Close, Cut, Drip, Pause, Reset, Script, Send, head

IDLE_MS: Final = 5  # how long a spoilt connection looks healthy: long enough to be put back into a pool


@success
def chunked(ask: Ask) -> Script:
    """The right answer in chunks, with an extension and a trailer field."""
    body = ask.body
    chunks = b"1\r\n%b\r\n%x;note=1\r\n%b\r\n0\r\nX-Trailer: 1\r\n\r\n" % (body[:1], len(body) - 1, body[1:])
    return whole(head(200, *ask.fields, "Transfer-Encoding: chunked") + chunks)


@success
def gzip(ask: Ask) -> Script:
    """The right answer, compressed with gzip."""
    return whole(ask.response(gzip_format.compress(ask.body, mtime=0), "Content-Encoding: gzip"))


@success
def deflate(ask: Ask) -> Script:
    """The right answer, compressed with deflate."""
    return whole(ask.response(zlib.compress(ask.body), "Content-Encoding: deflate"))


@success
def drip(ask: Ask) -> Script:
    """The right answer byte by byte; the last byte comes drip_ms after the delay."""
    return Script(200, (Drip(ask.response(ask.body), ask.drip_ms), Answered()))


@success
def extra_members(ask: Ask) -> Script:
    """The right answer with more members beside `time`, one of them a large number."""
    payload = {"time": ask.delay_ms, "note": "é", "large": 10**40, "nested": {"list": [1, None, True]}}
    return whole(ask.response(json.dumps(payload, ensure_ascii=False).encode()))


@success
def http10(ask: Ask) -> Script:
    """The right answer as HTTP/1.0 without a length: closing the connection ends the body."""
    return Script(200, (Send(head(200, *ask.fields, version="1.0") + ask.body), Answered(), Close()))


@success
def until_close(ask: Ask) -> Script:
    """The right answer as HTTP/1.1 without a length: closing the connection ends the body."""
    return Script(200, (Send(head(200, *ask.fields) + ask.body), Answered(), Close()))


@success
def connection_close(ask: Ask) -> Script:
    """The right answer that announces `Connection: close`, and keeps its word."""
    return Script(200, (Send(ask.response(ask.body, "Connection: close")), Answered(), Close()))


@success
def informational(ask: Ask) -> Script:
    """100 Continue and 103 Early Hints before the right answer."""
    hints = head(100) + head(103, "Link: </style.css>; rel=preload")
    return whole(hints + ask.response(ask.body))


@success
def trailing_bytes(ask: Ask) -> Script:
    """The right answer with the right length, and some bytes behind it that nobody asked for."""
    return whole(ask.response(ask.body) + b"\r\n<!-- not HTTP -->\r\n")


@success
def two_answers(ask: Ask) -> Script:
    """The right answer, and at once a second, unsolicited one with another `time`."""
    return whole(ask.response(ask.body) + ask.response(b'{"time": 987654321}'))


@success
def late_408(ask: Ask) -> Script:
    """The right answer; 5 ms later an unsolicited 408 on the idle connection, then FIN, as balancers do."""
    timeout = head(408, "Content-Length: 0", "Connection: close")
    return Script(200, (Send(ask.response(ask.body)), Answered(), Pause(IDLE_MS), Send(timeout), Close()))


@success
def close_idle(ask: Ask) -> Script:
    """The right answer with keep-alive; 5 ms later the idle connection is closed."""
    return Script(200, (Send(ask.response(ask.body)), Answered(), Pause(IDLE_MS), Close()))


@success
def rst_idle(ask: Ask) -> Script:
    """The right answer with keep-alive; 5 ms later the idle connection is reset."""
    return Script(200, (Send(ask.response(ask.body)), Answered(), Pause(IDLE_MS), Reset()))


@success
def close_at_once(ask: Ask) -> Script:
    """The right answer with keep-alive, and FIN right behind it without an announcement."""
    return Script(200, (Send(ask.response(ask.body)), Answered(), Close()))


@success
def cut_after_answer(ask: Ask) -> Script:
    """The right answer with keep-alive, and FIN right behind it; under TLS without close_notify."""
    return Script(200, (Send(ask.response(ask.body)), Answered(), Cut()))
