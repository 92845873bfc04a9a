"""What tests need of a machine beyond Python, and the command that brings it.

A test that lacks something is skipped. At the end of the run one line says how many were, and what to do. The
last line, which is pytest's, names what was left out, so that nobody takes a green run for a whole one.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

# By program, the Debian package it is in.
PACKAGES: Final = {
    "bash": "bash",
    "buildah": "buildah",
    "chromium": "chromium-headless-shell",
    "curl": "curl",
    "fish": "fish",
    "git": "git",
    "go": "golang-go",
    "haproxy": "haproxy",
    "ip": "iproute2",
    "jq": "jq",
    "mmdebstrap": "mmdebstrap",
    "node": "nodejs",
    "podman": "podman",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "runc": "runc",
    "setpriv": "util-linux",
    "systemd-analyze": "systemd",
    "systemd-nspawn": "systemd-container",
    "unshare": "util-linux",
    "zsh": "zsh",
}
# Used instead where it is installed: the same browser without windows takes a third of the processor time.
PREFERRED: Final = {"chromium": "chromium-headless-shell"}
AS_ROOT: Final = "sudo make test"
# No package brings this one, so it is a line of its own.
NO_BRIDGE: Final = "the asyncio bridge's tests, because trio-asyncio cannot be imported on Python 3.14"
HAS_BRIDGE: Final = sys.version_info < (3, 14)
needs_bridge: Final = pytest.mark.skipif(not HAS_BRIDGE, reason=NO_BRIDGE)
_NEEDS: Final = re.compile(r"needs (.+?): (.+)")
_APT: Final = "apt-get install "


def needs(program: str) -> pytest.MarkDecorator:
    """Skip the test on a machine without this program."""
    return pytest.mark.skipif(path_of(program) is None, reason=reason(program))


def path_of(program: str) -> str | None:
    """Where this machine has the program, or the one that is preferred to it. `None` if it has neither."""
    return shutil.which(PREFERRED.get(program, program)) or shutil.which(program)


def reason(what: str, command: str | None = None) -> str:
    """Why a test is skipped. command: what brings it; by default, the installation of a program."""
    return f"needs {what}: {command or _APT + PACKAGES[what]}"


def left_out(reasons: Sequence[str], noted: Path | None = None) -> list[str]:
    """What this machine lacks: what these tests were skipped for, and what earlier parts of a run noted.

    noted: one line for each; this adds its own.
    """
    found = [match[1] for match in map(_NEEDS.search, reasons) if match]
    if noted is not None:
        earlier = noted.read_text("utf-8").splitlines() if noted.exists() else []
        found = [*earlier, *found]
        noted.write_text("".join(f"{each}\n" for each in sorted({*found})), "utf-8")
    return sorted({*found})


def summary(reasons: Sequence[str]) -> list[str]:
    """One line for all that the machine lacks, and one for each other reason why a test was skipped."""
    found = [match for match in map(_NEEDS.search, reasons) if match]
    others = sorted({each for each in reasons if not _NEEDS.search(each)})
    commands = sorted({match[2] for match in found})
    packages = [command.removeprefix(_APT) for command in commands if command.startswith(_APT)]
    to_do = [_APT + " ".join(packages)] if packages else []
    to_do += [command for command in commands if not command.startswith(_APT)]
    lines = [f"skipped: {each}" for each in others]
    if found:
        lacks = ", ".join(sorted({match[1] for match in found}))
        tests = f"{len(found)} tests skipped" if len(found) > 1 else "1 test skipped"
        lines.append(f"{tests}, this machine lacks {lacks}. Run: {'; '.join(to_do)}")
    return lines
