"""Complete, well-framed HTTP responses that are not what the upstream guarantees."""

from __future__ import annotations

import functools
import gzip
from typing import Final

from fanout.tools.simulator.fault import failure, whole
from fanout.tools.simulator.script import Answered, Ask, Flood, Script, Send, head

HUGE_BODY_BYTES: Final = 256 * 1024  # four times what fanout takes
GZIP_BOMB_BYTES: Final = 16 * 1024 * 1024


@failure("bad_status")
def status(ask: Ask) -> Script:
    """Any other status, with the payload of a success; status= says which, else it is drawn."""
    body = b"" if ask.status in (204, 205, 304) else ask.body
    return whole(ask.response(body, status=ask.status), ask.status)


@failure("bad_status")
def redirect(ask: Ask) -> Script:
    """302 to a place that would answer."""
    return whole(ask.response(b"", "Location: /api/work?fault=none", status=302), 302)


@failure("bad_status")
def no_content(ask: Ask) -> Script:
    """204: no body, no length."""
    return whole(ask.response(b"", status=204), 204)


@failure("bad_payload")
def not_json(ask: Ask) -> Script:
    """HTML that claims to be JSON."""
    return whole(ask.response(b"<html><body>It works!</body></html>"))


@failure("bad_payload")
def truncated_json(ask: Ask) -> Script:
    """The payload without its last brace, rightly framed."""
    return whole(ask.response(ask.body[:-1]))


@failure("bad_payload")
def empty(ask: Ask) -> Script:
    """200 with an empty body."""
    return whole(ask.response(b""))


@failure("bad_payload")
def bad_utf8(ask: Ask) -> Script:
    """JSON with a byte that is not UTF-8."""
    return whole(ask.response(b'{"time": %d, "note": "\xff"}' % ask.delay_ms))


@failure("bad_payload")
def utf16(ask: Ask) -> Script:
    """The payload in UTF-16, which is not JSON (RFC 8259)."""
    return whole(ask.response(ask.body.decode().encode("utf-16")))


@failure("bad_payload")
def array(ask: Ask) -> Script:
    """An empty array."""
    return whole(ask.response(b"[]"))


@failure("bad_payload")
def deep_json(ask: Ask) -> Script:
    """The payload with twenty thousand nested arrays in it: some parsers give up, others do not."""
    return whole(ask.response(b'{"time": %d, "deep": ' % ask.delay_ms + b"[" * 20_000 + b"]" * 20_000 + b"}"))


@failure("bad_payload")
def duplicate_names(ask: Ask) -> Script:
    """Two members named `time`: readers would disagree."""
    return whole(ask.response(b'{"time": 1, "time": 2}'))


@failure("bad_payload")
def time_missing(ask: Ask) -> Script:
    """An object without `time`."""
    return whole(ask.response(b'{"tim": 1}'))


@failure("bad_payload")
def time_string(ask: Ask) -> Script:
    """`time` is a string of digits."""
    return whole(ask.response(b'{"time": "1"}'))


@failure("bad_payload")
def time_bool(ask: Ask) -> Script:
    """`time` is true."""
    return whole(ask.response(b'{"time": true}'))


@failure("bad_payload")
def time_null(ask: Ask) -> Script:
    """`time` is null."""
    return whole(ask.response(b'{"time": null}'))


@failure("bad_payload")
def time_negative(ask: Ask) -> Script:
    """`time` is -1."""
    return whole(ask.response(b'{"time": -1}'))


@failure("bad_payload")
def time_float(ask: Ask) -> Script:
    """`time` is 1.5."""
    return whole(ask.response(b'{"time": 1.5}'))


@failure("bad_payload")
def time_nan(ask: Ask) -> Script:
    """`time` is NaN, which Python's parser takes for a number."""
    return whole(ask.response(b'{"time": NaN}'))


@failure("bad_payload")
def time_digits(ask: Ask) -> Script:
    """`time` has 5,000 digits, more than Python's parser takes."""
    return whole(ask.response(b'{"time": ' + b"9" * 5_000 + b"}"))


@failure("too_large")
def huge_body(ask: Ask) -> Script:
    """A right payload of 256 KiB, with its length."""
    start = b'{"time": %d, "padding": "' % ask.delay_ms
    return whole(ask.response(start.ljust(HUGE_BODY_BYTES - 2, b"x") + b'"}'))


@failure("too_large")
def huge_chunked(ask: Ask) -> Script:
    """Chunks without end."""
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    return Script(200, (Send(head(200, *ask.fields, "Transfer-Encoding: chunked")), Flood(chunk)))


@failure("too_large")
def gzip_bomb(ask: Ask) -> Script:
    """A right payload of 16 MiB in 16 KiB of gzip."""
    return Script(200, (Send(ask.response(_bomb(), "Content-Encoding: gzip")), Answered()))


@failure("bad_payload")
def bad_gzip(ask: Ask) -> Script:
    """The plain payload that claims to be gzip."""
    return whole(ask.response(ask.body, "Content-Encoding: gzip"))


@functools.cache
def _bomb() -> bytes:
    return gzip.compress(b'{"time": 1}'.ljust(GZIP_BOMB_BYTES), mtime=0)
