"""The trace file: what overlaps is apart, and a cancelled call says why."""

from __future__ import annotations

import json

from fanout.admin.live.trace import trace_events
from fanout.config import MOST_UPSTREAMS
from tests.admin.live_receipts import call, receipt


def test_requests_that_overlap_get_lanes_of_their_own() -> None:
    """Two at once, then one more in the lane that is free again."""
    receipts = [
        receipt(request_id="a", arrived_at=10.0, ended_at=10.5),
        receipt(request_id="b", arrived_at=10.1, ended_at=10.3),
        receipt(request_id="c", arrived_at=10.4, ended_at=10.6),
    ]
    spans = [event for event in trace_events(receipts) if event.get("cat") == "request"]
    assert [(span["args"]["request_id"], span["tid"]) for span in spans] == [("a", 0), ("b", 17), ("c", 17)]
    assert [span["dur"] for span in spans] == [500_000, 200_000, 200_000]


def test_requests_with_as_many_calls_as_there_can_be_share_no_row() -> None:
    calls = tuple(call(index=number) for number in range(MOST_UPSTREAMS))
    receipts = [receipt(request_id=each, calls=calls) for each in ("a", "b")]
    spans = [event for event in trace_events(receipts) if event.get("cat") in ("request", "call")]
    assert len({span["tid"] for span in spans}) == len(spans) == 2 * (1 + MOST_UPSTREAMS)


def test_a_call_is_a_span_with_its_phases_and_says_why_it_was_cancelled() -> None:
    events = list(trace_events([receipt()]))
    phases = [event["name"] for event in events if event.get("cat") == "phase"]
    instants = [event["name"] for event in events if event["ph"] == "i"]
    assert phases == ["connect", "wait"] * 2
    assert instants == ["cancelled: call 0 settled the race"]
    assert json.loads(json.dumps(events)) == events


def test_a_call_that_never_started_is_no_span() -> None:
    never = call("not_started", None, 1, started_at=None, phases=())
    events = list(trace_events([receipt(calls=(call(), never))]))
    assert [event["name"] for event in events if event.get("cat") == "call"] == ["won"]
