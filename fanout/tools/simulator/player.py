"""Plays a script on a stream.

Rule 1: a write waits as long as the client does not read. Whoever plays is cancelled when the client leaves.
"""

from __future__ import annotations

from typing import Final, assert_never

import trio

from fanout.tools.simulator.script import (
    Answered,
    Close,
    Cut,
    Drip,
    Ending,
    Flood,
    Hang,
    Pause,
    Reset,
    Script,
    Send,
)
from fanout.tools.simulator.wire import Stream
from fanout.tools.simulator.witness import CallRecord, Witness

MAX_FLOOD_BYTES: Final = 64 * 1024 * 1024  # a flood that someone reads to its end must end


async def play(script: Script, stream: Stream, witness: Witness, record: CallRecord | None) -> Ending | None:
    """Play the script; of a call, after its delay, and with its witness told.

    Returns how the connection is to end, or `None` if it goes on. A call whose script says no
    `Answered` is still open then. Raises `trio.BrokenResourceError` if the client is gone.
    """
    await trio.sleep(0 if record is None else record.delay_ms / 1000)
    if record is not None:
        record.status = script.status
    for step in script.steps:
        match step:
            case Send(data):
                await stream.send_all(data)
            case Answered():
                if record is not None and record.end == "open":  # else the client left during the write
                    witness.answered(record)
            case Drip(data, over_ms):
                await _drip(stream, data, over_ms)
            case Flood(data):
                await _flood(stream, data)
            case Pause(ms):
                await trio.sleep(ms / 1000)
            case Hang():
                await trio.sleep_forever()
            case Close() | Cut() | Reset():
                return step
            case _:
                assert_never(step)
    return None


async def _drip(stream: Stream, data: bytes, over_ms: int) -> None:
    await trio.lowlevel.checkpoint()
    start = trio.current_time()
    for place in range(len(data)):
        await trio.sleep_until(start + over_ms / 1000 * (place + 1) / len(data))
        await stream.send_all(data[place : place + 1])


async def _flood(stream: Stream, data: bytes) -> None:
    for _ in range(MAX_FLOOD_BYTES // len(data)):
        await stream.send_all(data)
    await trio.sleep_forever()
