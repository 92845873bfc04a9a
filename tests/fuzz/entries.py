"""The differences between fanout and its witnesses that are known, each with who is right and by which rule.

An entry explains a difference only if both agree once its `repair` has replaced what its `pattern` finds. So
it hides nothing else: with another mistake in the same input they still differ.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from tests.fuzz.reading import CLOSES, WAITS, WAITS_FOR_BODY

REQUESTS: Final = "requests"
ANSWERS: Final = "answers"
FANOUT: Final = "fanout"
BOTH: Final = "both"


class Entry(NamedTuple):
    """name: what is in the input. what: the differences, as `reading.difference` says them.

    right: `fanout`, a witness, or `both`, if the RFC allows either.
    """

    name: str
    of: str
    witnesses: tuple[str, ...]
    what: tuple[str, ...]
    pattern: re.Pattern[bytes]
    repair: bytes
    right: str
    rule: str
    why: str

    @property
    def key(self) -> str:
        return f"{self.of}: {self.name}"

    @property
    def does(self) -> str:
        """What the witness does, mostly."""
        return _DOES[self.what[0].partition(" ")[0]]


def _both(of_requests: Entry) -> tuple[Entry, Entry]:
    """The entry, and the same for answers."""
    return of_requests, of_requests._replace(of=ANSWERS)


_DOES: Final = {
    "closes": "closes behind it",
    "keeps": "keeps the connection",
    "rejects": "rejects it",
    "takes": "takes it",
    "waits": "waits for more",
}
_ALL: Final = ("llhttp", "h11", "aiohttp")


def _takes(status: int) -> tuple[str, ...]:
    """What a witness may do with what it does not reject."""
    ends = (f"{end} where fanout answers {status}" for end in (WAITS, WAITS_FOR_BODY, CLOSES))
    return f"takes what fanout answers with {status}", *ends


_TAKES_400: Final = _takes(400)
_TAKES_501: Final = _takes(501)
_TAKES_502: Final = _takes(502)
_TAKES_505: Final = _takes(505)
_REJECTS: Final = ("rejects where fanout has a message", "rejects while fanout waits for a body")
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_NAME: Final = rb"[\w.\-~%!$&'()*+,;=]"
_HOST: Final = rb"(?:\[[0-9A-Fa-f:.]+\]|" + _NAME + rb"+)(?::[0-9]{0,5})?"
_WHITE: Final = rb"[ \t\n\x0b\x0c\x1c-\x1f\r]"
_CODING: Final = _TOKEN + rb"(?:[ \t]*;[^,\r\n]*)?[ \t]*,[ \t]*"
_CHUNKED: Final = rb"chunked[ \t]*(?=\r?$)"
_END: Final = rb"(?=\r?$)"
_OTHERS: Final = rb"(?:[^\r\n]+\r?\n)*?"  # lines of the same head


def _line(pattern: bytes) -> re.Pattern[bytes]:
    """Of a line, which begins with `^` and ends with `_END`. Case does not matter."""
    return re.compile(pattern, re.MULTILINE | re.IGNORECASE)


def _first_line(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"\A(?:\r\n)?" + pattern, re.MULTILINE)


_OF_A_BODY: Final = rb")(?:content-length|transfer-encoding|connection|proxy-connection):"
_SAME_LENGTHS: Final = _line(
    rb"^content-length:[ \t]*([0-9]+)[ \t]*\r?\n(?=" + _OTHERS + rb"content-length:[ \t]*\1[ \t]*\r?$)"
)
_IN_TRAILERS: Final = _line(
    rb"^(0+(?:;[^\r\n]*)?\r\n" + _OTHERS + rb")(?:content-length|transfer-encoding):[^\r\n]*\r?\n"
)

_TAB_BEHIND_CHUNKED: Final = _line(rb"^(transfer-encoding:[^\r\n]*?)[ ]*\t[ \t]*" + _END)

ENTRIES: Final = (
    Entry(
        "an empty line before a request",
        REQUESTS,
        ("h11",),
        (*_REJECTS, "rejects while fanout waits"),
        re.compile(rb"\A\r\n"),
        b"",
        FANOUT,
        "RFC 9112 §2.2",
        "a server SHOULD ignore at least one",
    ),
    Entry(
        "empty lines before a request",
        REQUESTS,
        ("llhttp", "aiohttp"),
        _TAKES_400,
        re.compile(rb"\A[\r\n]+"),
        b"",
        BOTH,
        "RFC 9112 §2.2",
        "a server SHOULD ignore at least one; fanout ignores one, if it is CR LF",
    ),
    Entry(
        "a head, or a line of a chunk, that is not complete",
        REQUESTS,
        (*_ALL, "grammar"),
        (
            "waits where fanout answers 400",
            "waits where fanout answers 501",
            "waits where fanout answers 505",
            "rejects while fanout waits",
            "waits for a body where fanout answers 400",
            "rejects while fanout waits for a body",
        ),
        re.compile(rb"(?<!\r\n\r\n)\Z"),
        b"\r\n\r\n",
        BOTH,
        "RFC 9112 §2.2",
        "what can become no message may be answered before its end, or at its end",
    ),
    Entry(
        "a bare LF ends a line",
        REQUESTS,
        ("h11",),
        _TAKES_400,
        re.compile(rb"(?<!\r)\n"),
        b"\r\n",
        BOTH,
        "RFC 9112 §2.2",
        "a recipient MAY take it for a line end",
    ),
    Entry(
        "a request line without a version",
        REQUESTS,
        ("llhttp",),
        _TAKES_400,
        _first_line(rb"(" + _TOKEN + rb" +[^ \r\n]+)\r?\n"),
        rb"\1 HTTP/1.0\r\n",
        FANOUT,
        "RFC 9112 §3",
        "the version is no option; HTTP/0.9 has no fields",
    ),
    Entry(
        "a request line without a target and a version",
        REQUESTS,
        ("llhttp",),
        _TAKES_400,
        _first_line(rb"(" + _TOKEN + rb") +\r?\n"),
        rb"\1 / HTTP/1.0\r\n",
        FANOUT,
        "RFC 9112 §3",
        "neither is an option",
    ),
    *_both(
        Entry(
            "close next to keep-alive",
            REQUESTS,
            ("llhttp",),
            ("keeps what fanout closes",),
            _line(rb"^connection:[^\r\n]*close[^\r\n]*"),
            b"Connection: close",
            FANOUT,
            "RFC 9112 §9.3",
            "if it says close, the connection will not persist",
        )
    ),
    *_both(
        Entry(
            "close and keep-alive on two lines",
            REQUESTS,
            ("llhttp",),
            ("keeps what fanout closes",),
            _line(rb"^connection:[^\r\n]*keep-alive[^\r\n]*\r?\n"),
            b"",
            FANOUT,
            "RFC 9112 §9.3",
            "if it says close, the connection will not persist",
        )
    ),
    Entry(
        "a version other than 1.0 and 1.1",
        REQUESTS,
        _ALL,
        _TAKES_505,
        _first_line(rb"([^ \r\n]+ +[^ \r\n]+ HTTP/)[0-9]\.[0-9]" + _END),
        rb"\g<1>1.0",
        FANOUT,
        "RFC 9110 §15.6.6",
        "a server need not support it; the parser leaves that to its server",
    ),
    Entry(
        "a field of one value on two lines",
        REQUESTS,
        ("aiohttp",),
        _REJECTS,
        _line(rb"^(content-type|user-agent|host):[^\n]*\n(?=" + _OTHERS + rb"\1:)"),
        b"",
        BOTH,
        "RFC 9110 §5.3",
        "a sender MUST NOT do it; what a recipient does is open, and fanout does not read these fields",
    ),
    Entry(
        "a method that fanout does not know",
        REQUESTS,
        _ALL,
        _TAKES_501,
        _first_line(
            rb"(?!(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|TRACE|QUERY) )"
            + _TOKEN
            + rb"(?= +[^ \r\n]+ HTTP/)"
        ),
        b"POST",
        FANOUT,
        "RFC 9110 §9.1",
        "a server SHOULD answer with 501; the parser leaves that to its server",
    ),
    Entry(
        "a transfer coding before chunked",
        REQUESTS,
        ("llhttp", "aiohttp"),
        _TAKES_501,
        _line(rb"^(transfer-encoding:[ \t]*)(?:" + _CODING + rb")+(?=" + _CHUNKED + rb")"),
        rb"\1",
        FANOUT,
        "RFC 9112 §6.1",
        "a server that does not know it SHOULD answer with 501; the parser leaves that to its server",
    ),
    Entry(
        "chunked twice",
        REQUESTS,
        ("aiohttp",),
        _TAKES_400,
        _line(rb"^(transfer-encoding:[ \t]*)(?:chunked[ \t]*,[ \t]*)+(?=chunked[ \t]*" + _END + rb")"),
        rb"\1",
        FANOUT,
        "RFC 9112 §6.1",
        "a sender MUST NOT apply it more than once",
    ),
    Entry(
        "a transfer coding on two lines",
        REQUESTS,
        ("llhttp",),
        _TAKES_400 + _TAKES_501,
        _line(rb"^transfer-encoding:[^\r\n]*\r?\n(?=" + _OTHERS + rb"transfer-encoding:)"),
        b"",
        FANOUT,
        "RFC 9112 §6.1",
        "a server that does not know the first SHOULD answer with 501; the parser leaves that to its server",
    ),
    Entry(
        "nothing, and a comma, before chunked",
        REQUESTS,
        ("llhttp", "aiohttp"),
        _TAKES_400,
        _line(rb"^(transfer-encoding:[ \t]*)(?:,[ \t]*)+(?=chunked[ \t]*" + _END + rb")"),
        rb"\1",
        "llhttp, aiohttp",
        "RFC 9110 §5.6.1.2",
        "a recipient MUST ignore empty elements; it is a deviation of fanout",
    ),
    Entry(
        "Proxy-Connection",
        REQUESTS,
        _ALL,
        ("keeps what fanout closes",),
        _line(rb"^proxy-connection:[^\r\n]*\r?\n"),
        b"",
        BOTH,
        "RFC 9112 §C.2.2",
        "no standard has it; llhttp heeds it as if it were Connection, and fanout a close in it",
    ),
    Entry(
        "a tab behind chunked",
        REQUESTS,
        ("h11", "aiohttp", "grammar"),
        _TAKES_400,
        _TAB_BEHIND_CHUNKED,
        rb"\1",
        "h11, aiohttp",
        "RFC 9112 §5",
        "space behind a value is no part of it; llhttp, which fanout asks as well, knows no tab there",
    ),
    Entry(
        "something before chunked that is no transfer coding",
        REQUESTS,
        ("llhttp", "aiohttp"),
        _TAKES_400,
        _line(rb"^(transfer-encoding:[ \t]*)[^\r\n]*,[ \t]*(?=chunked[ \t]*" + _END + rb")"),
        rb"\1",
        FANOUT,
        "RFC 9112 §7",
        "a coding is a token, and parameters with a semicolon before each",
    ),
    Entry(
        "a chunk size of more than 16 digits",
        REQUESTS,
        ("h11", "aiohttp"),
        _TAKES_400,
        _line(rb"^[0-9A-F]{17,}"),
        b"1",
        BOTH,
        "RFC 9112 §7.1",
        "a recipient MUST NOT fail by its size; no chunk is so long",
    ),
    Entry(
        "a chunk size of more than 20 digits, the first of them zeros",
        REQUESTS,
        ("h11",),
        _REJECTS,
        _line(rb"^(?=[0-9A-F]{21})0+(?=[0-9A-F])"),
        b"",
        FANOUT,
        "RFC 9112 §7.1",
        "the grammar has any number of digits, and h11 takes twenty",
    ),
    Entry(
        "a field about the framing in trailers",
        REQUESTS,
        ("h11", "aiohttp"),
        _TAKES_400,
        _IN_TRAILERS,
        rb"\1",
        BOTH,
        "RFC 9110 §6.5.1",
        "a sender MUST NOT send it there; a recipient may ignore it",
    ),
    Entry(
        "an expectation other than 100-continue",
        REQUESTS,
        _ALL,
        _takes(417),
        _line(rb"^expect:[^\r\n]*\r?\n"),
        b"",
        FANOUT,
        "RFC 9110 §10.1.1",
        "a server MAY answer with 417; the parser leaves that to its server",
    ),
    Entry(
        "no host",
        REQUESTS,
        ("llhttp",),
        _TAKES_400,
        _first_line(rb"([^ \r\n]+ +[^ \r\n]+ HTTP/1\.1\r\n)(?!" + _OTHERS + rb"(?i:host):)"),
        rb"\1Host: a\r\n",
        FANOUT,
        "RFC 9112 §3.2",
        "a server MUST answer with 400",
    ),
    Entry(
        "RTSP or ICE",
        REQUESTS,
        ("llhttp",),
        _TAKES_400,
        _first_line(rb"([^ \r\n]+ +[^ \r\n]+) (?:RTSP|ICE)/"),
        rb"\1 HTTP/",
        FANOUT,
        "RFC 9112 §2.3",
        "the name of the protocol is HTTP",
    ),
    Entry(
        "a chunk extension that is not well-formed",
        REQUESTS,
        ("h11", "aiohttp"),
        _TAKES_400,
        _line(rb"^([0-9A-F]+)[ \t]*;[^\r\n]*"),
        rb"\1",
        FANOUT,
        "RFC 9112 §7.1.1",
        "its parts are tokens and quoted strings",
    ),
    Entry(
        "a space behind the size of a chunk",
        REQUESTS,
        ("h11",),
        _TAKES_400,
        _line(rb"^([0-9A-F]+)[ \t]+" + _END),
        rb"\1",
        FANOUT,
        "RFC 9112 §7.1",
        "there is none in the grammar",
    ),
    Entry(
        "two hosts",
        REQUESTS,
        ("llhttp",),
        _TAKES_400,
        _line(rb"^host:[^\r\n]*\r\n(?=" + _OTHERS + rb"host:)"),
        b"",
        FANOUT,
        "RFC 9112 §3.2",
        "a server MUST answer with 400",
    ),
    Entry(
        "a host that is no name and no address",
        REQUESTS,
        _ALL,
        _TAKES_400,
        _line(rb"^host:[ \t]*+(?!" + _HOST + rb"[ \t]*" + _END + rb")[^\r\n]*"),
        b"Host: a",
        FANOUT,
        "RFC 9112 §3.2",
        "a server MUST answer with 400",
    ),
    Entry(
        "a port above 65535",
        REQUESTS,
        _ALL,
        _TAKES_400,
        _line(rb"^(host:[^\r\n]*:)(?:[7-9][0-9]{4}|6[6-9][0-9]{3}|65[6-9][0-9]{2}|655[4-9][0-9]|6553[6-9])"),
        rb"\g<1>80",
        FANOUT,
        "RFC 9110 §4.2.1",
        "no server can have it",
    ),
    Entry(
        "a target that is no path and no URL",
        REQUESTS,
        _ALL,
        _TAKES_400,
        _first_line(
            rb"([^ \r\n]+ +)(?!/[!\"$-~]* |\* |(?i:https?)://"
            + _NAME
            + rb"+(?::[0-9]{0,5})?(?:[/?][!\"$-~]*)? )[^ \r\n]+(?= HTTP/)"
        ),
        rb"\1/",
        FANOUT,
        "RFC 9112 §3.2",
        "a recipient SHOULD answer with 400",
    ),
    Entry(
        "a star for another method than OPTIONS",
        REQUESTS,
        ("llhttp", "h11"),
        _TAKES_400,
        _first_line(rb"((?!OPTIONS )[^ \r\n]+ +)\*(?= HTTP/)"),
        rb"\1/",
        FANOUT,
        "RFC 9112 §3.2.4",
        "only OPTIONS has it",
    ),
    Entry(
        "more than one space in the request line",
        REQUESTS,
        ("llhttp",),
        _TAKES_400,
        _first_line(rb"([^ \r\n]+|[^ \r\n]+ +[^ \r\n]+) {2,}(?=[^ \r\n])"),
        rb"\1 ",
        BOTH,
        "RFC 9112 §3",
        "a recipient MAY parse it so",
    ),
    Entry(
        "a control character in a value",
        REQUESTS,
        ("h11",),
        _TAKES_400,
        _line(rb"^([^:\r\n ]+:[^\r\n]*?)[\x01-\x08\x0e-\x1f\x7f]"),
        rb"\1_",
        BOTH,
        "RFC 9110 §5.5",
        "it is invalid, but a recipient MAY keep it",
    ),
    Entry(
        "a folded line",
        REQUESTS,
        ("h11",),
        _TAKES_400,
        re.compile(rb"\r?\n[ \t]+"),
        b" ",
        BOTH,
        "RFC 9112 §5.2",
        "a server MUST answer with 400, or put a space in its place",
    ),
    Entry(
        "one length several times",
        REQUESTS,
        ("h11",),
        _TAKES_400,
        _SAME_LENGTHS,
        b"",
        BOTH,
        "RFC 9110 §8.6",
        "a recipient MUST reject it, or take it for one",
    ),
    Entry(
        "a list of one length",
        REQUESTS,
        ("h11",),
        _TAKES_400,
        _line(rb"^(content-length:[ \t]*)([0-9]+)(?:[ \t]*,[ \t]*\2)+[ \t]*" + _END),
        rb"\1\2",
        BOTH,
        "RFC 9110 §8.6",
        "a recipient MUST reject it, or take it for one",
    ),
    Entry(
        "a length of more than 15 digits",
        REQUESTS,
        _ALL,
        _TAKES_400,
        _line(rb"^(content-length:[ \t]*)[0-9]{16,}[ \t]*" + _END),
        rb"\g<1>1",
        BOTH,
        "RFC 9110 §8.6",
        "a recipient MUST NOT fail by its size; no body is so long",
    ),
    Entry(
        "a length next to a transfer coding",
        REQUESTS,
        ("h11",),
        _TAKES_400,
        _line(rb"^content-length:[^\r\n]*\r?\n(?=" + _OTHERS + rb"transfer-encoding:)"),
        b"",
        BOTH,
        "RFC 9112 §6.3",
        "a server MAY reject it, or read the coding alone and close; it is how requests are smuggled",
    ),
    Entry(
        "a length behind a transfer coding",
        REQUESTS,
        ("h11",),
        _TAKES_400,
        _line(rb"^(transfer-encoding:[^\r\n]*\r?\n" + _OTHERS + rb")content-length:[^\r\n]*\r?\n"),
        rb"\1",
        BOTH,
        "RFC 9112 §6.3",
        "a server MAY reject it, or read the coding alone and close; it is how requests are smuggled",
    ),
    Entry(
        "a transfer coding in HTTP/1.0",
        REQUESTS,
        _ALL,
        _TAKES_400 + _TAKES_501,
        _first_line(rb"([^ \r\n]+ +[^ \r\n]+ HTTP/1\.)0(?=\r?\n" + _OTHERS + rb"(?i:transfer-encoding):)"),
        rb"\g<1>1",
        FANOUT,
        "RFC 9112 §6.1",
        "the framing MUST be treated as faulty",
    ),
    Entry(
        "an upgrade",
        REQUESTS,
        _ALL,
        (*_TAKES_400, "keeps what fanout closes"),
        _line(rb"^upgrade:[^\r\n]*\r?\n"),
        b"",
        BOTH,
        "RFC 9110 §7.8",
        "a server MAY ignore it; fanout closes behind it, and rejects one that nobody would answer",
    ),
    Entry(
        "a chunked body, and the connection is kept",
        REQUESTS,
        _ALL,
        ("keeps what fanout closes",),
        _line(rb"^(transfer-encoding:[ \t]*chunked[ \t]*\r\n)"),
        rb"\1Connection: close\r\n",
        BOTH,
        "RFC 9112 §9.3",
        "a server may close behind any answer; where such a body ends only one parser here has said",
    ),
    Entry(
        "a connection of HTTP/1.0 that is to be kept",
        REQUESTS,
        ("h11",),
        ("closes what fanout keeps",),
        _first_line(rb"([^ \r\n]+ [^ \r\n]+ HTTP/1\.)0(?=\r\n" + _OTHERS + rb"(?i:connection):)"),
        rb"\g<1>1",
        BOTH,
        "RFC 9112 §9.3",
        "a recipient either keeps it or closes it",
    ),
    Entry(
        "a bare LF ends a line",
        ANSWERS,
        ("h11",),
        _TAKES_502,
        re.compile(rb"(?<!\r)\n"),
        b"\r\n",
        BOTH,
        "RFC 9112 §2.2",
        "a recipient MAY take it for a line end",
    ),
    Entry(
        "RTSP or ICE",
        ANSWERS,
        ("llhttp",),
        _TAKES_502,
        _line(rb"^(?:RTSP|ICE)/"),
        b"HTTP/",
        FANOUT,
        "RFC 9112 §2.3",
        "the name of the protocol is HTTP",
    ),
    Entry(
        "an empty line before an answer",
        ANSWERS,
        ("llhttp", "aiohttp"),
        _TAKES_502,
        re.compile(rb"(\A(?:GET|HEAD)\r\n|\n\r?\n)[\r\n]+(?=[A-Z]+/[0-9])"),
        rb"\1",
        FANOUT,
        "RFC 9112 §2.1",
        "a message begins with its start line; only a server is to ignore an empty one",
    ),
    Entry(
        "a tab behind chunked",
        ANSWERS,
        ("llhttp",),
        ("rejects where fanout has a message",),
        _TAB_BEHIND_CHUNKED,
        rb"\1",
        FANOUT,
        "RFC 9112 §5",
        "space behind a value is no part of it",
    ),
    Entry(
        "a tab behind chunked, and the connection is kept",
        ANSWERS,
        ("h11", "aiohttp"),
        ("keeps what fanout closes",),
        _TAB_BEHIND_CHUNKED,
        rb"\1",
        BOTH,
        "RFC 9112 §9.3",
        "a client may close behind any answer; llhttp, which fanout asks, does not know the tab",
    ),
    Entry(
        "a connection of HTTP/1.0 that is to be kept",
        ANSWERS,
        ("h11",),
        ("closes what fanout keeps",),
        _line(rb"^HTTP/1\.0(?= [2-9])"),
        b"HTTP/1.1",
        BOTH,
        "RFC 9112 §9.3",
        "a recipient either keeps it or closes it",
    ),
    Entry(
        "nothing, and a comma, before chunked",
        ANSWERS,
        ("llhttp", "aiohttp"),
        _TAKES_502,
        _line(rb"^(transfer-encoding:[ \t]*)(?:,[ \t]*)+(?=chunked[ \t]*" + _END + rb")"),
        rb"\1",
        "llhttp, aiohttp",
        "RFC 9110 §5.6.1.2",
        "a recipient MUST ignore empty elements; it is a deviation of fanout",
    ),
    Entry(
        "another transfer coding before chunked",
        ANSWERS,
        ("llhttp", "aiohttp"),
        _TAKES_502,
        _line(rb"^(transfer-encoding:[ \t]*)(?:" + _CODING + rb")+(?=" + _CHUNKED + rb")"),
        rb"\1",
        FANOUT,
        "RFC 9112 §7.4",
        "a server MUST NOT send what was not asked for with TE",
    ),
    Entry(
        "an answer that has no body",
        ANSWERS,
        ("h11",),
        ("keeps what fanout closes",),
        _line(
            rb"(\AHEAD\r\n(?:HTTP/1\.[01] 1[^\n]*\n(?:[^\r\n]+\r\n)*\r\n)*HTTP/1\.[01] [^\r\n]*"
            rb"|^HTTP/1\.[01] (?:204|304)(?=[ \r])[^\r\n]*)"
        ),
        rb"\1\r\nConnection: close",
        BOTH,
        "RFC 9112 §9.3",
        "a client may close behind any answer; if a body came all the same, nothing would say where it ends",
    ),
    Entry(
        "a space behind the size of a chunk",
        ANSWERS,
        ("h11",),
        _TAKES_502,
        _line(rb"^([0-9A-F]+)[ \t]+" + _END),
        rb"\1",
        FANOUT,
        "RFC 9112 §7.1",
        "there is none in the grammar",
    ),
    Entry(
        "a chunk extension that is not well-formed",
        ANSWERS,
        _ALL,
        _TAKES_502,
        _line(rb"^([0-9A-F]+)[ \t]*;[^\r\n]*"),
        rb"\1",
        FANOUT,
        "RFC 9112 §7.1.1",
        "its parts are tokens and quoted strings",
    ),
    Entry(
        "whitespace in a chunk extension",
        ANSWERS,
        _ALL,
        ("rejects where fanout has a message",),
        _line(rb"^([0-9A-F]+)[ \t]*;[^\r\n]*"),
        rb"\1",
        FANOUT,
        "RFC 9112 §7.1.1",
        "a recipient MUST parse it",
    ),
    Entry(
        "a folded line",
        ANSWERS,
        ("h11",),
        _TAKES_502,
        re.compile(rb"\r?\n[ \t]+"),
        b" ",
        BOTH,
        "RFC 9112 §5.2",
        "a client MUST put a space in its place; fanout takes such an answer for broken",
    ),
    Entry(
        "a version other than 1.0 and 1.1",
        ANSWERS,
        _ALL,
        _TAKES_502,
        _line(rb"^HTTP/(?!1\.[01])[0-9]\.[0-9](?=[ \t])"),
        b"HTTP/1.1",
        FANOUT,
        "RFC 9110 §2.5",
        "a server MUST NOT answer with a version that the client has not said",
    ),
    Entry(
        "a status below 100",
        ANSWERS,
        ("llhttp", "aiohttp"),
        _TAKES_502,
        _line(rb"^([A-Z]+/1\.[01] )0[0-9]{2}(?=[ \r])"),
        rb"\g<1>200",
        FANOUT,
        "RFC 9110 §15",
        "its first digit says what it means",
    ),
    Entry(
        "a control character in a reason phrase",
        ANSWERS,
        ("h11",),
        ("rejects where fanout has a message",),
        _line(rb"^(HTTP/1\.[01] [0-9]{3})[^\r\n]*[\x00-\x08\x0b-\x1f\x7f][^\r\n]*"),
        rb"\1 OK",
        "h11",
        "RFC 9112 §4",
        "it is invalid, but a client SHOULD ignore the phrase, as fanout does",
    ),
    Entry(
        "a field of one value on two lines",
        ANSWERS,
        ("aiohttp",),
        ("rejects where fanout has a message",),
        _line(
            rb"^(content-type|user-agent|host|transfer-encoding|content-length):[^\n]*\n(?="
            + _OTHERS
            + rb"\1:)"
        ),
        b"",
        BOTH,
        "RFC 9110 §5.3",
        "a sender MUST NOT do it; what a recipient does is open, and fanout does not read these fields",
    ),
    Entry(
        "a chunk size of more than 16 digits",
        ANSWERS,
        _ALL,
        _TAKES_502,
        _line(rb"^[0-9A-F]{17,}"),
        b"1",
        BOTH,
        "RFC 9112 §7.1",
        "a recipient MUST NOT fail by its size; no chunk is so long",
    ),
    Entry(
        "something before chunked that is no transfer coding",
        ANSWERS,
        ("llhttp", "aiohttp"),
        _TAKES_502,
        _line(rb"^(transfer-encoding:[ \t]*)[^\r\n]*,[ \t]*(?=chunked[ \t]*" + _END + rb")"),
        rb"\1",
        FANOUT,
        "RFC 9112 §7",
        "a coding is a token, and parameters with a semicolon before each",
    ),
    Entry(
        "other whitespace in the status line",
        ANSWERS,
        ("aiohttp",),
        (*_TAKES_502, "rejects where fanout has a message"),
        _line(
            rb"^(?!HTTP/[0-9]\.[0-9] [0-9]{3}(?: [^\r\n]*)?\r\n)"
            + _WHITE
            + rb"*(HTTP/[0-9]\.[0-9])"
            + _WHITE
            + rb"+([0-9]{3})(?:"
            + _WHITE
            + rb"(?s:.*?))?\r\n"
        ),
        rb"\1 \2 OK\r\n",
        BOTH,
        "RFC 9112 §4",
        "a recipient MAY divide it at whitespace",
    ),
    Entry(
        "a control character in a value",
        ANSWERS,
        ("h11",),
        _TAKES_502,
        _line(rb"^([^:\r\n ]+:[^\r\n]*?)[\x01-\x08\x0e-\x1f\x7f]"),
        rb"\1_",
        BOTH,
        "RFC 9110 §5.5",
        "it is invalid, but a recipient MAY keep it",
    ),
    Entry(
        "an answer that switches protocols",
        ANSWERS,
        ("llhttp", "aiohttp"),
        _TAKES_502,
        _line(rb"^([A-Z]+/1\.[01] )101(?=[ \r])"),
        rb"\g<1>200",
        FANOUT,
        "RFC 9110 §7.8",
        "a server MUST NOT switch to what was not asked for",
    ),
    Entry(
        "a length next to a transfer coding",
        ANSWERS,
        ("h11",),
        _TAKES_502,
        _line(rb"^content-length:[^\r\n]*\r?\n(?=" + _OTHERS + rb"transfer-encoding:)"),
        b"",
        BOTH,
        "RFC 9112 §6.3",
        "it ought to be handled as an error",
    ),
    Entry(
        "a length behind a transfer coding",
        ANSWERS,
        ("h11",),
        _TAKES_502,
        _line(rb"^(transfer-encoding:[^\r\n]*\r?\n" + _OTHERS + rb")content-length:[^\r\n]*\r?\n"),
        rb"\1",
        BOTH,
        "RFC 9112 §6.3",
        "it ought to be handled as an error",
    ),
    Entry(
        "another transfer coding",
        ANSWERS,
        _ALL,
        _TAKES_502,
        _line(rb"^transfer-encoding:(?![ \t]*chunked[ \t]*" + _END + rb")[^\r\n]*\r?\n"),
        b"",
        FANOUT,
        "RFC 9112 §7.4",
        "a server MUST NOT send what was not asked for with TE",
    ),
    Entry(
        "one length several times",
        ANSWERS,
        ("h11",),
        _TAKES_502,
        _SAME_LENGTHS,
        b"",
        BOTH,
        "RFC 9110 §8.6",
        "a recipient MUST reject it, or take it for one",
    ),
    Entry(
        "a list of one length",
        ANSWERS,
        ("h11",),
        _TAKES_502,
        _line(rb"^(content-length:[ \t]*)([0-9]+)(?:[ \t]*,[ \t]*\2)+[ \t]*" + _END),
        rb"\1\2",
        BOTH,
        "RFC 9110 §8.6",
        "a recipient MUST reject it, or take it for one",
    ),
    Entry(
        "a transfer coding on two lines",
        ANSWERS,
        ("llhttp", "aiohttp"),
        _TAKES_502,
        _line(rb"^transfer-encoding:[^\r\n]*\r?\n(?=" + _OTHERS + rb"transfer-encoding:)"),
        b"",
        FANOUT,
        "RFC 9112 §6.1",
        "a sender MUST NOT apply chunked more than once",
    ),
    Entry(
        "Proxy-Connection",
        ANSWERS,
        ("h11", "aiohttp"),
        ("keeps what fanout closes", "closes what fanout keeps"),
        _line(rb"^proxy-connection:[^\r\n]*\r?\n"),
        b"",
        "h11, aiohttp",
        "RFC 9112 §C.2.2",
        "no standard has it; llhttp heeds it as if it were Connection",
    ),
    Entry(
        "an interim answer of HTTP/1.0",
        ANSWERS,
        ("llhttp",),
        ("rejects where fanout has a message", *_TAKES_502),
        _line(rb"(?:^|(?<=\r))[A-Z]+/1\.0( 1[0-9]{2}[^\n]*\n)"),
        rb"HTTP/1.1\1",
        FANOUT,
        "RFC 9110 §15.2",
        "a client MUST read on behind it; HTTP/1.0 has none",
    ),
    Entry(
        "an interim answer with a length, a coding or close",
        ANSWERS,
        ("llhttp",),
        ("rejects where fanout has a message", *_TAKES_502),
        _line(rb"^(HTTP/1\.[01] 1[^\n]*\n" + _OTHERS + _OF_A_BODY + rb"[^\r\n]*\r?\n"),
        rb"\1",
        FANOUT,
        "RFC 9110 §15.2",
        "it ends with its head, and a client MUST read on",
    ),
    Entry(
        "a length of more than 15 digits",
        ANSWERS,
        ("h11", "aiohttp"),
        _TAKES_502,
        _line(rb"^(content-length:[ \t]*)[0-9]{16,}[ \t]*" + _END),
        rb"\g<1>1",
        BOTH,
        "RFC 9110 §8.6",
        "a recipient MUST NOT fail by its size; no body is so long",
    ),
    Entry(
        "a field about the framing in trailers",
        ANSWERS,
        ("llhttp",),
        ("rejects where fanout has a message", "closes what fanout keeps"),
        _IN_TRAILERS,
        rb"\1",
        BOTH,
        "RFC 9110 §6.5.1",
        "a sender MUST NOT send it there; a recipient may ignore it",
    ),
)
