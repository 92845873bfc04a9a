"""The small programs that `fanout prove` exhausts: one request, or two that share a connection or slot.

Times are chosen so that close calls happen: two answers at one moment, an answer at the deadline, a
connection that has ended when it is used again. The limits are as low as they can be: one request in flight,
so one pool slot per call.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from fanout.testing.world.plan import CallScript, ClientScript, DialScript, Plan, RequestScript

_TIMEOUT_MS: Final = 100
_RESERVE_MS: Final = 10
_SOON, _LATER = CallScript(delay_ms=10), CallScript(delay_ms=20)
_SILENT: Final = CallScript("hang_mid_body", 10)  # half an answer, then nothing
_AT_THE_DEADLINE: Final = CallScript(delay_ms=_TIMEOUT_MS - _RESERVE_MS, follows_reserve=True)
_LAST: Final = CallScript("close_idle", 10)  # an answer, and 5 ms later the end of its connection
_BROKEN: Final = CallScript("rst_mid_body", 10)


def _race(
    number: int,
    ask: Literal["first", "all"],
    *calls: CallScript,
    timeout_ms: int = _TIMEOUT_MS,
    gap_ms: int = 0,
    pipelined: bool = False,
) -> RequestScript:
    head = f"GET /api/{ask}?timeout={timeout_ms} HTTP/1.1\r\nhost: a\r\n".encode("ascii")
    return RequestScript(number, head, ask, timeout_ms, calls=calls, gap_ms=gap_ms, pipelined=pipelined)


def _of(*requests: RequestScript, **limits: Any) -> Plan:
    return _of_clients(ClientScript(requests), **limits)


def _of_clients(*clients: ClientScript, **limits: Any) -> Plan:
    return Plan(clients, max_in_flight=1, reserve_ms=_RESERVE_MS, **limits)


_CRASH: Final = RequestScript(1, b"GET / HTTP/1.1\r\nhost: a\r\n", "crash", status=500, reason="internal")
_CONNECTING: Final = CallScript(delay_ms=5, dials=(DialScript("refuse", 5), DialScript("ok", 5)))
_BUG: Final = CallScript(dials=(DialScript("hang"), DialScript("crash", 10)))

SCENARIOS: Final[dict[str, Plan]] = {
    # one request
    "first": _of(_race(1, "first", _SOON, _SOON)),
    "all": _of(_race(1, "all", _LATER, _SOON)),
    "failover": _of(_race(1, "first", _BROKEN, _SOON)),
    "no-success": _of(_race(1, "first", CallScript("status", 10), CallScript("not_json", 20))),
    "silence": _of(_race(1, "all", _SOON, _SILENT)),
    "tie": _of(_race(2, "first", _AT_THE_DEADLINE, _AT_THE_DEADLINE)),
    "no-time": _of(_race(1, "first", _SOON, _SOON, timeout_ms=_RESERVE_MS)),
    "connecting": _of(_race(1, "first", _CONNECTING, CallScript(dials=(DialScript("hang"),))), addresses=2),
    "late": _of(_race(1, "first", _SOON, _SOON), upstream_latency_ms=1, late_iterations=1),
    "bug": _of(_race(1, "first", _BUG, CallScript(delay_ms=300), timeout_ms=400), addresses=2),
    "crash": _of(_CRASH),
    # two requests, one connection, one pool slot per call
    "keep-alive": _of(_race(1, "first", _SOON, _LATER), _race(2, "all", _LATER, _SOON)),
    "pipelined": _of(_race(1, "first", _SOON, _SOON), _race(2, "all", _SOON, _SOON, pipelined=True)),
    "half-read": _of(_race(1, "first", _SOON, _SILENT), _race(2, "all", _SOON, _SOON)),
    "retry": _of(
        _race(1, "all", _LAST, _LAST), _race(2, "first", _SOON, _SOON, gap_ms=4), upstream_latency_ms=1
    ),
    "broken": _of(_race(1, "all", _SOON, _SOON), _race(2, "all", _BROKEN, _SOON)),
    # two requests, two connections, one pool slot per call
    "overload": _of_clients(
        ClientScript((_race(1, "first", _SOON, _LATER),)), ClientScript((_race(2, "first", _SOON, _SOON),))
    ),
}
TITLES: Final[dict[str, str]] = {
    "first": "both calls answer at one moment",
    "all": "the second call answers first",
    "failover": "a call breaks off as the other one answers",
    "no-success": "both calls fail",
    "silence": "a call answers, the other one falls silent",
    "tie": "both calls answer at the deadline",
    "no-time": "the timeout is as long as the time reserve",
    "connecting": "an address refuses, another one never answers",
    "late": "answers arrive up to one iteration late",
    "bug": "a call raises while it connects to two addresses",
    "crash": "the application raises",
    "keep-alive": "two requests, one after the other",
    "pipelined": "two requests, sent together",
    "half-read": "the first request leaves an answer half read",
    "retry": "the second request finds its connections dead",
    "broken": "the second request's reused connection breaks off",
    "overload": "two clients, and one request may be in flight",
}
