"""One exchange over one wire: whatever the wire does, the error says so in httpx's words and the wire's."""

from __future__ import annotations

import httpx
import pytest

from fanout.upstream.pool import PooledConnection
from tests.upstream.raw_server import answer
from tests.upstream.scripted_wire import Script, ScriptedWire, World

OK = answer(b"{}")
RESET = ConnectionResetError(104, "reset by peer")


@pytest.mark.parametrize(
    ("unasked", "script"),
    [((RESET,), ()), ((), (RESET,)), ((), (OK[:20], RESET))],
    ids=["before the request", "before the answer", "in the middle of the answer"],
)
async def test_a_reset_is_a_read_error_that_says_what_happened(unasked: Script, script: Script) -> None:
    """A new connection may be reset even before anything was sent on it."""
    world = World(ScriptedWire(script, unasked=unasked))
    with pytest.raises(httpx.ReadError, match="reset by peer") as caught:
        await world.get()
    assert caught.value.__cause__ is RESET
    assert (world.origin.open, world.origin.closed["broken"]) == (0, 1)


def test_a_connection_without_a_wire_is_not_quiet() -> None:
    """It cannot be handed out as an idle one."""
    assert PooledConnection().is_reusable() is False
