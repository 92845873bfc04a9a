"""The suite that every upstream call must pass. The scripted call, the real one and the one over the asyncio
bridge pass the same suite, so the script can be trusted.

Subclass `CallConformance` in a test module and give it a `make_call` fixture.

Every cancelled call has to end, to raise its cancellation, and to leave nothing that it does not name.
When it has to end depends on its own code: at once by default, after its clean-up if that waits, and after
the grace of the asyncio bridge (`grace_s`) if it ignores the cancellation.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar, Final

import pytest
import trio
from trio.abc import Clock, Instrument
from trio.testing import MockClock

from fanout.observe.leak_check import LeakCheck
from fanout.race.outcome import Cancelled, Failure, Success
from fanout.race.race import Call
from fanout.race.timings import CallTimings

MakeCall = Callable[[str], Awaitable[Call]]
PHASES: Final = ("hangs_connecting", "hangs_in_handshake", "hangs", "hangs_in_head", "hangs_in_body")
CANCEL_AFTER_S: Final = 0.05
IGNORES_FOR_S: Final = 0.7  # how long `swallows` goes on
CLEAN_UP_S: Final = 0.1
SETTLED_WITHIN_S: Final = 2.0  # on real sockets: until the other side's tasks and sockets are gone, too


class CleanUpBug(Exception):
    """Raised by the clean-up of `clean_up_raises`."""


class Waits(Instrument):
    """How long the event loop has waited since the scope's deadline, in seconds on the real clock.

    A machine that stands still delays a call that waits for nothing. That delay is not the call's: it comes
    while the loop runs, or past the time at which it wanted to wake up.
    """

    def __init__(self, scope: trio.CancelScope) -> None:
        self._scope = scope
        self._began_at = 0.0
        self.waited_s = 0.0

    def before_io_wait(self, timeout: float) -> None:
        self._began_at = trio.current_time()

    def after_io_wait(self, timeout: float) -> None:
        ended_at = min(trio.current_time(), self._began_at + timeout)
        self.waited_s += max(0.0, ended_at - max(self._began_at, self._scope.deadline))


class CallConformance:
    """Give it a fixture `make_call(behaviour)` that returns a call which behaves like this:

    `answers`: at once, with `{"time": 7}`. `fails`: at once, with status 503. `hangs`: for ever, before the
    first byte of the answer; and the other `PHASES`, where the upstream hangs earlier or later.

    The rest is careless code in the call itself, which hangs until it is cancelled. `swallows` catches its
    cancellation once, and goes on for `IGNORES_FOR_S`. `clean_up_raises` raises a `CleanUpBug`.
    `clean_up_waits` needs `CLEAN_UP_S` to end, whatever cancels it.

    grace_s: how long a cancelled call may go on although its code ignores that.
    slack_s: how long the event loop may wait beyond that. What waits for its upstream never ends, so it may
    be generous. `InVirtualTime` sets it to 0, for there all times are exact.
    """

    grace_s: ClassVar[float] = 0.0
    slack_s: ClassVar[float] = 0.3

    @pytest.fixture
    def make_call(self) -> MakeCall:
        raise NotImplementedError("a subclass gives the fixture make_call")

    @pytest.fixture
    def clock(self) -> Clock | None:
        """Of Trio's run. pytest-trio takes it from the arguments of each test; `None` is the real one."""
        return None

    def alive(self) -> int:
        """How much is alive that a call can leave: Trio tasks and open files. A subclass may add to it."""
        return trio.lowlevel.current_statistics().tasks_living + len(os.listdir("/proc/self/fd"))

    async def cancel(self, call: Call) -> tuple[float, float, CallTimings]:
        """Cancel the call while it hangs. Returns how long it then went on, and how much of that it waited,
        both in seconds, and its timings.

        Fails when it does not say that it was cancelled, or leaves something that it does not name.
        """
        alive, timings = self.alive(), CallTimings("test", 0)
        with nothing_leaked(), trio.move_on_after(CANCEL_AFTER_S) as scope, self.waits(scope) as waits:
            await call(timings)
        went_on_s = round(trio.current_time() - scope.deadline, 6)
        assert scope.cancelled_caught, "it was cancelled, and did not say so"
        await self.check_what_is_left(alive, timings)
        return went_on_s, waits.waited_s if self.slack_s else went_on_s, timings

    @contextmanager
    def waits(self, scope: trio.CancelScope) -> Iterator[Waits]:
        waits = Waits(scope)
        trio.lowlevel.add_instrument(waits)
        try:
            yield waits
        finally:
            trio.lowlevel.remove_instrument(waits)

    async def check_what_is_left(self, alive: int, timings: CallTimings) -> None:
        """alive: how much was, before the call."""
        gives_up_at = trio.current_time() + (SETTLED_WITHIN_S if self.slack_s else 0)
        while self.alive() > alive + len(timings.left):
            assert trio.current_time() < gives_up_at, f"{self.alive()} alive, {alive} before"
            await trio.sleep(0.002)
        await trio.lowlevel.checkpoint()

    async def test_a_good_answer_is_a_success_with_its_bytes(
        self, make_call: MakeCall, clock: Clock | None
    ) -> None:
        call = await make_call("answers")
        assert await call(CallTimings("test", 0)) == Success(b'{"time": 7}')

    async def test_a_bad_answer_is_a_failure_and_no_exception(
        self, make_call: MakeCall, clock: Clock | None
    ) -> None:
        call = await make_call("fails")
        assert await call(CallTimings("test", 0)) == Failure("bad_status", 503)

    async def test_a_call_can_be_made_again(self, make_call: MakeCall, clock: Clock | None) -> None:
        call = await make_call("answers")
        assert [await call(CallTimings("test", 0)) for _ in range(3)] == [Success(b'{"time": 7}')] * 3

    async def test_calls_made_at_once_do_not_mix(self, make_call: MakeCall, clock: Clock | None) -> None:
        call = await make_call("answers")
        outcomes: list[Success | Failure | Cancelled] = []

        async def keep() -> None:
            outcomes.append(await call(CallTimings("test", 0)))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(keep)
        assert outcomes == [Success(b'{"time": 7}')] * 5

    @pytest.mark.parametrize("phase", PHASES)
    async def test_a_call_cancelled_in_any_phase_ends_at_once_and_leaves_nothing(
        self, make_call: MakeCall, clock: Clock | None, phase: str
    ) -> None:
        """It has no timeout of its own and waits for nothing: the scope is the only deadline (G3, G7)."""
        _, waited_s, timings = await self.cancel(await make_call(phase))
        assert waited_s <= self.slack_s
        assert timings.left == ()

    async def test_a_call_in_a_cancelled_scope_never_returns(
        self, make_call: MakeCall, clock: Clock | None
    ) -> None:
        call = await make_call("answers")
        with trio.CancelScope() as scope:
            scope.cancel()
            await call(CallTimings("test", 0))
        assert scope.cancelled_caught

    async def test_a_call_that_swallows_its_cancellation_ends_within_the_grace(
        self, make_call: MakeCall, clock: Clock | None
    ) -> None:
        """Trio cancels again at the next checkpoint. asyncio does not, so the bridge leaves the task."""
        _, waited_s, timings = await self.cancel(await make_call("swallows"))
        assert waited_s <= self.grace_s + self.slack_s
        assert len(timings.left) == (1 if self.grace_s else 0)

    async def test_an_exception_in_clean_up_is_raised_and_not_lost(
        self, make_call: MakeCall, clock: Clock | None
    ) -> None:
        """It is a bug, and outranks the cancellation (G11)."""
        alive, timings = self.alive(), CallTimings("test", 0)
        call = await make_call("clean_up_raises")
        with trio.move_on_after(CANCEL_AFTER_S) as scope, self.waits(scope) as waits:
            with pytest.raises(CleanUpBug):
                await call(timings)
        waited_s = waits.waited_s if self.slack_s else round(trio.current_time() - scope.deadline, 6)
        assert waited_s <= self.slack_s
        await self.check_what_is_left(alive, timings)

    async def test_a_clean_up_that_waits_is_waited_for_or_named(
        self, make_call: MakeCall, clock: Clock | None
    ) -> None:
        """Late, or left behind: there is no third way, and the call reports which one it was."""
        went_on_s, waited_s, timings = await self.cancel(await make_call("clean_up_waits"))
        ends_s = self.grace_s if timings.left else CLEAN_UP_S
        assert went_on_s >= ends_s
        assert waited_s <= ends_s + self.slack_s

    @pytest.mark.parametrize("behaviour", ["answers", "fails"])
    async def test_what_a_call_keeps_for_the_next_one_is_not_its_requests(
        self, make_call: MakeCall, clock: Clock | None, behaviour: str
    ) -> None:
        """G3: a connection that is kept, and what reads it, belong to the service."""
        call = await make_call(behaviour)
        with nothing_leaked():
            await call(CallTimings("test", 0))


@contextmanager
def nothing_leaked() -> Iterator[None]:
    """Checks with the server's own leak check: the block is a request, which has ended after it."""
    leak_check = LeakCheck()
    trio.lowlevel.add_instrument(leak_check)
    try:
        request = leak_check.begin("test")
        yield
        leak_check.end(request)
    finally:
        trio.lowlevel.remove_instrument(leak_check)
    assert leak_check.statistics().leaked_tasks == 0


class InVirtualTime:
    """To be mixed into a suite whose calls use neither sockets nor threads: all its times are exact."""

    slack_s: ClassVar[float] = 0.0

    @pytest.fixture
    def clock(self) -> Clock:
        return MockClock(autojump_threshold=0)
