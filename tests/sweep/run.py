"""One run: one request in one situation, with one action at one of its points, every guarantee checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from math import inf

import trio
import trio.testing

from fanout.race.events import CallEnded, CallStarted, Event, RaceStarted
from fanout.race.outcome import Outcome, Success
from fanout.testing.points import Point, Points, repeatable
from tests.sweep.actions import Action, Injected, Moment, Sight, Task
from tests.sweep.situations import Endpoint, Situation, get
from tests.sweep.stack import Answer, Client, Stack

SILENT_AFTER_S = 100  # of virtual time: longer than any timeout or bound that a request can meet
Look = Callable[[int, Point, Sight], None]


class Run:
    """Without an action the request is undisturbed, and `look` is shown every point."""

    def __init__(
        self,
        situation: Situation,
        endpoint: Endpoint,
        seed: int,
        action: Action | None = None,
        at: int = 0,
        look: Look | None = None,
    ) -> None:
        self._situation = situation
        self._endpoint = endpoint
        self._seed = seed
        self._action = action
        self._at = at
        self._look = look
        self._wrong: list[str] = []
        self._moment = Moment()
        self.points = 0

    def run(self) -> list[str]:
        """What was not as promised."""
        with repeatable(self._seed):
            try:
                trio.run(self._main, clock=trio.testing.MockClock(autojump_threshold=0))
            except BaseExceptionGroup as group:
                leaf: BaseException = group
                while isinstance(leaf, BaseExceptionGroup):
                    leaf = leaf.exceptions[0]
                self._wrong.append(f"the run ended with {leaf!r}")
        return self._wrong

    async def _main(self) -> None:
        situation = self._situation
        stack = Stack(
            max_in_flight=situation.max_in_flight,
            keepalive_expiry_s=situation.keepalive_expiry_s,
            url=situation.url,
        )
        async with trio.open_nursery() as test:
            await test.start(stack.run)
            client = await stack.connect()
            (task,) = stack.scopes
            await situation.before(client, stack)
            stack.events.clear()
            stack.upstream.plans = {b"/0": [*situation.plays[0]], b"/1": [*situation.plays[1]]}
            first_number = stack.upstream.next_number
            sent_at = trio.current_time()
            with Points(lambda n, point: self._pass(n, point, sight)) as points:
                sight = Sight(stack, client, points)
                points.follow(task)
                with trio.move_on_after(SILENT_AFTER_S) as patience:
                    await situation.during(client, situation.request(self._endpoint), stack)
                    client.close()
                    await trio.testing.wait_all_tasks_blocked()
                if patience.cancelled_caught:
                    self._wrong.append("silence")
                for other in stack.others:
                    await other.read(1)
                    other.close()
                await trio.testing.wait_all_tasks_blocked()
                self.points = points.reached
            self._wrong += [f"{task.name} is still alive" for task in points.living]
            self._check_answers(stack, client, sent_at, first_number)
            self._check_reports(stack)
            self._check_starts(stack.events)
            self._wrong += stack.kept + stack.left()
            await self._follow_up(stack)
            test.cancel_scope.cancel()

    def _pass(self, n: int, point: Point, sight: Sight) -> None:
        if self._look is not None:
            self._look(n, point, sight)
        if n != self._at or self._action is None:
            return
        blow = self._action.aim(sight, point)
        if blow is None:
            self._wrong.append("nothing to strike: the run did not repeat")
            return
        self._moment = moment(sight.stack.events, self._endpoint)
        blow.strike()
        trio.lowlevel.add_instrument(_Deadline(blow.doomed, trio.current_time(), self._wrong))

    def _check_answers(self, stack: Stack, client: Client, sent_at: float, first_number: int) -> None:
        situation, wrong = self._situation, self._wrong
        got = [answer.status for answer in client.answers]
        usual = situation.statuses(self._endpoint)
        if self._action is None:
            allowed = got == usual
        else:
            allowed = self._action.allows(got, situation, self._endpoint, self._moment)
        if not allowed:
            wrong.append(f"answers {got}, usually {usual}")
        if len(got) < len(usual) and client.end is None and client.to_server.end is None:
            wrong.append("neither an answer nor the end")
        if client.received and client.end != "rst" and not client.from_server.abandoned:
            wrong.append(f"part of an answer, then {client.end}: {bytes(client.received)!r}")
        for answer in client.answers:
            wrong += [
                f"an answer with the payload of another request: {n}"
                for n in numbers(answer)
                if n < first_number
            ]
        if not situation.is_read_slowly and client.answers:
            last_s, usually_s = client.answers[-1].at - sent_at, situation.answered_s(self._endpoint)
            if last_s > situation.answers * situation.timeout_ms / 1000:
                wrong.append(f"late: {last_s:.3f} s")
            if self._action is None and abs(client.answers[0].at - sent_at - usually_s) > 0.015:
                wrong.append(f"answered after {client.answers[0].at - sent_at:.3f} s, not {usually_s}")

    def _check_reports(self, stack: Stack) -> None:
        bugs = [leaf for bug in stack.bugs for leaf in leaves(bug)]
        expected = 1 if self._action is not None and self._action.is_bug else 0
        if sum(isinstance(bug, Injected) for bug in bugs) != expected:
            self._wrong.append(f"{expected} reports expected: {stack.bugs!r}")
        if len(stack.bugs) > expected and not (self._action is not None and self._action.is_fault):
            self._wrong.append(f"reports of other bugs: {stack.bugs!r}")

    def _check_starts(self, events: list[Event]) -> None:
        """No call is started when the time of its race is over."""
        ends_at = inf
        for event in events:
            if isinstance(event, RaceStarted):
                ends_at = event.budget.race_ends_at
            elif isinstance(event, CallStarted) and event.at >= ends_at:
                self._wrong.append(f"call {event.call} started {event.at - ends_at:.3f} s after the deadline")

    async def _follow_up(self, stack: Stack) -> None:
        """The same server must do a normal request."""
        if self._situation.drains or (self._action is not None and self._action.is_the_end):
            return
        stack.upstream.plans, stack.upstream.dial_s = {b"/0": [], b"/1": []}, 0.001
        first_number, bugs = stack.upstream.next_number, len(stack.bugs)
        client = await stack.connect()
        client.send(get("/api/all"))
        with trio.move_on_after(SILENT_AFTER_S):
            await client.read(1)
        client.close()
        await trio.testing.wait_all_tasks_blocked()
        if [answer.status for answer in client.answers] != [200]:
            self._wrong.append(f"the next request got {client.answers}")
        elif sorted(numbers(client.answers[0])) != [first_number, first_number + 1]:
            self._wrong.append(f"the next request got {client.answers[0].body!r}")
        if len(stack.bugs) != bugs:
            self._wrong.append(f"the next request came upon {stack.bugs[bugs:]}")
        self._wrong += [f"after the next request: {left}" for left in stack.left()]
        if len(stack.nursery.child_tasks) != 2:  # of the transport and of the driver
            self._wrong.append(f"tasks after the next request: {stack.nursery.child_tasks}")


class _Deadline(trio.abc.Instrument):
    """Doomed tasks must end before any time goes by."""

    def __init__(self, doomed: frozenset[Task], at: float, wrong: list[str]) -> None:
        self._doomed = doomed
        self._at = at
        self._wrong = wrong

    def task_exited(self, task: Task) -> None:
        if task in self._doomed and trio.current_time() != self._at:
            self._wrong.append(f"{task.name} went on for {trio.current_time() - self._at:.3f} s")


def moment(events: list[Event], endpoint: Endpoint) -> Moment:
    """What the events say of the swept client's requests."""
    races = 0
    outcomes: list[Outcome | None] = []
    for event in events:
        if isinstance(event, RaceStarted):
            races += 1
            outcomes.clear()
        elif isinstance(event, CallEnded):
            outcomes.append(event.record.outcome)
    settled = len(outcomes) == 2 or (
        endpoint == "first" and any(isinstance(outcome, Success) for outcome in outcomes)
    )
    return Moment(races, settled)


def numbers(answer: Answer) -> list[int]:
    """Of the upstream requests whose payloads are in the answer."""
    if answer.status != 200:
        return []
    document = json.loads(answer.body)
    return [payload["time"] for payload in (document if isinstance(document, list) else [document])]


def leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from leaves(part)
    else:
        yield error
