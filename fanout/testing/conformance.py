"""What every upstream call must do. The scripted call and the real one pass the same suite, so the script
can be trusted.

Subclass `CallConformance` in a test module and give it a `make_call` fixture.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from fanout.race.outcome import Failure, Success
from fanout.race.race import Call
from fanout.race.timings import CallTimings

MakeCall = Callable[[str], Awaitable[Call]]
PROMPTLY_S = 0.5  # generous on a busy machine; a call that waits for its upstream takes for ever


class CallConformance:
    """Give it a fixture `make_call(behaviour)` that returns a call whose upstream behaves like this:

    `answers`: at once, with `{"time": 7}`. `fails`: at once, with status 503. `hangs`: for ever.
    """

    @pytest.fixture
    def make_call(self) -> MakeCall:
        raise NotImplementedError("a subclass gives the fixture make_call")

    async def test_a_good_answer_is_a_success_with_its_bytes(self, make_call: MakeCall) -> None:
        call = await make_call("answers")
        assert await call(CallTimings("test", 0)) == Success(b'{"time": 7}')

    async def test_a_bad_answer_is_a_failure_and_no_exception(self, make_call: MakeCall) -> None:
        call = await make_call("fails")
        assert await call(CallTimings("test", 0)) == Failure("bad_status", 503)

    async def test_a_call_can_be_made_again(self, make_call: MakeCall) -> None:
        call = await make_call("answers")
        assert [await call(CallTimings("test", 0)) for _ in range(3)] == [Success(b'{"time": 7}')] * 3

    async def test_calls_made_at_once_do_not_mix(self, make_call: MakeCall) -> None:
        call = await make_call("answers")
        outcomes: list[Success | Failure] = []

        async def keep() -> None:
            outcomes.append(await call(CallTimings("test", 0)))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(keep)
        assert outcomes == [Success(b'{"time": 7}')] * 5

    async def test_a_cancelled_call_ends_promptly_and_says_cancelled(self, make_call: MakeCall) -> None:
        """It takes no timeout of its own and waits for nobody: the scope is the only deadline."""
        call = await make_call("hangs")
        with trio.fail_after(PROMPTLY_S), trio.move_on_after(0.05) as scope:
            await call(CallTimings("test", 0))
        assert scope.cancelled_caught

    async def test_a_call_in_a_cancelled_scope_never_returns(self, make_call: MakeCall) -> None:
        call = await make_call("answers")
        with trio.CancelScope() as scope:
            scope.cancel()
            await call(CallTimings("test", 0))
        assert scope.cancelled_caught

    async def test_a_cancelled_call_leaves_no_task(self, make_call: MakeCall) -> None:
        call = await make_call("hangs")
        before = trio.lowlevel.current_statistics().tasks_living
        with trio.move_on_after(0.05):
            await call(CallTimings("test", 0))
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert trio.lowlevel.current_statistics().tasks_living <= before
