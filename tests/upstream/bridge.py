"""Imported by a test file: skips it as a whole where there is no asyncio bridge."""

from __future__ import annotations

import pytest

from tests.lacking import HAS_BRIDGE, NO_BRIDGE

if not HAS_BRIDGE:
    pytest.skip(NO_BRIDGE, allow_module_level=True)
