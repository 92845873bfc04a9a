"""HAProxy with the configuration that we ship, or with one line of it changed."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.deploy.fleet.fleet import Balancer

SHIPPED: Final = Path(__file__).parents[3] / "deploy/haproxy/haproxy.cfg"

# What a scenario changes: the line as it stands in the shipped file, and the line in its place.
Change = tuple[str, str]


def changed(*changes: Change) -> str:
    """The shipped configuration with these lines changed. Each of them has to stand there exactly once."""
    lines = SHIPPED.read_text().splitlines()
    for old, new in changes:
        found = [number for number, line in enumerate(lines) if line.strip() == old]
        assert len(found) == 1, f"{old!r} stands {len(found)} times in {SHIPPED}"
        lines[found[0]] = new
    return "\n".join([*lines, ""])


def haproxy(*changes: Change) -> Balancer:
    """Enter it to start it. Raises `RuntimeError` when HAProxy rejects the configuration."""
    folder = Path(tempfile.mkdtemp())
    file = folder / "haproxy.cfg"
    file.write_text(changed(*changes))
    check = subprocess.run(["haproxy", "-c", "-f", file], capture_output=True, text=True, check=False)
    if check.returncode or "WARNING" in check.stderr:
        raise RuntimeError(f"HAProxy rejects the configuration: {check.stderr}")
    return Balancer(["haproxy", "-db", "-f", str(file)], folder / "log")
