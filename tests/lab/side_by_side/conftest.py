from __future__ import annotations

import pytest

from fanout.lab.side_by_side import one_moment, tasks
from fanout.lab.side_by_side.cells import Section


@pytest.fixture(scope="session")
def task_rows() -> Section:
    return tasks.section()


@pytest.fixture(scope="session")
def moment_rows() -> Section:
    return one_moment.section()
