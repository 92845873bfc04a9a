from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field

import pytest

from fanout.api import timeouts
from fanout.api.problems import ProblemError
from fanout.api.timeouts import read_timeout
from fanout.race.outcome import Failure, Success
from fanout.race.timings import CallTimings, Headers
from fanout.testing import ScriptedCall, answers, hangs, run_scenario

HEADER = "X-Left-Ms"


@pytest.mark.parametrize(
    ("query", "timeout_ms"),
    [
        (b"", 1000),
        (b"other=1", 1000),
        (b"timeout=1", 1),
        (b"timeout=01", 1),
        (b"timeout=30000", 30000),
        (b"timeout=000300", 300),
        (b"timeout=030000", 30000),
        (b"a=b&timeout=300&c=", 300),
        (b"timeout=%33%30%30", 300),
        (b"Timeout=5", 1000),
    ],
)
def test_a_good_timeout_is_read(query: bytes, timeout_ms: int) -> None:
    source = "default" if b"timeout" not in query else "parameter"
    assert read_timeout(query, 1000, 30_000, HEADER, ()) == (timeout_ms, source)


BAD_TIMEOUTS = {
    "repeated": b"timeout=1&timeout=1",
    "empty": b"timeout=",
    "bare": b"timeout",
    "plus": b"timeout=%2B5",
    "minus": b"timeout=-5",
    "fraction": b"timeout=1.5",
    "exponent": b"timeout=1e3",
    "underscore": b"timeout=1_000",
    "leading space": b"timeout=+5",
    "trailing space": b"timeout=5%20",
    "arabic digits": "timeout=٣".encode(),
    "percent-encoded arabic digits": b"timeout=%D9%A3",
    "superscript": b"timeout=%C2%B2",
    "hex": b"timeout=0x10",
    "word": b"timeout=soon",
    "nan": b"timeout=nan",
    "zero": b"timeout=0",
    "zeros": b"timeout=0000",
    "one too many": b"timeout=30001",
    "huge": b"timeout=" + b"9" * 6000,
    "nul": b"timeout=5%00",
    "broken percent": b"timeout=%5",
}


@pytest.mark.parametrize("query", BAD_TIMEOUTS.values(), ids=BAD_TIMEOUTS)
def test_a_bad_timeout_is_a_400_that_says_what_is_wrong(query: bytes) -> None:
    with pytest.raises(ProblemError) as raised:
        read_timeout(query, 1000, 30_000, HEADER, ())
    problem = raised.value.problem
    assert (problem.status, problem.reason) == (400, "invalid_timeout")
    assert "timeout" in problem.detail


PARTS = [
    "timeout=7",
    "timeout=300",
    "timeout=",
    "timeout",
    "timeout=0",
    "timeout=30001",
    "a=b",
    "q=",
    "timeouts=9",
]
PARTS += [
    "xtimeout=9",
    "a=timeout=9",
    "Timeout=9",
    "",
    "=",
    "t%69meout=8",
    "a=%20",
    "a=+",
    "timeout=1+",
    "é=1",
]


def test_a_plain_query_is_read_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(query: bytes) -> tuple[int, str] | str | None:
        try:
            return read_timeout.__wrapped__(query, 1000, 30_000, HEADER, ())
        except ProblemError as error:
            return error.problem.detail

    queries = ["&".join(parts).encode() for n in range(1, 4) for parts in itertools.product(PARTS, repeat=n)]
    plain = [timeouts._PLAIN.fullmatch(query) is not None for query in queries]
    read_so = [read(query) for query in queries]
    monkeypatch.setattr(timeouts, "_PLAIN", re.compile(rb"(?!)"))
    assert read_so == [read(query) for query in queries]
    assert 200 < sum(plain) < len(queries) / 2


@pytest.mark.parametrize("query", [b"timeout=123456789", b"aZ09._~-=aZ09._~-&q=&timeout=1&=&Z=0"])
def test_a_plain_query_needs_no_unquoting(query: bytes) -> None:
    assert timeouts._PLAIN.fullmatch(query)


def test_queries_of_clients_do_not_fill_the_memory() -> None:
    for timeout_ms in range(1, 300):
        read_timeout(b"timeout=%d" % timeout_ms, 1000, 30_000, HEADER, ())
    assert read_timeout.cache_info().currsize == 256


def test_nor_do_their_budgets() -> None:
    for left_ms in range(1, 300):
        read_timeout(b"", 1000, 30_000, HEADER, (b"%d" % left_ms,))
    assert read_timeout.cache_info().currsize == 256


@pytest.mark.parametrize(
    ("query", "left", "timeout"),
    [
        (b"", b"300", (300, "header")),
        (b"", b"1", (1, "header")),
        (b"", b"000300", (300, "header")),
        (b"", b"30000", (30_000, "header")),
        (b"", b"30001", (30_000, "header")),
        (b"", b"9" * 6000, (30_000, "header")),
        (b"", b"0" * 6000 + b"7", (7, "header")),
        (b"other=1", b"300", (300, "header")),
        (b"timeout=200", b"300", (200, "parameter")),
        (b"timeout=300", b"300", (300, "parameter")),
        (b"timeout=400", b"300", (300, "header")),
        (b"timeout=30000", b"99999", (30_000, "parameter")),
        (b"a=b&timeout=400", b"300", (300, "header")),
    ],
)
def test_the_smaller_one_of_timeout_and_header_counts_and_a_long_header_is_lowered(
    query: bytes, left: bytes, timeout: tuple[int, str]
) -> None:
    assert read_timeout(query, 1000, 30_000, HEADER, (left,)) == timeout


BAD_BUDGETS: dict[str, tuple[bytes, ...]] = {
    "repeated": (b"1", b"1"),
    "three": (b"1", b"2", b"3"),
    "a list": (b"1, 1",),
    "empty": (b"",),
    "plus": (b"+5",),
    "minus": (b"-5",),
    "fraction": (b"1.5",),
    "exponent": (b"1e3",),
    "underscore": (b"1_000",),
    "space": (b"1 000",),
    "unit": (b"300ms",),
    "superscript": (b"\xb2",),
    "utf-8": ("٣".encode(),),
    "word": (b"soon",),
    "infinite": (b"infinity",),
    "zero": (b"0",),
    "zeros": (b"0000",),
}


@pytest.mark.parametrize("query", [b"", b"timeout=300"])
@pytest.mark.parametrize("sent", BAD_BUDGETS.values(), ids=BAD_BUDGETS)
def test_a_bad_budget_is_a_400_that_names_the_header(query: bytes, sent: tuple[bytes, ...]) -> None:
    """Also when there is a good timeout: what the client has said twice, it must not mean in two ways."""
    with pytest.raises(ProblemError) as raised:
        read_timeout(query, 1000, 30_000, HEADER, sent)
    problem = raised.value.problem
    assert (problem.status, problem.reason) == (400, "invalid_timeout")
    assert problem.detail.startswith(f"{HEADER} ")
    assert "timeout" not in problem.detail


@pytest.mark.parametrize(
    ("sent", "detail"),
    [
        ((b"soon",), "X-Left-Ms must be milliseconds in decimal digits, such as 1000."),
        ((b"0",), "X-Left-Ms must be at least 1 millisecond."),
        ((b"1", b"1"), "X-Left-Ms was given 2 times. Give it once."),
    ],
)
def test_the_detail_of_a_bad_budget_says_how_to_send_a_good_one(sent: tuple[bytes, ...], detail: str) -> None:
    with pytest.raises(ProblemError) as raised:
        read_timeout(b"", 1000, 30_000, HEADER, sent)
    assert raised.value.problem.detail == detail


def test_a_bad_timeout_is_not_mended_by_a_good_budget() -> None:
    with pytest.raises(ProblemError) as raised:
        read_timeout(b"timeout=soon", 1000, 30_000, HEADER, (b"300",))
    assert raised.value.problem.detail.startswith("timeout must be milliseconds")


LEFT = (HEADER.lower().encode(), b"300")


@pytest.mark.parametrize(
    ("target", "header", "sent", "timeout_ms"),
    [
        ("/api/first", HEADER, [LEFT], 300),
        ("/api/all?timeout=200", HEADER, [LEFT], 200),
        ("/api/all?timeout=400", HEADER, [LEFT], 300),
        ("/api/first", HEADER, [], 1000),
        ("/api/first", HEADER, [(b"x-other", b"300")], 1000),
        ("/api/first", "X-Other", [LEFT], 1000),
        ("/api/first", "", [LEFT], 1000),
        ("/api/first", "", [LEFT, LEFT], 1000),
    ],
)
def test_a_request_is_answered_within_its_budget(
    target: str, header: str, sent: list[tuple[bytes, bytes]], timeout_ms: int
) -> None:
    """Whatever header that is, and with none nobody looks for one. Exact, for the time is virtual."""
    replay = run_scenario(target, [hangs(), hangs()], headers=sent, reserve_ms=20, deadline_header=header)
    assert (replay.status, replay.json["timeout_ms"]) == (500, timeout_ms)
    assert replay.answered_s == pytest.approx((timeout_ms - 20) / 1000)


@dataclass(eq=False, slots=True)
class Sends(ScriptedCall):
    """A call that notes what it sends along with its request."""

    sent: list[Headers | None] = field(default_factory=list)

    async def __call__(self, timings: CallTimings) -> Success | Failure:
        self.sent.append(timings.headers_to_send())
        return await ScriptedCall.__call__(self, timings)


@pytest.mark.parametrize(("header", "sent"), [(HEADER, ((b"X-Left-Ms", b"280"),)), ("", ())])
def test_a_call_says_in_the_same_header_how_much_time_is_left(header: str, sent: Headers) -> None:
    """With the reserve taken off; without a header it says nothing."""
    call = Sends(0, Success(b'{"time": 1}'))
    replay = run_scenario("/api/first?timeout=300", [call], reserve_ms=20, deadline_header=header)
    assert (replay.status, call.sent) == (200, [sent])


@pytest.mark.parametrize("values", [[b"300", b"300"], [b"0"], [b"soon"]])
def test_a_request_with_a_bad_budget_makes_no_call(values: list[bytes]) -> None:
    calls = [answers(0), answers(0)]
    replay = run_scenario(
        "/api/first?timeout=200",
        calls,
        headers=[(LEFT[0], value) for value in values],
        deadline_header=HEADER,
    )
    assert (replay.status, replay.json["reason"]) == (400, "invalid_timeout")
    assert HEADER in replay.json["detail"]
    assert [call.started for call in calls] == [0, 0]


def test_the_receipt_says_where_the_timeout_comes_from() -> None:
    """In a problem as a member, and in any answer in Server-Timing."""
    for target, sent, said in (
        ("/api/first", [], '1000.000;desc="default"'),
        ("/api/first?timeout=50", [], '50.000;desc="parameter"'),
        ("/api/first?timeout=400", [LEFT], '300.000;desc="header"'),
    ):
        for call in (answers(10), hangs()):
            headers = [(b"x-fanout-receipt", b"1"), *sent]
            replay = run_scenario(target, [call], headers=headers, deadline_header=HEADER)
            assert f"timeout;dur={said}" in replay.headers["server-timing"].split(", ")
            if replay.status == 500:
                assert f'desc="{replay.json["receipt"]["timeout_from"]}"' in said


def test_the_least_time_for_a_call_is_a_setting() -> None:
    for min_call_ms, starts in ((80, 1), (81, 0)):
        call = hangs()
        replay = run_scenario("/api/first?timeout=100", [call], reserve_ms=20, min_call_ms=min_call_ms)
        assert (replay.json["reason"], call.started) == ("deadline", starts)
        assert replay.answered_s == pytest.approx(0.08 if starts else 0)
