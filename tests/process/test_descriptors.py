"""The kernel's table of descriptors, which must not grow in the middle of a rush. Linux tells its size."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fanout.config import load
from fanout.testing import running

NEEDED = load({}, {}).settings.descriptors_needed


@pytest.mark.parametrize("workers", [1, 2])
def test_whoever_serves_has_room_for_every_descriptor_from_the_start(workers: int) -> None:
    arguments = ["--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0", "--workers", str(workers)]
    with running("serve", *arguments) as program:
        parent = program.process.pid
        started = Path(f"/proc/{parent}/task").glob("*/children")  # by any of its threads
        children = [pid for found in started for pid in found.read_text().split()]
        serving = children if workers > 1 else [str(parent)]
        assert len(serving) == workers
        for pid in serving:
            size = re.search(r"^FDSize:\s+(\d+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
            assert size is not None
            assert int(size[1]) > NEEDED
