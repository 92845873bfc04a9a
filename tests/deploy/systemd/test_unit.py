"""The unit file for systemd, held to systemd's own tools and to the code. `make systemd` boots it."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from fanout.config import SETTINGS, load
from fanout.observe.log_writer import LAST_LINES_S
from fanout.process.descriptors import MAX_CONNECTIONS
from fanout.process.exits import REFUSED, SIGNALLED
from fanout.process.sd_notify import EXIT_S
from fanout.process.service import longest_shutdown_s
from fanout.process.workers import STUCK_MARGIN_S
from tests.lacking import reason

ROOT = Path(__file__).parents[3]
UNIT = ROOT / "deploy/systemd/fanout@.service"
TEXT = UNIT.read_text()
ASSIGNMENTS = [line.partition("=")[::2] for line in TEXT.splitlines() if re.match(r"[A-Z]\w+=", line)]
PROGRAM = "/opt/fanout/current/bin/fanout"
OLDEST_SYSTEMD = 252
LARGEST_EXPOSURE = 2.0  # of 10; what systemd calls OK goes up to 4


def systemd_version() -> int:
    if shutil.which("systemd-analyze") is None:
        return 0
    said = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.split()[1])


needs_systemd = pytest.mark.skipif(
    systemd_version() < OLDEST_SYSTEMD, reason=reason(f"systemd {OLDEST_SYSTEMD}", "apt-get install systemd")
)


def value(key: str) -> str:
    (found,) = (value for name, value in ASSIGNMENTS if name == key)
    return found


def seconds(key: str) -> int:
    return int(value(key).removesuffix("s"))


def environment() -> dict[str, str]:
    return dict(value.split("=") for name, value in ASSIGNMENTS if name == "Environment")


def analyze(folder: Path, text: str, *command: str) -> subprocess.CompletedProcess[str]:
    """`systemd-analyze COMMAND` of the unit with this text, and with a program that exists."""
    unit = folder / UNIT.name
    unit.write_text(text.replace(PROGRAM, "/bin/true"))
    return subprocess.run(
        ["systemd-analyze", *command, str(unit)], capture_output=True, text=True, timeout=30, check=False
    )


@needs_systemd
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    assert value("ExecStart") == f"{PROGRAM} serve"
    done = analyze(tmp_path, TEXT, "verify")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
@pytest.mark.parametrize(
    "line", ["WatchDogSec=10s", "TimeoutStopSec=soon", "SystemCallFilter=@no-such-group"]
)
def test_systemd_says_so_if_it_does_not_understand_one(tmp_path: Path, line: str) -> None:
    done = analyze(tmp_path, TEXT.replace("[Install]", f"{line}\n[Install]"), "verify")
    assert line.partition("=")[0] in done.stderr or line.partition("=")[2] in done.stderr, done


@needs_systemd
@pytest.mark.parametrize("without", ["", "DynamicUser=yes", "CapabilityBoundingSet="])
def test_systemd_finds_it_well_protected(tmp_path: Path, without: str) -> None:
    text = TEXT.replace(f"{without}\n", "", 1) if without else TEXT
    threshold = f"--threshold={int(LARGEST_EXPOSURE * 10)}"
    done = analyze(tmp_path, text, "security", "--offline=true", threshold, "--no-pager")
    (exposure,) = re.findall(r"exposure level for \S+: ([\d.]+)", done.stdout)
    is_good = float(exposure) <= LARGEST_EXPOSURE
    assert done.returncode == (0 if is_good else 1)
    assert is_good == (without == ""), f"{exposure} without {without}"


def test_it_waits_for_the_longest_graceful_shutdown() -> None:
    """With the settings that it has by default; for others, fanout asks for more."""
    settings = load(environment(), {}).settings
    assert settings.lame_duck_ms == 2000
    assert seconds("TimeoutStopSec") >= longest_shutdown_s(settings) + STUCK_MARGIN_S + EXIT_S
    assert longest_shutdown_s(settings) + STUCK_MARGIN_S + LAST_LINES_S == (
        (settings.lame_duck_ms + settings.max_timeout_ms) / 1000 + 4
    ), "the comment says 4 s"


def test_its_exit_codes_are_ours() -> None:
    assert value("RestartPreventExitStatus") == str(REFUSED)
    assert value("SuccessExitStatus") == str(SIGNALLED + signal.SIGTERM)


def test_it_allows_as_many_open_files_as_its_comment_says() -> None:
    most, calls = re.findall(r"enough for ([\d,]+) in flight with (\d+) calls each", TEXT)[0]
    upstreams = ",".join(f"http://h{index}/" for index in range(int(calls)))
    settings = load(
        {"FANOUT_MAX_IN_FLIGHT": most.replace(",", ""), "FANOUT_UPSTREAMS": upstreams}, {}
    ).settings
    _, hard = value("LimitNOFILE").split(":")
    assert settings.descriptors_needed + MAX_CONNECTIONS <= int(hard)
    assert f"and {MAX_CONNECTIONS:,} for idle clients" in TEXT


def test_every_setting_that_it_names_exists() -> None:
    named = set(re.findall(r"FANOUT_\w+", TEXT))
    assert len(named) >= 4
    assert named <= {setting.variable for setting in SETTINGS}


def test_its_watchdog_is_fed_as_often_as_its_comment_says() -> None:
    assert (
        f"reports every {seconds('WatchdogSec') // 2} s. One that is silent for {seconds('WatchdogSec')}"
        in TEXT
    )


def test_every_alert_that_it_names_exists() -> None:
    rules = (ROOT / "deploy/observability/rules/fanout.yml").read_text()
    named = set(re.findall(r"\bFanout[A-Z]\w+", TEXT))
    assert named
    assert all(f"alert: {name}\n" in rules for name in named)


def test_every_line_is_short_and_no_setting_is_there_twice() -> None:
    assert max(map(len, TEXT.splitlines())) <= 120
    names = [name for name, _ in ASSIGNMENTS if name not in ("Environment", "SystemCallFilter")]
    assert len(names) == len(set(names))
