"""anyio on asyncio: a shielded scope does not keep `task.cancel()` out.

pip install anyio; python anyio_shield.py
"""

from __future__ import annotations

import asyncio
import sys

import anyio

done = []


async def clean_up():
    with anyio.CancelScope(shield=True):
        done.append("begun")
        await anyio.sleep(0)
        done.append("ended")


async def main():
    with anyio.CancelScope() as scope:  # anyio's own cancellation is kept out
        scope.cancel()
        await clean_up()
    assert done == ["begun", "ended"]
    task = asyncio.create_task(clean_up())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    if done != ["begun", "ended"] * 2:
        sys.exit(f"a scope's cancellation let the shielded clean-up end, task.cancel() did not: {done}")


asyncio.run(main())
