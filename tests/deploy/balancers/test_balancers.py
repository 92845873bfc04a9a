"""The shipped configurations of nginx, Envoy, Caddy and Traefik. `make balancers` measures what they do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.balancers.shipped import KINDS, why_not
from tests.deploy.fleet import namespace

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def _possible() -> None:
    reason = why_not() or namespace.why_not()
    if reason is not None:
        pytest.skip(reason)


@pytest.mark.same_on_every_python
@pytest.mark.usefixtures("_possible")
def test_each_balancer_accepts_its_file_and_answers_without_replicas() -> None:
    """Those that can do so answer with a problem document and Retry-After."""
    command = [sys.executable, "-m", "tests.deploy.balancers", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    rows = [line.split(" | ")[0].strip("| ") for line in done.stdout.splitlines()[2:]]
    assert rows == list(KINDS), done.stderr
    assert done.returncode == 0, done.stdout
