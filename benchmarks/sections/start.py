"""What fanout costs before its first request: start, imports, idling, size on disk."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from benchmarks import usage
from benchmarks.contenders import fanout
from benchmarks.programs import HERE, free_port, running, upstream
from benchmarks.section import OTHER_CORE, SERVER_CORE, Found, Settings, rows

NAME = "start"
TITLE = "Start, idling, size"
WHERE = "fanout on core 0"
TRIES = 5
LOOK_S = 0.002


def run(settings: Settings) -> Found:
    with upstream(settings.folder, OTHER_CORE) as (url, what):
        ready_ms = [_ready_ms(url) for _ in range(TRIES)]
        settings.say(f"ready after {min(ready_ms):.0f} ms")
        seconds = settings.seconds(20, 5)
        with running(fanout(settings.folder), url, SERVER_CORE) as program:
            usage.wait_until_quiet(program.pid)
            sleep(1)
            before = usage.cpu_s(program.pid)
            sleep(seconds)
            idle_ms_a_minute = (usage.cpu_s(program.pid) - before) * 1000 * 60 / seconds
            idle_mib = usage.resident_kib(program.pid) / 1024
    import_ms = _took_ms("import fanout.cli") - _took_ms("pass")
    settings.say(f"idle {idle_ms_a_minute:.0f} ms a minute, import {import_ms:.0f} ms; installing")
    return {
        "upstream": what,
        "ready_ms": ready_ms,
        "idle_ms_a_minute": idle_ms_a_minute,
        "idle_seconds": seconds,
        "idle_mib": idle_mib,
        "import_ms": import_ms,
        **_installed(settings.folder / "venv"),
    }


def _ready_ms(upstream_url: str) -> float:
    """From exec to the first 200 of `/readyz`, asked every other millisecond."""
    admin = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "fanout", "serve", "--bind", f"127.0.0.1:{free_port()}"]
    began = monotonic()
    process = subprocess.Popen(
        ["taskset", "-c", str(SERVER_CORE), *command, "--admin-bind", admin, "--upstream", upstream_url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://{admin}/readyz", timeout=1):
                    return (monotonic() - began) * 1000
            except (urllib.error.URLError, OSError):
                sleep(LOOK_S)
        raise RuntimeError(f"fanout ended with {process.returncode}")
    finally:
        process.terminate()
        process.wait()


def _took_ms(code: str) -> float:
    """The best of several new interpreters, pinned."""
    best = float("inf")
    for _ in range(TRIES):
        began = monotonic()
        subprocess.run(["taskset", "-c", str(SERVER_CORE), sys.executable, "-c", code], check=True)
        best = min(best, (monotonic() - began) * 1000)
    return best


def _installed(venv: Path) -> dict[str, Any]:
    """The size of what `pip install .` brings at the locked versions, byte code included, pip left out."""
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin/python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    root = HERE.parent
    for words in (
        ["--require-hashes", "--requirement", str(root / "requirements-build.lock")],
        ["--require-hashes", "--requirement", str(root / "requirements.lock")],
        ["--no-deps", "--no-build-isolation", str(root)],
    ):
        subprocess.run([*pip, *words], check=True, stderr=subprocess.DEVNULL)
    packages = next(venv.glob("lib/python*/site-packages"))
    tools = ("pip", "setuptools", "_distutils_hack", "distutils-precedence", "pkg_resources")
    size = sum(
        path.stat().st_size
        for top in packages.iterdir()
        if not top.name.startswith(tools)
        for path in ([top] if top.is_file() else top.rglob("*"))
        if path.is_file()
    )
    names = [path for path in packages.glob("*.dist-info") if not path.name.startswith(tools)]
    return {"installed_mib": size / 2**20, "distributions": len(names)}


def render(found: Found) -> str:
    ready = sorted(found["ready_ms"])
    return rows(
        ["of fanout", ""],
        [
            [
                f"from exec to the first 200 of `/readyz`, best and median of {len(ready)}",
                f"{ready[0]:,.0f} and {ready[len(ready) // 2]:,.0f} ms",
            ],
            [
                "import: `import fanout.cli` minus an empty interpreter, best of 5 each",
                f"{found['import_ms']:,.0f} ms",
            ],
            [
                f"CPU when idle, measured for {found['idle_seconds']} s",
                f"{found['idle_ms_a_minute']:,.0f} ms per minute",
            ],
            ["resident memory when idle", f"{found['idle_mib']:,.0f} MiB"],
            [
                f"installed: fanout and the {found['distributions'] - 1} distributions it needs, with byte "
                "code, without pip and setuptools",
                f"{found['installed_mib']:,.0f} MiB",
            ],
        ],
    )
