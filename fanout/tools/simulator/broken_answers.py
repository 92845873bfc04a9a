"""Responses that are no HTTP, or whose framing lies, and connections that end or fall silent too early."""

from __future__ import annotations

from typing import Final

from fanout.tools.simulator.fault import failure, whole
from fanout.tools.simulator.script import Ask, Close, Cut, Flood, Hang, Reset, Script, Send, head

HALF_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: applicat"
HUGE_HEAD_BYTES: Final = 512 * 1024


def _half_body(ask: Ask) -> Send:
    """A head with the right length, and all but the last four bytes of the body."""
    return Send(ask.response(ask.body)[:-4])


@failure("broken")
def garbage(ask: Ask) -> Script:
    """Bytes that are no HTTP."""
    return Script(None, (Send(b"\x00\xff\xfe SSH-2.0-what\r\n\r\n{]}\r\n\r\n"),))


@failure("broken")
def bad_status_line(ask: Ask) -> Script:
    """A right answer but for its status, `2x0`."""
    return Script(None, (Send(ask.response(ask.body).replace(b" 200 ", b" 2x0 ", 1)),))


@failure("broken")
def bad_header(ask: Ask) -> Script:
    """A right answer with a header line that has no name."""
    return Script(200, (Send(ask.response(ask.body, ": nameless")),))


@failure("broken")
def switching_protocols(ask: Ask) -> Script:
    """101 to a protocol that nobody asked for."""
    return whole(head(101, "Connection: Upgrade", "Upgrade: websocket", f"X-Call-Id: {ask.call}"), 101)


@failure("broken")
def huge_head(ask: Ask) -> Script:
    """A right answer with a head of 512 KiB."""
    lines = [f"X-Padding-{n}: {'x' * 1000}" for n in range(HUGE_HEAD_BYTES // 1000)]
    return Script(200, (Send(ask.response(ask.body, *lines)),))


@failure("broken")
def endless_head(ask: Ask) -> Script:
    """A head that never ends."""
    return Script(200, (Send(b"HTTP/1.1 200 OK\r\n"), Flood(b"X-Padding: " + b"x" * 1000 + b"\r\n")))


@failure("broken")
def endless_informational(ask: Ask) -> Script:
    """103 Early Hints again and again, and never an answer. A strict client counts them."""
    return Script(103, (Flood(head(103, "Link: </style.css>; rel=preload") * 100),))


@failure("broken")
def length_too_long(ask: Ask) -> Script:
    """A Content-Length larger than the body, then FIN."""
    framing = f"Content-Length: {len(ask.body) + 100}"
    return Script(200, (Send(head(200, *ask.fields, framing) + ask.body), Close()))


@failure("bad_payload")
def length_too_short(ask: Ask) -> Script:
    """A Content-Length smaller than the body: cut JSON, and bytes behind it that nobody asked for."""
    framing = f"Content-Length: {len(ask.body) - 3}"
    return whole(head(200, *ask.fields, framing) + ask.body)


@failure("broken")
def bad_length(ask: Ask) -> Script:
    """A Content-Length that is no number."""
    return Script(200, (Send(head(200, *ask.fields, "Content-Length: twelve") + ask.body),))


@failure("broken")
def conflicting_lengths(ask: Ask) -> Script:
    """Two different Content-Length fields."""
    lengths = f"Content-Length: {len(ask.body)}", f"Content-Length: {len(ask.body) + 1}"
    return Script(200, (Send(head(200, *ask.fields, *lengths) + ask.body),))


@failure("broken")
def bad_chunk(ask: Ask) -> Script:
    """A chunk whose size is no number."""
    return Script(200, (Send(head(200, *ask.fields, "Transfer-Encoding: chunked") + b"zz\r\n" + ask.body),))


@failure("broken")
def unended_chunks(ask: Ask) -> Script:
    """The whole payload in a chunk, then FIN instead of the last chunk."""
    chunk = b"%x\r\n%b\r\n" % (len(ask.body), ask.body)
    return Script(200, (Send(head(200, *ask.fields, "Transfer-Encoding: chunked") + chunk), Close()))


@failure("hang")
def hang_before_head(ask: Ask) -> Script:
    """No answer at all."""
    return Script(None, (Hang(),))


@failure("hang")
def hang_mid_head(ask: Ask) -> Script:
    """Half a head, then silence."""
    return Script(200, (Send(HALF_HEAD), Hang()))


@failure("hang")
def hang_mid_body(ask: Ask) -> Script:
    """A head and half a body, then silence."""
    return Script(200, (_half_body(ask), Hang()))


@failure("broken")
def rst_before_head(ask: Ask) -> Script:
    """RST instead of an answer."""
    return Script(None, (Reset(),))


@failure("broken")
def rst_mid_head(ask: Ask) -> Script:
    """Half a head, then RST."""
    return Script(200, (Send(HALF_HEAD), Reset()))


@failure("broken")
def rst_mid_body(ask: Ask) -> Script:
    """A head and half a body, then RST."""
    return Script(200, (_half_body(ask), Reset()))


@failure("broken")
def fin_before_head(ask: Ask) -> Script:
    """FIN instead of an answer."""
    return Script(None, (Close(),))


@failure("broken")
def fin_mid_head(ask: Ask) -> Script:
    """Half a head, then FIN."""
    return Script(200, (Send(HALF_HEAD), Close()))


@failure("broken")
def fin_mid_body(ask: Ask) -> Script:
    """A head and half a body, then FIN."""
    return Script(200, (_half_body(ask), Close()))


@failure("broken")
def cut_mid_body(ask: Ask) -> Script:
    """A head and half a body, then FIN; under TLS without close_notify."""
    return Script(200, (_half_body(ask), Cut()))
