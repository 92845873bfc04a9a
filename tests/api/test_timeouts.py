from __future__ import annotations

import pytest

from fanout.api.problems import ProblemError
from fanout.api.timeouts import read_timeout_ms


@pytest.mark.parametrize(
    ("query", "timeout_ms"),
    [
        (b"", 1000),
        (b"other=1", 1000),
        (b"timeout=1", 1),
        (b"timeout=30000", 30000),
        (b"timeout=000300", 300),
        (b"timeout=030000", 30000),
        (b"a=b&timeout=300&c=", 300),
        (b"timeout=%33%30%30", 300),
        (b"Timeout=5", 1000),
    ],
)
def test_a_good_timeout_is_read(query: bytes, timeout_ms: int) -> None:
    assert read_timeout_ms(query, 1000, 30_000) == timeout_ms


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
        read_timeout_ms(query, 1000, 30_000)
    problem = raised.value.problem
    assert (problem.status, problem.reason) == (400, "invalid_timeout")
    assert "timeout" in problem.detail


def test_queries_of_clients_do_not_fill_the_memory() -> None:
    for timeout_ms in range(1, 300):
        read_timeout_ms(b"timeout=%d" % timeout_ms, 1000, 30_000)
    assert read_timeout_ms.cache_info().currsize == 256
