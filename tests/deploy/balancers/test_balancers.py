"""The shipped configurations of nginx, Envoy, Caddy and Traefik. `make balancers` measures what they do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fanout.config import SETTINGS
from fanout.server.limits import Limits
from tests.deploy.balancers.compare import LAME_DUCK_MS
from tests.deploy.balancers.shipped import KINDS, why_not
from tests.deploy.fleet import namespace

ROOT = Path(__file__).parents[3]
LONGEST = {
    "nginx/nginx.conf": r"proxy_read_timeout (\S+);",
    "envoy/envoy.yaml": r"cluster: fanout\n(?: +#.*\n)* +timeout: (\S+)",
    "caddy/Caddyfile": r"response_header_timeout (\S+)",
    "traefik/fanout.yaml": r"responseHeaderTimeout: (\S+)",
}
IDLE = {
    "nginx/nginx.conf": r"keepalive_timeout (\S+);",
    "envoy/envoy.yaml": r"idle_timeout: (\S+) }",
    "caddy/Caddyfile": r"keepalive (\S+)",
    "traefik/fanout.yaml": r"idleConnTimeout: (\S+)",
}
CHECKS = {  # nginx has none
    "envoy/envoy.yaml": r" interval: (\S+)",
    "caddy/Caddyfile": r"health_interval (\S+)",
    "traefik/fanout.yaml": r" interval: (\S+)",
}


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


def test_the_times_of_the_shipped_files_add_up() -> None:
    """fanout answers before a balancer gives up, a balancer closes an idle connection before fanout, and has
    noticed a shutdown before fanout closes."""
    defaults = {setting.name: setting.default for setting in SETTINGS}
    longest_s = (int(defaults["max_timeout_ms"]) + int(defaults["reserve_ms"])) / 1000
    assert all(seconds(file, pattern) > longest_s for file, pattern in LONGEST.items())
    assert all(seconds(file, pattern) < Limits().idle_timeout_s for file, pattern in IDLE.items())
    # Twice: the machine may be busy.
    assert all(2 * seconds(file, pattern) < LAME_DUCK_MS / 1000 for file, pattern in CHECKS.items())


def seconds(file: str, pattern: str) -> float:
    """The time that stands once in this file."""
    (found,) = re.findall(pattern, (ROOT / "deploy" / file).read_text())
    match = re.fullmatch(r"([\d.]+)(ms|s)", found)
    assert match is not None, found
    return float(match[1]) / (1000 if match[2] == "ms" else 1)
