"""What holds for every answer, and every refusal (DESIGN.md §2)."""

from __future__ import annotations

import pytest

from fanout.race.events import RequestEnded
from fanout.testing import answers, hangs, run_scenario
from fanout.testing.scenario import Replay


def ask(target: str, **options: object) -> Replay:
    return run_scenario(target, [answers(10), hangs()], **options)  # type: ignore[arg-type]  # named by each test


@pytest.mark.parametrize("target", ["/api/first", "/nowhere", "/api/first?timeout=x", "/openapi.json"])
def test_every_answer_has_the_common_headers(target: str) -> None:
    replay = ask(target)
    assert replay.headers["cache-control"] == "no-store"
    assert replay.headers["x-request-id"] == "scenario-1"
    assert int(replay.headers["content-length"]) == len(replay.body)


@pytest.mark.parametrize(
    ("sent", "echoed"),
    [
        ([b"abc-1:2.3_X"], "abc-1:2.3_X"),
        ([b"a" * 128], "a" * 128),
        ([b"a" * 129], "scenario-1"),
        ([b""], "scenario-1"),
        ([b"with space"], "scenario-1"),
        ([b"semi;colon"], "scenario-1"),
        ([b"\xc3\xa9"], "scenario-1"),
        ([b"one", b"two"], "scenario-1"),
    ],
)
def test_a_sane_request_id_is_echoed_and_any_other_replaced(sent: list[bytes], echoed: str) -> None:
    replay = ask("/api/first", headers=[(b"x-request-id", value) for value in sent])
    assert replay.headers["x-request-id"] == echoed


def test_a_browser_finds_the_documentation() -> None:
    replay = ask("/")
    assert (replay.status, replay.headers["location"]) == (303, "/docs")


@pytest.mark.parametrize("path", ["//api/first", "/api//first", "//api//first", "///", "//docs"])
def test_a_double_slash_is_not_found_and_no_redirect(path: str) -> None:
    replay = ask(path)
    assert (replay.status, replay.json["reason"]) == (404, "not_found")


def test_server_timing_has_one_entry_a_call() -> None:
    replay = ask("/api/first")
    assert replay.headers["server-timing"] == 'call0;dur=10.0;desc="won", call1;dur=10.0;desc="cancelled"'


@pytest.mark.parametrize(
    ("after_ms", "told"), [(0.03, "0.0"), (0.97, "1.0"), (10.04, "10.0"), (10.06, "10.1"), (609.93, "609.9")]
)
def test_server_timing_is_to_the_nearest_tenth_of_a_millisecond(after_ms: float, told: str) -> None:
    replay = run_scenario("/api/first", [answers(after_ms), hangs()])
    assert replay.headers["server-timing"].startswith(f'call0;dur={told};desc="won", ')


def test_nothing_there_is_a_problem() -> None:
    replay = ask("/api/third")
    assert (replay.status, replay.json["reason"]) == (404, "not_found")
    assert replay.headers["content-type"] == "application/problem+json"
    assert replay.json["request_id"] == "scenario-1"
    assert replay.json["type"] == "urn:fanout:problem:not_found"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"])
def test_a_wrong_method_is_a_problem_that_says_which_are_right(method: str) -> None:
    replay = ask("/api/first", method=method)
    assert (replay.status, replay.json["reason"]) == (405, "method_not_allowed")
    assert replay.headers["allow"] == "GET, HEAD, OPTIONS"


def test_head_is_get_without_the_body() -> None:
    """RFC 9110 §9.3.2: the same race, the same headers."""
    got, head = ask("/api/first"), ask("/api/first", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers == got.headers
    assert head.took_s == got.took_s


def test_options_says_what_is_possible_without_a_call() -> None:
    calls = [answers(10)]
    replay = run_scenario("/api/first", calls, method="OPTIONS")
    assert (replay.status, replay.body) == (200, b"")
    assert sorted(replay.headers["allow"].split(", ")) == ["GET", "HEAD", "OPTIONS"]
    assert calls[0].started == 0


@pytest.mark.parametrize(
    "header", [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")], ids=["length", "chunked"]
)
def test_a_request_body_is_refused_and_the_connection_closed(header: tuple[bytes, bytes]) -> None:
    calls = [answers(10)]
    replay = run_scenario("/api/first", calls, headers=[header])
    assert (replay.status, replay.json["reason"]) == (413, "unexpected_body")
    assert replay.headers["connection"] == "close"
    assert calls[0].started == 0


def test_a_body_of_no_bytes_is_no_body() -> None:
    assert ask("/api/first", headers=[(b"content-length", b"0")]).status == 200


def test_over_the_limit_is_a_503_at_once() -> None:
    """G8: refused, not queued; and nothing was started."""
    calls = [answers(10)]
    replay = run_scenario("/api/first", calls, max_in_flight=0)
    assert (replay.status, replay.took_s, replay.json["reason"]) == (503, 0, "overloaded")
    assert int(replay.headers["retry-after"]) >= 1
    assert calls[0].started == 0
    (ended,) = replay.events
    assert isinstance(ended, RequestEnded)
    assert (ended.status, ended.reason, ended.race, ended.at) == (503, "overloaded", None, 0.0)


def test_a_late_answer_is_measured() -> None:
    """G2: by how much, from the moment the head was read."""
    careless = hangs()
    careless.cleanup_ms = 50
    replay = run_scenario("/api/first?timeout=100", [careless], arrived_ms_ago=20)
    (ended,) = [event for event in replay.events if isinstance(event, RequestEnded)]
    assert ended.late_by_s == pytest.approx(0.05)


def test_an_answer_in_time_is_not_late() -> None:
    """G2: also when a call's clean-up takes most of the reserve."""
    slow = hangs()
    slow.cleanup_ms = 4
    replay = run_scenario("/api/first?timeout=100", [slow], reserve_ms=5)
    assert replay.answered_s == pytest.approx(0.099)
    (ended,) = [event for event in replay.events if isinstance(event, RequestEnded)]
    assert (ended.status, ended.late_by_s) == (500, 0)
