"""G7 behind the bridge: cancelled at any asyncio step, aiohttp loses no slot and leaves no socket or task."""

from __future__ import annotations

import ssl

import pytest

import tests.upstream.bridge  # noqa: F401 - skips this file where there is no bridge
from tests.upstream.asyncio_sweep import AUTHORITY, Found, sweep_client

TLS = pytest.mark.parametrize("tls", [None, AUTHORITY.server], ids=["plain", "tls"])


@pytest.mark.parametrize("is_warm", [False, True], ids=["new", "warm"])
@TLS
async def test_a_cancel_at_any_asyncio_step_loses_nothing(tls: ssl.SSLContext | None, is_warm: bool) -> None:
    found = await sweep_client("aiohttp", tls, is_warm=is_warm)
    assert found.points >= 10
    assert found == Found(found.points)
