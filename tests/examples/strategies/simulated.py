"""The strategies in the simulation: the whole server, its clients and upstreams in memory, in virtual time.

The plans are those of `fanout simulate`, whose races become requests for a strategy. What of its judge is not
about `first` and `all` judges here as well: every request has one answer, nothing is left, no connection is
reused that has an answer to come, bugs are reported once, the shutdown ends in time.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from math import inf
from typing import Final

from examples.strategies.budget import HedgingBudget
from examples.strategies.delay import Delay
from examples.strategies.endpoints import make_endpoints
from fanout.api.handlers import Endpoints
from fanout.testing.world.draw import draw_plan
from fanout.testing.world.dues import race_ends
from fanout.testing.world.ended import Ended
from fanout.testing.world.endings import _LARGE
from fanout.testing.world.facts import RequestFacts
from fanout.testing.world.judge import judge
from fanout.testing.world.oracle import INSTANT_S, CallEnd, Due, Span
from fanout.testing.world.plan import CallScript, Plan, RequestScript
from fanout.testing.world.world import run_plan
from tests.examples.strategies import oracle
from tests.examples.strategies.apps import hedged_endpoints, unlimited

REQUESTS: Final = 60
DELAYS_MS: Final = (0, 5, 50, 100)
RULES: Final = {"quorum": oracle.majority, "partial": oracle.what_is_there}
BUDGETS: Final[dict[str, Callable[[], HedgingBudget]]] = {
    "unlimited": unlimited,
    "empty": lambda: HedgingBudget(percent=0, most=1),
    "small": lambda: HedgingBudget(percent=10, most=4, at_first=4),
}


def plan_of(seed: int, strategy: str, calls: int, delay_ms: int = 0) -> Plan:
    """A plan of `fanout simulate` whose races ask for a strategy. No stalls: all times are exact."""
    dice = random.Random(f"{strategy} {seed}")
    plan = draw_plan(seed, REQUESTS)

    def of_call(call: CallScript, index: int) -> CallScript:
        fault = None if call.fault in _LARGE else call.fault  # else they take longer than an instant
        is_later = strategy == "hedged" and index > 0
        call = replace(call, fault=fault, cleanup_ms=0, follows_reserve=call.follows_reserve and not is_later)
        if strategy == "hedged" and dice.random() < 0.2:  # in the moment of the delay
            call = replace(
                call,
                delay_ms=max(0, delay_ms - 2 * plan.upstream_latency_ms),
                follows_reserve=False,
                dials=(),
            )
        return call

    def of(request: RequestScript) -> RequestScript:
        if request.ask not in ("first", "all"):
            return request
        head = request.head.replace(f"/api/{request.ask}".encode(), f"/api/{strategy}".encode())
        scripts = (*request.calls, *(dice.choice(request.calls) for _ in range(calls - len(request.calls))))
        scripts = tuple(of_call(call, index) for index, call in enumerate(scripts))
        return replace(request, head=head, ask="own", calls=scripts)

    clients = tuple(replace(client, requests=tuple(map(of, client.requests))) for client in plan.clients)
    return replace(plan, clients=clients, stalls=(), calls=calls)


def run(
    seed: int, strategy: str, calls: int, endpoints: Endpoints, rule: oracle.Rule, delay_ms: int = 0
) -> Ended:
    def allowed(
        request: RequestFacts, ends: Sequence[CallEnd], arrived_at: float, ends_at: Span
    ) -> list[Due]:
        made = {call: end for call, end in enumerate(ends) if strategy != "hedged" or call in request.calls}
        needs_s = plan.min_call_ms / 1000
        last = max((end.when.latest for end in made.values()), default=arrived_at)
        numbers = {len(made) if strategy == "hedged" else calls}
        if last > ends_at.latest - needs_s - INSTANT_S:
            numbers.add(calls)  # the next one was left out, or it was too late for it
        dues = [oracle.allowed(rule, made, number, arrived_at, ends_at, needs_s) for number in numbers]
        return [due for of_number in dues for due in of_number]

    plan = plan_of(seed, strategy, calls, delay_ms)
    return run_plan(plan, seed, endpoints=endpoints, oracle=allowed)


def raced(ended: Ended) -> Iterator[tuple[RequestFacts, float]]:
    """The requests that were raced, and when each race was over at the latest: by its time, or its client."""
    for request in ended.requests:
        entered_at, left_at = request.entered_at, request.left_at
        answer = request.connection.answer_to(request)
        is_rejected = request.was_full or (
            entered_at is not None and entered_at >= ended.drained_at - INSTANT_S
        )
        if request.script.ask == "own" and entered_at is not None and (request.calls or not is_rejected):
            ends = race_ends(request, entered_at, 0.0, ended)
            starts_by = ends.latest - ended.plan.min_call_ms / 1000
            over_at = starts_by if left_at is None else min(starts_by, max(left_at, entered_at))
            if answer is not None:
                over_at = min(over_at, answer.first_at)
            yield request, over_at


Checked = tuple[list[str], Counter[str]]
"""What is wrong, each as a sentence, and how often each situation occurred."""


def at_once(strategy: str, calls: int, seed: int) -> Checked:
    """One run of quorum or partial."""
    ended = run(seed, strategy, calls, make_endpoints, RULES[strategy])
    wrong, met = list(map(str, judge(ended))), Counter[str]()
    for request, over_at in raced(ended):
        wrong += _of(request, oracle.wrong_starts_at_once(request, over_at))
        met.update(_met(request, ended))
    return wrong, met


def hedged(budget: str, calls: int, seed: int) -> Checked:
    """One run of hedged, with a delay that depends on the seed."""
    delay_ms = DELAYS_MS[seed % len(DELAYS_MS)]
    endpoints = hedged_endpoints(Delay(delay_ms / 1000), BUDGETS[budget]())
    ended = run(seed, "hedged", calls, endpoints, oracle.first, delay_ms)
    wrong, met = list(map(str, judge(ended))), Counter[str]()
    requests = further = 0
    for request, over_at in raced(ended):
        must = budget == "unlimited"
        wrong += _of(request, oracle.wrong_hedges(request, over_at, delay_ms / 1000, must=must))
        requests += 1
        further += max(0, len(request.calls) - 1)
        met.update(chain(_met(request, ended), _met_hedging(request, delay_ms / 1000)))
    most = {"unlimited": inf, "empty": 0, "small": 4 + requests / 10}[budget]
    if further > most:
        wrong.append(f"{further} further calls for {requests} requests")
    return wrong, met


def _of(request: RequestFacts, wrong: Iterator[str]) -> Iterator[str]:
    return (f"w{request.script.id}: {what}" for what in wrong)


def _met(request: RequestFacts, ended: Ended) -> Iterator[str]:
    answer = request.connection.answer_to(request)
    assert request.entered_at is not None
    if answer is None:
        yield "client left"
    elif answer.last_at is not None and not request.script.is_head:
        yield str(answer.status) if answer.status == 200 else str(answer.reason)
    over_at = request.connection.left_at if answer is None else answer.first_at
    if over_at is not None and request.entered_at < ended.drained_at < over_at:
        yield "in flight at the shutdown"


def _met_hedging(request: RequestFacts, delay_s: float) -> Iterator[str]:
    calls, answer = request.calls, request.connection.answer_to(request)
    for index in range(1, len(calls)):
        is_delay = abs(calls[index].started_at - calls[index - 1].started_at - delay_s) <= INSTANT_S
        yield "after the delay" if is_delay else "after a failure"
    if any(call.outcome == "success" for call in calls.values() if call.index):
        yield "a later call wins"
    if len(calls) == 1 and calls[0].outcome == "success":
        yield "not needed"
    if answer is None and calls:
        yield "client left before the second call" if len(calls) == 1 else "client left after it"
