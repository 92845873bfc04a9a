"""The console blocks of the documents, run in order, in one shell, in a copy of the project.

    python -m tests.project.consoles --long docs/guarantees.md    the long forms, too

In a block, `$ COMMAND` is a command and the lines below it are its output: numbers, ids and dates may
differ, and a line `...` stands for any lines. A comment behind a command says what it takes:

    $ make sweep     # 3 minutes; in short: make sweep ARGS=...      what the suite runs instead
    $ make bench     # 40 minutes                                    only `--long` runs it
    $ make chaos     # needs root                                    nothing runs it
    $ go run x.go    # needs go                                      run where it is

A block of code behind "Save this as `NAME`" becomes that file. A server runs on beside the commands
after it, as in a terminal of its own, until `<!-- Ctrl-C -->` in the document. All of it runs in a
network namespace, where every port is free.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Final

import click

ROOT: Final = Path(__file__).parents[2]
DOCUMENTS: Final = [
    path
    for path in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
    if "```console\n" in path.read_text("utf-8")
]
NAMESPACE: Final = ("unshare", "--net", "--map-root-user")
TRIES: Final = 8  # the simulated upstream fails one call in ten, and either call may win
READY_S: Final = 30.0
STOPPED_S: Final = 10.0
_PARTS: Final = re.compile(
    r"^ *```console\n(.*?)^ *```$|<!-- (Ctrl-C) -->|[Ss]ave this as `(\w+\.\w+)`[^`]*```\w+\n(.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_NOTE: Final = re.compile(r"^(.*?)\s+# (.*)$")
_LONG: Final = re.compile(r"(?:\d+ s|(?:\d+|some) minutes?)\b")
_SERVER: Final = re.compile(
    r"^(?:\w+=\S* |\S*/)*"
    r"(?:make run|fanout (?:demo|serve|upstream)|prometheus|"
    r"python (?:\w+\.py serve|examples/\w+\.py|-m examples\.\w+ (?:demo|serve)))\b"
)
_IS_READY: Final = re.compile(r"\bready\b", re.IGNORECASE)
_LOOPBACK_UP: Final = (
    "import fcntl, socket, struct; "
    "fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh22x', b'lo', 1))"  # SIOCSIFFLAGS, IFF_UP
)


class WrongConsole(AssertionError):
    """A console block does not do what the document shows."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a document. note: its comment. shown: its output there, line by line."""

    text: str
    note: str
    shown: tuple[str, ...]

    @property
    def is_server(self) -> bool:
        return _SERVER.search(self.text) is not None

    @property
    def needs(self) -> str | None:
        """A program, or a library of Python; or what no test has, such as `root` or `a cluster`."""
        found = re.match(r"needs (an? \w+|\w+)", self.note)
        return found[1] if found else None

    @property
    def lacks(self) -> bool:
        return self.needs is not None and shutil.which(self.needs) is None and find_spec(self.needs) is None

    @property
    def is_long(self) -> bool:
        return _LONG.match(self.note) is not None

    @property
    def short(self) -> str | None:
        """What to run where there is no time for the command itself."""
        return self.note.partition("in short: ")[2] or None if self.is_long else self.text


@dataclass(frozen=True, slots=True)
class Saved:
    """A file that the reader saves."""

    name: str
    text: str


class Interrupt:
    """The reader ends all servers with Ctrl-C."""


def steps_in(document: str) -> Iterator[Command | Saved | Interrupt]:
    """What the reader does, in order."""
    for block, interrupt, name, text in _PARTS.findall(document):
        if interrupt:
            yield Interrupt()
        if name:
            yield Saved(name, text)
        for part in re.split(r"^ *\$ ", block, flags=re.MULTILINE)[1:]:
            line, *shown = part.rstrip("\n").split("\n")
            while line.endswith("\\") or _opens_a_heredoc(line, shown):
                line = f"{line}\n{shown.pop(0).removeprefix('> ')}"
            noted = _NOTE.match(line) if "\n" not in line else None
            yield Command(noted[1], noted[2], tuple(shown)) if noted else Command(line, "", tuple(shown))


def _opens_a_heredoc(line: str, rest: Sequence[str]) -> bool:
    found = re.search(r"<<'?(\w+)'?", line)
    return bool(rest and found and found[1] not in line.split("\n")[1:])


def differs(shown: Sequence[str], printed: str) -> bool:
    """Whether a command has printed something else than the document shows."""
    expected = "".join(
        r"(?:.*\n)*?" if line.strip() == "..." else re.escape(_masked(line)) + "\n" for line in shown
    )
    lines = [_masked(line) for line in printed.splitlines()]
    return bool(shown) and re.fullmatch(expected, "".join(f"{line}\n" for line in lines)) is None


def _masked(line: str) -> str:
    """A line without what is different in every run. Runs of blanks are one: columns follow their values."""
    line = re.sub(r"\b[0-9a-f]{8}-[0-9a-f]+\b", "ID", line.strip())
    line = re.sub(r"\b[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [\d:]{8} GMT", "DATE", line)
    line = re.sub(r"\d[\d,]*(?:\.\d+)?", "N", line)
    return re.sub(r"\s+", " ", line)


class Shell:
    """One shell in a folder, and the servers that it has started."""

    def __init__(self, folder: Path) -> None:
        venv = Path(sys.executable).parent
        # As after a login: without what an active virtual environment has put there.
        path = [each for each in os.environ["PATH"].split(os.pathsep) if Path(each) != venv]
        keep = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("FANOUT_", "OTEL_", "MAKE"))
        }
        keep.pop("VIRTUAL_ENV", None)
        self._logs = Path(tempfile.mkdtemp(prefix="console-"))
        (self._logs / ".curlrc").write_text("no-progress-meter\n")  # as on a terminal
        self._servers: list[tuple[int, Path]] = []
        self._count = 0
        self._process = subprocess.Popen(
            [*NAMESPACE, "bash", "--norc", "--noprofile"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it reports each job that was ended
            text=True,
            cwd=folder,
            env={**keep, "PATH": os.pathsep.join(path), "CURL_HOME": str(self._logs)},
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin: IO[str] = self._process.stdin
        self._stdout: IO[str] = self._process.stdout
        # A job of its own for each server, so that Ctrl-C reaches it and it alone.
        self._say(f'set -m; "{sys.executable}" -c "{_LOOPBACK_UP}"; echo $?')
        if self._stdout.readline() != "0\n":
            raise WrongConsole("no network namespace here")

    def run(self, text: str) -> tuple[int, str]:
        """The exit code of a command, and what it has printed."""
        log = self._log(text)
        self._say(f'eval "$(cat "{log}.command")" >"{log}" 2>&1 </dev/null; echo $?')
        code = self._stdout.readline()
        return int(code or -1), log.read_text("utf-8", "replace")

    def start(self, text: str) -> str:
        """Start a server and wait until it is ready. Returns what it has printed."""
        log = self._log(text)
        self._say(f'eval "$(cat "{log}.command")" >"{log}" 2>&1 </dev/null & echo $!')
        pid = int(self._stdout.readline())
        self._servers.append((pid, log))
        ends_at = time.monotonic() + READY_S
        while True:
            is_alive, printed = _is_alive(pid), log.read_text("utf-8", "replace")
            if is_alive and _IS_READY.search(printed):
                return printed
            if not is_alive or time.monotonic() > ends_at:
                raise WrongConsole(f"$ {text}\ndid not become ready:\n{printed}")
            time.sleep(0.02)

    def interrupt(self) -> None:
        """Ctrl-C in the terminal of each server, the last first; each has to end."""
        while self._servers:
            pid, log = self._servers.pop()
            if not _is_alive(pid):
                continue
            os.killpg(pid, signal.SIGINT)
            ends_at = time.monotonic() + STOPPED_S
            while _is_alive(pid):
                if time.monotonic() > ends_at:
                    os.killpg(pid, signal.SIGKILL)
                    raise WrongConsole(f"does not end on Ctrl-C:\n{log.read_text('utf-8', 'replace')}")
                time.sleep(0.02)

    def close(self) -> None:
        try:
            self.interrupt()
        finally:
            self._stdin.close()
            self._process.wait()
            self._stdout.close()
            shutil.rmtree(self._logs)

    def _log(self, text: str) -> Path:
        self._count += 1
        log = self._logs / str(self._count)
        log.touch()
        log.with_name(f"{log.name}.command").write_text(text + "\n", "utf-8")
        return log

    def _say(self, line: str) -> None:
        self._stdin.write(line + "\n")
        self._stdin.flush()


def _is_alive(pid: int) -> bool:
    """Whether the process runs; bash has not collected one that ended yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the second: it ended between open and read
        return False


def run_document(document: str, folder: Path, *, long: bool = False) -> list[Command]:
    """Run every command of a document. Returns those that were left out. Raises `WrongConsole`."""
    left_out = []
    shell = Shell(folder)
    try:
        for step in steps_in(document):
            match step:
                case Interrupt():
                    shell.interrupt()
                case Saved(name, content):
                    (folder / name).write_text(content, "utf-8")
                case Command():
                    text = step.text if long else step.short
                    if text is None or step.lacks:
                        left_out.append(step)
                    else:
                        _run(shell, step, text)
    finally:
        shell.close()
    return left_out


def _run(shell: Shell, command: Command, text: str) -> None:
    if command.is_server:
        printed = shell.start(text)
        if differs(command.shown, printed):
            raise WrongConsole(_compared(command, printed))
        return
    for left in reversed(range(TRIES)):
        code, printed = shell.run(text)
        if code:
            raise WrongConsole(f"$ {text}\nended with {code}:\n{printed}")
        if text != command.text or not differs(command.shown, printed):
            return
        if not left:
            raise WrongConsole(_compared(command, printed))


def _compared(command: Command, printed: str) -> str:
    shown = "\n".join(command.shown)
    return f"$ {command.text}\nprints\n{printed}\nand the document shows\n{shown}"


@cache
def has_namespaces() -> bool:
    """Whether this user may have a network of its own on this machine."""
    try:
        return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def fresh_clone(folder: Path, files: Sequence[Path]) -> None:
    """Copy the project's own files, and let `.venv` there be the environment that runs this."""
    for path in files:
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    (folder / ".venv").symlink_to(sys.prefix)
    # Otherwise make would install the copy into the environment of the original.
    fresh = subprocess.run(["make", "--question", ".venv/.dev"], cwd=folder, capture_output=True, check=False)
    if fresh.returncode:
        raise WrongConsole(f"{sys.prefix} is older than the lock files: run `make dev` first")


@click.command()
@click.option("--long", is_flag=True, help="The long forms, too.")
@click.argument("documents", nargs=-1, type=click.Path(exists=True, path_type=Path))
def main(documents: tuple[Path, ...], *, long: bool) -> None:
    """Run the console blocks of DOCUMENTS, or of all."""
    from tests.project.test_packaging import project_files

    for document in documents or DOCUMENTS:
        with tempfile.TemporaryDirectory() as folder:
            fresh_clone(Path(folder), project_files())
            began = time.monotonic()
            left_out = run_document(document.read_text("utf-8"), Path(folder), long=long)
        names = "; ".join(command.text for command in left_out) or "nothing"
        click.echo(f"{document.name}: {time.monotonic() - began:.1f} s, left out: {names}")


if __name__ == "__main__":
    main()
