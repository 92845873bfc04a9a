"""fanout with calls of an asyncio library, each over the bridge. Everything else is as in `ours.py`.

It runs inside of `open_bridge`, as the server does.
"""

from __future__ import annotations

from fanout.lab.side_by_side.variants.ours import answer_of, as_upstream_call
from fanout.race.verdict import every_success, first_success
from fanout.upstream.asyncio_call import AsyncioCall


async def first(calls, timeout):
    return await answer_of(first_success, map(over_the_bridge, calls), timeout)


async def all_(calls, timeout):
    return await answer_of(every_success, map(over_the_bridge, calls), timeout)


def over_the_bridge(call):
    return AsyncioCall(as_upstream_call(call))
