"""HAProxy before three replicas: the short form of `make fleet`, and the times in the shipped file."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from fanout.config import SETTINGS
from tests.deploy.fleet.haproxy import SHIPPED, haproxy
from tests.deploy.fleet.namespace import why_not
from tests.deploy.fleet.scenarios import IN_SHORT, LAME_DUCK_MS
from tests.lacking import needs

ROOT = Path(__file__).parents[3]
RUN = [sys.executable, "-m", "tests.deploy.fleet", "--short"]


@pytest.fixture
def possible() -> None:
    reason = why_not("haproxy")
    if reason is not None:
        pytest.skip(reason)


@pytest.mark.long
@pytest.mark.same_on_every_python
@pytest.mark.timeout(120)
@pytest.mark.usefixtures("possible")
def test_no_client_is_lost_that_a_balancer_can_keep() -> None:
    """G6 and G9 through HAProxy: disconnects arrive, and only what a killed replica had in flight is lost."""
    done = subprocess.run([*RUN, "--json"], cwd=ROOT, capture_output=True, text=True, check=False)
    rows = json.loads(done.stdout)
    assert [row for row in rows if row["holds"] is not True] == []
    assert {row["scenario"] for row in rows} == set(IN_SHORT)
    assert done.returncode == 0


@pytest.mark.same_on_every_python
@pytest.mark.usefixtures("possible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_a_run_that_a_signal_ends(number: signal.Signals, tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": f"{tmp_path}"}  # its files outlive SIGKILL
    with subprocess.Popen(RUN, cwd=ROOT, stderr=subprocess.PIPE, env=environment) as run:
        assert run.stderr is not None
        assert b"a fleet starts" in run.stderr.readline()
        pids = descendants(run.pid)
        assert len(pids) >= 2  # `unshare`, and what runs inside
        run.send_signal(number)
        assert run.wait(30) == (-number if number == signal.SIGKILL else 1)
    give_up_at = time.monotonic() + 10
    while any(map(is_running, pids)) and time.monotonic() < give_up_at:
        time.sleep(0.01)
    assert [pid for pid in pids if is_running(pid)] == []


@needs("haproxy")
def test_haproxy_accepts_the_shipped_file_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    haproxy()
    with pytest.raises(RuntimeError, match="rejects the configuration"):
        haproxy(("mode http", "mode none"))
    with pytest.raises(RuntimeError, match="WARNING"):
        haproxy(("timeout client 31s", ""))


def test_the_times_of_the_shipped_file_add_up() -> None:
    """fanout answers before HAProxy gives up, and HAProxy has noticed a shutdown before fanout closes."""
    text = SHIPPED.read_text()
    defaults = {setting.name: setting.default for setting in SETTINGS}
    longest_ms = int(defaults["max_timeout_ms"]) + int(defaults["reserve_ms"])
    for side in ("server", "client"):
        assert in_ms(text, rf"timeout {side} (\S+)") > longest_ms
    noticed_ms = in_ms(text, r" inter (\S+)") + in_ms(text, r" fastinter (\S+)")
    assert " fall 2 " in text
    assert 2 * noticed_ms < LAME_DUCK_MS  # twice: the machine may be busy


def in_ms(text: str, pattern: str) -> int:
    (found,) = re.findall(pattern, text)
    match = re.fullmatch(r"(\d+)(ms|s)", found)
    assert match is not None
    return int(match[1]) * (1000 if match[2] == "s" else 1)


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [each for child in map(int, children) for each in (child, *descendants(child))]


def is_running(pid: int) -> bool:
    """A zombie is not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
