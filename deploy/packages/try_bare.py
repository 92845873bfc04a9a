"""`make bare`: the wheel in dist/, installed without extras on each supported Python found here, and tried.

It is what `pip install` gives a user today: no lock, no compiler, nothing of this tree. So it also sees a new
release of a dependency that the locks do not have yet.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import click

from deploy.packages.build import ROOT, CannotBuild

_WITHIN_S: Final = 30
_PAGES: Final = {
    "api": ("/api/first?timeout=5000", "/docs", "/openapi.json"),
    "admin": ("/live", "/lab", "/metrics"),
}


def supported() -> list[str]:
    """Such as 3.13: what the classifiers of setup.cfg promise, the newest first."""
    found = re.findall(r"Python :: (3\.\d+)$", (ROOT / "setup.cfg").read_text("utf-8"), re.MULTILINE)
    return sorted(found, key=lambda version: int(version[2:]), reverse=True)


def interpreter(version: str) -> str | None:
    """The interpreter of this version on PATH, or one that pyenv has but has not selected."""
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for candidate in (shutil.which(name), *map(str, pyenv.glob(f"*/bin/{name}"))):
        # A pyenv shim may exist for a version that it cannot run, so try it.
        if candidate and subprocess.call([candidate, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            return candidate
    return None


def try_bare(wheel: Path, versions: Sequence[str] = ()) -> None:
    """Raises `CannotBuild` at the first Python on which the wheel fails, or if there is no Python."""
    tried = 0
    for version in versions or supported():
        python = interpreter(version)
        if python is None:
            click.echo(f"Python {version}: not on this machine, left out")
            continue
        with tempfile.TemporaryDirectory(prefix="fanout-bare-") as folder:
            _install(wheel, python, Path(folder, "venv"))
            _try(Path(folder), wheel.name.split("-")[1])
        click.echo(f"Python {version}: installed without extras, answered, and stopped")
        tried += 1
    if not tried:
        raise CannotBuild(f"no such Python is on this machine: install one of {', '.join(supported())}")


def _install(wheel: Path, python: str, venv: Path) -> None:
    _run([python, "-m", "venv", "--without-pip", str(venv)])
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(venv / "bin/python")]
    _run([*pip, "install", "--quiet", "--no-compile", "--only-binary", ":all:", str(wheel)])
    _run([*pip, "check"])


def _try(folder: Path, version: str) -> None:
    """With nothing of the tree within reach: not the folder, not the environment, not the PATH."""
    scripts = folder / "venv/bin"
    bare = {"PATH": str(scripts), "FANOUT_BIND": "127.0.0.1:0", "FANOUT_ADMIN_BIND": "127.0.0.1:0"}
    command = [str(scripts / "fanout")]
    says = _run([*command, "--version"], folder, bare)
    if says != f"fanout, version {version}\n":
        raise CannotBuild(f"the installed wheel is not {version}: it says {says.strip()!r}")
    where = _run([str(scripts / "python"), "-c", "import fanout; print(fanout.__file__)"], folder, bare)
    if not where.startswith(str(folder / "venv")):
        raise CannotBuild(f"fanout is imported from {where.strip()}, not from the wheel")
    _run([*command, "lab", "--breakages"], folder, bare)  # needs files in the package that are not modules
    _answers([*command, "demo", "--reliable"], folder, bare)


def _answers(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    demo = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with demo:
        try:
            assert demo.stdout
            ready = json.loads(demo.stdout.readline())
            for listener, pages in _PAGES.items():
                address = urlsplit(ready[listener]).netloc
                for page in pages:
                    with urlopen(f"http://{address}{page}", timeout=_WITHIN_S) as answer:
                        answer.read()
            demo.terminate()
            code = demo.wait(_WITHIN_S)
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            if isinstance(error, HTTPError):
                error.close()
            raise CannotBuild(f"fanout demo of the installed wheel: {error}") from None
        finally:
            demo.kill()
    if code:
        raise CannotBuild(f"fanout demo of the installed wheel ended with exit code {code}")


def _run(command: list[str], folder: Path | None = None, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.splitlines() or done.stdout.splitlines() or ["it says nothing"]
        raise CannotBuild(f"{Path(command[0]).name} {' '.join(command[1:3])} ... fails: {said[-1]}")
    return done.stdout


def main() -> None:
    """Tries the versions given as arguments; without arguments, all supported ones."""
    wheels = list((ROOT / "dist").glob("*.whl"))
    try:
        if not wheels:
            raise CannotBuild("there is no wheel in dist/: make package")
        try_bare(wheels[0], sys.argv[1:])
    except CannotBuild as error:
        raise SystemExit(f"make bare: {error}") from None


if __name__ == "__main__":
    main()
