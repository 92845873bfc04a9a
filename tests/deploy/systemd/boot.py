"""`make systemd`: boot `deploy/systemd/fanout@.service` in a container, and do there what an operator does.

The container is Debian 13 with systemd as its first process. fanout is installed there from a wheel, as
docs/deploy.md says. What is done is in `inside.py`. Needs root; nothing of it is left afterwards.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import trustme

import fanout
from fanout.process.exits import FAILED
from tests.lacking import reason
from tests.project.test_packaging import project_files

ROOT: Final = Path(__file__).parents[3]
PROGRAMS: Final = ("mmdebstrap", "systemd-nspawn")
PACKAGES: Final = "systemd,systemd-sysv,dbus,python3,python3-venv,ca-certificates"
PYTHON: Final = "3.13"  # of Debian 13
WITHIN_S: Final = 400
UPSTREAM: Final = "http://127.0.0.1:9000/api/work?fault=none"
OF_ALL: Final = {"FANOUT_UPSTREAMS": UPSTREAM, "FANOUT_LOG_REQUESTS": "failed"}
INSTANCES: Final = {
    "one": {"FANOUT_BIND": "127.0.0.1:8001", "FANOUT_ADMIN_BIND": "127.0.0.1:8002"},
    "two": {"FANOUT_BIND": "127.0.0.1:8011", "FANOUT_ADMIN_BIND": "127.0.0.1:8012", "FANOUT_WORKERS": "2"},
    "tls": {
        "FANOUT_BIND": "127.0.0.1:8021",
        "FANOUT_ADMIN_BIND": "127.0.0.1:8022",
        "FANOUT_UPSTREAMS": f"{UPSTREAM}&delay_ms=4000",
    },
    "wrong": {"FANOUT_MAX_IN_FLIGHT": "many"},
}
CREDENTIALS: Final = """\
[Service]
LoadCredential=tls.crt:/etc/fanout/tls.crt
LoadCredential=tls.key:/etc/fanout/tls.key
Environment=FANOUT_TLS_CERT=%d/tls.crt FANOUT_TLS_KEY=%d/tls.key
TimeoutStopSec=1s
"""
SIMULATOR: Final = """\
[Service]
ExecStart=/opt/fanout/current/bin/fanout upstream --reliable --bind 127.0.0.1:9000
DynamicUser=yes
"""
TRIAL: Final = """\
[Unit]
Requires=upstream.service
After=upstream.service multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'python3 /trial/inside.py ARGUMENTS >/trial/said 2>&1; echo $? >/trial/code'
ExecStartPost=/bin/sh -c 'journalctl --no-pager >/trial/journal'
ExecStopPost=systemctl poweroff --no-block
"""
# Imported by Python when it starts: a signal blocks the thread of the event loop, as a bug would.
BLOCKS_AT_SIGUSR1: Final = "import signal, time\nsignal.signal(signal.SIGUSR1, lambda *_: time.sleep(600))\n"


def lacks() -> str | None:
    """Why the container cannot run here, in one line."""
    if os.geteuid() != 0:
        return reason("root", "sudo make systemd")
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    return reason(missing[0]) if missing else None


def make_root(root: Path, base: Path | None) -> None:
    """A Debian with fanout installed. base: an archive of one with `PACKAGES`, to save the download."""
    if base is None:
        options = ["--variant=minbase", f"--include={PACKAGES}", "--skip=output/dev"]
        run("mmdebstrap", "--quiet", *options, "trixie", str(root))
    else:
        root.mkdir()
        run("tar", "--extract", "--file", str(base), "--directory", str(root), "--exclude=./dev/*")
    wheels = root / "wheels"
    pip = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check"]
    locked = ["--require-hashes", "--requirement", "requirements.lock"]
    for_debian = ["--python-version", PYTHON, "--only-binary=:all:", "--no-deps"]
    run(*pip, "download", *for_debian, *locked, "--dest", str(wheels))
    build_wheel(pip, wheels)
    shutil.copy(ROOT / "requirements.lock", wheels)
    folder = f"/opt/fanout/{fanout.__version__}"
    there = ["chroot", str(root), f"{folder}/bin/pip", "--isolated", "--quiet", "install"]
    there += ["--no-index", "--find-links=/wheels"]
    run("chroot", str(root), "python3", "-m", "venv", folder)
    run(*there, "--require-hashes", "--requirement", "/wheels/requirements.lock")
    run(*there, "--no-deps", "fanout-server")
    (root / "opt/fanout/current").symlink_to(fanout.__version__)
    make_next_version(root / "opt/fanout", fanout.__version__)
    site_packages = root / f"{folder[1:]}/lib/python{PYTHON}/site-packages"
    (site_packages / "blocks_at_sigusr1.py").write_text(BLOCKS_AT_SIGUSR1)
    (site_packages / "blocks_at_sigusr1.pth").write_text("import blocks_at_sigusr1\n")


def make_next_version(folder: Path, version: str) -> None:
    """The same installation once more, under another name."""
    shutil.copytree(folder / version, folder / "next", symlinks=True)
    command = folder / "next/bin/fanout"
    command.write_text(command.read_text().replace(f"/opt/fanout/{version}/", "/opt/fanout/next/"))


def build_wheel(pip: Sequence[str], folder: Path) -> None:
    """From a copy, because setuptools leaves files where it builds."""
    with tempfile.TemporaryDirectory() as source:
        for path in project_files():
            copy = Path(source) / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
        run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), source)


def configure(root: Path, *, is_short: bool) -> None:
    units, settings, trial = root / "etc/systemd/system", root / "etc/fanout", root / "trial"
    shutil.copy(ROOT / "deploy/systemd/fanout@.service", units)
    settings.mkdir()
    for name, values in INSTANCES.items():
        lines = [f"{variable}={value}\n" for variable, value in (OF_ALL | values).items()]
        (settings / f"{name}.env").write_text("".join(lines))
        (settings / f"{name}.env").chmod(0o600)
    drop_ins = units / "fanout@tls.service.d"
    drop_ins.mkdir()
    (drop_ins / "tls.conf").write_text(CREDENTIALS)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(settings / "ca.pem")
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(settings / "tls.key")
    (settings / "tls.key").chmod(0o600)
    for part in certificate.cert_chain_pems:
        part.write_to_path(settings / "tls.crt", append=True)
    trial.mkdir()
    shutil.copy(Path(__file__).with_name("inside.py"), trial)
    (units / "upstream.service").write_text(SIMULATOR)
    (units / "trial.service").write_text(TRIAL.replace("ARGUMENTS", "--short" if is_short else ""))
    wanted = units / "multi-user.target.wants"
    wanted.mkdir(exist_ok=True)
    (wanted / "trial.service").symlink_to("../trial.service")


def boot(root: Path) -> int:
    """Run the machine until it powers off. Returns the exit code of the trial; its report is on stdout."""
    command = ["systemd-nspawn", "--quiet", "--boot", "--private-network", "--register=no", "--console=pipe"]
    command += [f"--directory={root}", f"--machine=fanout-{os.getpid()}"]
    if not Path("/run/systemd/system").exists():  # no systemd here, which would make a scope for it
        command.append("--keep-unit")
    # Debian 13's systemd needs the second hierarchy of control groups, whatever this machine runs on.
    environment = {**os.environ, "UNIFIED_CGROUP_HIERARCHY": "1"}
    console = root / "trial/console"
    with (
        console.open("wb") as output,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
        ) as machine,
    ):
        try:
            machine.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            sys.stderr.write(f"the container did not end within {WITHIN_S} s\n")
        finally:
            machine.terminate()
            machine.wait()
            remove_control_groups()
    said, code = root / "trial/said", root / "trial/code"
    if not code.exists():
        sys.stderr.write(console.read_text(errors="replace"))
        return FAILED
    sys.stdout.write(said.read_text())
    if code.read_text() != "0\n":
        sys.stderr.write((root / "trial/journal").read_text(errors="replace"))
    return int(code.read_text())


def remove_control_groups() -> None:
    """What systemd-nspawn leaves behind where no systemd removes it."""
    for name in ("payload", "supervisor"):
        for top in Path("/sys/fs/cgroup").glob(f"*/{name}"):
            folders = [Path(folder) for folder, _, _ in os.walk(top, topdown=False)]
            for folder in folders:
                with suppress(OSError):  # of another container that runs
                    folder.rmdir()


def run(*command: str) -> None:
    subprocess.run(command, cwd=ROOT, check=True)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, help=f"an archive of Debian 13 with {PACKAGES}")
    parser.add_argument("--short", action="store_true", help="start, stop under load, and a wrong setting")
    parser.add_argument("--keep", type=Path, help="keep the container's root in this new folder")
    options = parser.parse_args(arguments)
    lacking = lacks()
    if lacking is not None:
        sys.stdout.write(f"skipped: {lacking}\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="fanout-systemd-") as scratch:
        root = options.keep or Path(scratch) / "root"
        try:
            make_root(root, options.base)
        except subprocess.CalledProcessError as error:
            sys.stderr.write(f"{' '.join(error.cmd)}: exit code {error.returncode}\n")
            return FAILED
        configure(root, is_short=options.short)
        return boot(root)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
