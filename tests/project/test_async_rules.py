"""flake8's rules about structured concurrency are on: a wrong `enable` in setup.cfg would switch them off."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WRONG = {
    "ASYNC102": "    try:\n        await trio.sleep(1)\n    finally:\n        await trio.sleep(1)\n",
    "ASYNC103": "    try:\n        await trio.sleep(1)\n    except:\n        pass\n",
    "ASYNC104": "    try:\n        await trio.sleep(1)\n    except:\n        raise ValueError\n",
    "ASYNC121": "    async with trio.open_nursery():\n        return await trio.sleep(1)\n",
    "ASYNC910": "    print()\n",
}


@pytest.mark.parametrize("code", WRONG)
def test_a_mistake_with_a_cancellation_is_found(code: str, tmp_path: Path) -> None:
    file = tmp_path / "mistake.py"
    file.write_text(f"import trio\n\n\nasync def mistake() -> None:\n{WRONG[code]}")
    command = [sys.executable, "-m", "flake8", "--config", str(ROOT / "setup.cfg"), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert code in done.stdout
    assert done.returncode == 1
