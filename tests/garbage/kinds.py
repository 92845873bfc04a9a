"""Every kind of request, and every way one can end: what the measurements of this folder ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fanout.api.exchange import Exchanges
from fanout.api.load_shedding import LoadShedder
from fanout.server.head import Head, parse_head
from fanout.server.limits import Limits

LONG: Final = "/api/first?timeout=30000"


@dataclass(frozen=True)
class Kind:
    """sees: what each of its clients must see (see `peers`), so that it is known to be of this kind.

    action: what a client does. target: of its request; `head` replaces the whole head.
    alpn: over TLS, with this protocol. upstreams: a path of our upstream for each call.
    upstream: `http`, `https`, `silent` (takes no connection) or `mute` (https, and no handshake).
    calls: the upstream calls to wait for, for each client.
    patches: what is replaced in the server, by its name: a limit, or a bug of ours.
    bugs: how many one request is.
    leaves: at most so many objects for the collector all the same, and why.
    drains: the server stops while all of the requests run.
    """

    name: str
    sees: str
    target: str = "/api/first"
    head: str | None = None
    action: str = "new_connections"
    method: str = "GET"
    host: str = "localhost"
    listener: str = "public"
    alpn: str | None = None
    tls: bool = False
    upstream: str = "http"
    upstreams: tuple[str, ...] = ("ok", "ok")
    calls: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)
    patches: Mapping[str, object] = field(default_factory=dict)
    bugs: int = 0
    leaves: tuple[int, str] = (0, "")
    drains: bool = False

    @property
    def data(self) -> bytes:
        if self.action.startswith("http2"):
            return (self.host + self.target).encode("latin-1")
        if self.head is not None:
            return self.head.encode("latin-1")
        return f"{self.method} {self.target} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode("latin-1")


def _leaves(name: str, **options: Any) -> list[Kind]:
    """A client that disconnects while both upstream calls are at one point."""
    stages = {"before the head of an answer": "hang", "in a head": "head", "in a body": "body"}
    return [
        Kind(
            f"{name}, {action.split('_')[0]} while the upstreams are {stage}",
            "left",
            LONG,
            action=action,
            upstreams=(path, path),
            calls=2,
            **options,
        )
        for action in ("close_while_it_runs", "reset_while_it_runs")
        for stage, path in stages.items()
    ]


def _limits(**limits: float) -> Mapping[str, object]:
    return {"fanout.process.composition.Limits": lambda **given: Limits(**{**given, **limits})}


def _bug(target: str) -> Mapping[str, object]:
    def raise_it(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug of ours")

    return {target: raise_it}


def _parse_head_with_a_bug(data: bytes, limits: Limits) -> Head:
    if b"/nowhere" in data:  # the admin listener has the same driver
        raise ZeroDivisionError("a bug of ours")
    return parse_head(data, limits)


class _Draining(Exchanges):
    """A server that drains, and whose connections are not told."""

    draining = property(lambda _: True, lambda _, value: None)


def _shed(shedder: LoadShedder, beginning: int) -> bytes | None:
    return next(shedder._rejections)


_BOTH_FAIL: Final = ("status", "payload")

ANSWERED: Final = [
    Kind("first", "200"),
    Kind("first, one connection", "200", action="one_connection"),
    Kind("all", "200", "/api/all"),
    Kind("first, a loser is cancelled", "200", upstreams=("ok", "hang")),
    Kind("first, a loser is cancelled in a body", "200", upstreams=("ok", "body")),
    Kind("all, one failed", "200", "/api/all", upstreams=("ok", "status")),
    Kind("a receipt", "200", head="GET /api/first HTTP/1.1\r\nHost: a\r\nX-Fanout-Receipt: 1\r\n\r\n"),
    Kind("HEAD", "200", method="HEAD"),
    Kind("/", "303", "/"),
    Kind("/docs", "200", "/docs"),
    Kind("/openapi.json", "200", "/openapi.json"),
]
REJECTED: Final = [
    Kind("400 invalid_timeout", "400", "/api/first?timeout=x"),
    Kind("404, a Host that is no host name", "404", "/nowhere", host="a..b"),
    Kind("400 malformed", "400", head="GET  / HTTP/1.1\r\n\r\n"),
    Kind("404", "404", "/nowhere"),
    Kind("404, one connection", "404", "/nowhere", action="one_connection"),
    Kind("404 //", "404", "//api/first"),
    Kind("405", "405", method="POST"),
    Kind("OPTIONS", "200", method="OPTIONS"),
    Kind("413", "413", head="POST /api/first HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
    Kind("414", "414", "/" + 9000 * "a"),
    Kind("417", "417", head="GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n"),
    Kind("431", "431", head="GET / HTTP/1.1\r\nHost: a\r\n" + 200 * "a: b\r\n" + "\r\n"),
    Kind("501", "501", method="BREW"),
    Kind("505", "505", head="GET / HTTP/3.0\r\nHost: a\r\n\r\n"),
]
FAILED: Final = [
    Kind("500 no_success", "500", upstreams=_BOTH_FAIL),
    Kind("500 no_success, all", "500", "/api/all", upstreams=_BOTH_FAIL),
    Kind("500 no_success, malformed and closed", "500", upstreams=("malformed", "close")),
    Kind("500 deadline", "500", "/api/first?timeout=40", upstreams=("hang", "hang")),
    Kind("500 deadline, all", "500", "/api/all?timeout=40", upstreams=("ok", "body")),
    Kind(
        "503 overloaded",
        "503",
        LONG,
        action="beside_one_that_hangs",
        upstreams=("hang", "hang"),
        calls=2,
        settings={"max_in_flight": "1"},
    ),
    Kind("503 draining", "503", patches={"fanout.process.composition.Exchanges": _Draining}),
    Kind("503 shed", "503", patches={"fanout.api.load_shedding.LoadShedder.shed": _shed}),
    Kind(
        "503 shed, one connection",
        "503",
        action="one_connection",
        patches={"fanout.api.load_shedding.LoadShedder.shed": _shed},
    ),
    Kind(
        "503 too many connections",
        "503",
        LONG,
        action="beside_one_that_hangs",
        upstreams=("hang", "hang"),
        calls=2,
        patches=_limits(max_connections=1),
    ),
    Kind(
        "500 a bug in a call",
        "500",
        upstreams=("ok", "status"),
        patches=_bug("fanout.upstream.call.is_valid_payload"),
        bugs=1,
        leaves=(40, "the record of the call keeps the exception, whose traceback knows the record"),
    ),
    Kind("500 a bug in the handler", "500", patches=_bug("fanout.api.handlers.answer"), bugs=1),
    Kind(
        "500 a bug in the framework",
        "500",
        "/nowhere",
        patches=_bug("fanout.api.framework.App.answer_without_route"),
        bugs=1,
    ),
    Kind(
        "500 a bug in the driver",
        "reset",
        "/nowhere",
        action="wait_for_the_end",
        patches={"fanout.server.http1_reader.parse_head": _parse_head_with_a_bug},
        bugs=1,
    ),
]
TOO_SLOW: Final = [
    Kind("408", "408", head="GET / HT", patches=_limits(head_timeout_s=0.01)),
    Kind(
        "idle for too long",
        "closed",
        action="wait_for_the_end",
        head="",
        patches=_limits(idle_timeout_s=0.01),
    ),
    Kind(
        "a client that does not read",
        "reset",
        "/openapi.json",
        action="never_read",
        patches=_limits(write_timeout_s=0.02),
    ),
]
DRAINED: Final = [
    Kind(
        "drained while it runs",
        "200",
        LONG,
        action="hold",
        upstreams=("later", "later"),
        calls=2,
        drains=True,
    )
]
LEFT: Final = [
    Kind("left within a head", "left", action="half_a_head"),
    Kind("left at once", "left", action="reset_at_once"),
    *_leaves("left"),
    Kind("left while the upstreams take no connection", "left", LONG, action="close_soon", upstream="silent"),
]
ADMIN: Final = [
    Kind(f"admin {path}", "200", path, listener="admin")
    for path in ("/", "/livez", "/readyz", "/statistics", "/metrics", "/live")
] + [
    Kind("/live/trace.json", "200", "/live/trace.json", listener="admin", action="to_the_end"),
    Kind("/live/events", "200", "/live/events", listener="admin", action="stream_until_left"),
    Kind("admin 404", "404", "/nowhere", listener="admin"),
    Kind("admin 405", "405", "/livez", method="POST", listener="admin"),
]
TLS: Final = [
    Kind("https", "200", alpn="http/1.1"),
    Kind("https 408", "408", head="GET / HT", alpn="http/1.1", patches=_limits(head_timeout_s=0.01)),
    Kind(
        "https, closed while it runs",
        "left",
        LONG,
        action="close_while_it_runs",
        alpn="http/1.1",
        upstreams=("hang", "hang"),
        calls=2,
    ),
    Kind("https, no handshake", "closed", action="bad_handshake", tls=True),
    Kind(
        "https, too slow a handshake",
        "closed",
        action="wait_for_the_end",
        head="\x16",
        tls=True,
        patches=_limits(handshake_timeout_s=0.01),
    ),
    Kind("https, half a handshake", "left", action="half_a_handshake", tls=True),
]
HTTP2: Final = [
    Kind("HTTP/2", "200", action="http2", alpn="h2"),
    Kind("HTTP/2 404", "404", "/nowhere", action="http2", alpn="h2"),
    Kind(
        "HTTP/2 404, a Host that is no host name", "404", "/nowhere", action="http2", alpn="h2", host="a..b"
    ),
    Kind(
        "HTTP/2 reset while it runs",
        "left",
        LONG,
        action="http2_reset_while_it_runs",
        alpn="h2",
        upstreams=("hang", "hang"),
        calls=2,
    ),
]
TLS_UPSTREAM: Final = [
    Kind("TLS upstream", "200", upstream="https"),
    Kind("TLS upstream, closed after it", "500", upstream="https", upstreams=("close", "malformed")),
    Kind("TLS upstream, left in its handshake", "left", LONG, action="close_soon", upstream="mute"),
    *_leaves("TLS upstream", upstream="https"),
]
KINDS: Final = [
    *ANSWERED,
    *REJECTED,
    *FAILED,
    *TOO_SLOW,
    *DRAINED,
    *LEFT,
    *ADMIN,
    *TLS,
    *HTTP2,
    *TLS_UPSTREAM,
]
