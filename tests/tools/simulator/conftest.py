from __future__ import annotations

import pytest

from tests.tools.simulator.wire_client import Tls


@pytest.fixture(scope="session")
def tls() -> Tls:
    return Tls()
