"""`make bare`: the wheel in dist/, installed without extras on each supported Python found here, and tried.

It is what `pip install` gives a user today: no lock, no compiler, nothing of this tree. So it also sees a release
of a dependency that is new since the locks were made.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from deploy.packages.build import ROOT, CannotBuild

_WITHIN_S: Final = 30
_PAGES: Final = {
    "api": ["/api/first?timeout=5000", "/docs", "/openapi.json"],
    "admin": ["/live", "/lab", "/metrics"],
}


def supported() -> list[str]:
    """Such as 3.13: what the classifiers of setup.cfg promise, the newest first."""
    found = re.findall(r"Python :: (3\.\d+)$", (ROOT / "setup.cfg").read_text("utf-8"), re.MULTILINE)
    return sorted(found, key=lambda version: int(version[2:]), reverse=True)


def interpreter(version: str) -> str | None:
    """The interpreter of this version on PATH, or one that pyenv has but has not selected."""
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for candidate in (shutil.which(name), *sorted(map(str, pyenv.glob(f"*/bin/{name}")))):
        # A pyenv shim exists for versions that it then does not run, so only running it tells.
        if (
            candidate
            and subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0
        ):
            return candidate
    return None


def try_bare(wheel: Path, versions: list[str] | None = None) -> None:
    """One line per Python. Raises `CannotBuild` at the first on which the wheel does not do, or if there is none."""
    tried = 0
    for version in versions or supported():
        python = interpreter(version)
        if python is None:
            print(f"Python {version}: not on this machine, left out")
            continue
        with tempfile.TemporaryDirectory(prefix="fanout-bare-") as folder:
            _install(wheel, python, Path(folder, "venv"))
            _try(Path(folder), wheel.name.split("-")[1])
        print(f"Python {version}: installed without extras, answered, and stopped", flush=True)
        tried += 1
    if not tried:
        raise CannotBuild(f"no supported Python is on this machine: install one of {', '.join(supported())}")


def _install(wheel: Path, python: str, venv: Path) -> None:
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
        "--python",
        str(venv / "bin/python"),
    ]
    _run([python, "-m", "venv", "--without-pip", str(venv)])
    _run([*pip, "install", "--quiet", "--no-compile", "--only-binary", ":all:", str(wheel)])
    _run([*pip, "check"])


def _try(folder: Path, version: str) -> None:
    """With nothing of the tree within reach: not the folder, not the environment, not the PATH."""
    bare = {
        "PATH": str(folder / "venv/bin"),
        "HOME": str(folder),
        "FANOUT_BIND": "127.0.0.1:0",
        "FANOUT_ADMIN_BIND": "127.0.0.1:0",
    }
    says = _run(["fanout", "--version"], folder, bare)
    imported = _run(["python", "-c", "import fanout; print(fanout.__file__)"], folder, bare)
    if says != f"fanout, version {version}\n" or not imported.startswith(str(folder / "venv")):
        raise CannotBuild(
            f"the installed wheel says {says.strip()!r} and is imported from {imported.strip()}"
        )
    _run(["fanout", "lab", "--breakages"], folder, bare)
    with subprocess.Popen(
        [folder / "venv/bin/fanout", "demo", "--reliable"],
        cwd=folder,
        env=bare,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as demo:
        try:
            assert demo.stdout
            ready = json.loads(demo.stdout.readline() or "{}")
            for url in _urls(ready):
                with urllib.request.urlopen(url, timeout=_WITHIN_S) as answer:
                    answer.read()
            demo.send_signal(signal.SIGTERM)
            code = demo.wait(_WITHIN_S)
        except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
            raise CannotBuild(f"fanout demo of the installed wheel: {error!r}") from None
        finally:
            demo.kill()
    if code:
        raise CannotBuild(f"fanout demo of the installed wheel ended with exit code {code}")


def _urls(ready: dict[str, str]) -> Iterator[str]:
    for listener, pages in _PAGES.items():
        host = re.match(r"https?://[^/]+", ready[listener])
        assert host
        yield from (f"{host[0]}{page}" for page in pages)


def _run(command: list[str], folder: Path | None = None, environment: dict[str, str] | None = None) -> str:
    program = command[0] if environment is None else shutil.which(command[0], path=environment["PATH"])
    done = subprocess.run(
        [program or command[0], *command[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr.splitlines() or done.stdout.splitlines() or [f"exit code {done.returncode}"])[-1]
        raise CannotBuild(f"{' '.join(command[:4])} ...: {said}")
    return done.stdout


def main() -> None:
    wheels = sorted((ROOT / "dist").glob("*.whl"))
    try:
        if not wheels:
            raise CannotBuild("there is no wheel in dist/: make package")
        try_bare(wheels[-1], sys.argv[1:] or None)
    except CannotBuild as error:
        raise SystemExit(f"make bare: {error}") from None


if __name__ == "__main__":
    main()
