"""Where a published figure comes from, and how a test sees that it was changed by hand.

A command that publishes does four things:

    measuring = Measuring('make bench ARGS="--only cpu"', PATHS)   # before it measures
    found = ...                                                    # raw samples, as JSON
    entry = sealed({"measured": measuring.done(), "found": found})
    write(FILE, {**load(FILE), "cpu": entry})                      # whole, or not at all

PATHS are the files and folders that the figure measures, as git's pathspecs (":!FILE" leaves one out).
They must be committed when the run begins, and must not change during it. So `commit` and `tree` can be
checked from git's history alone. docs/figures is never one of them: a run does not change its own tree.

`problems` is what the tests ask. It finds a figure that was changed by hand in one place. It cannot find a
forger who also writes the samples and the digests again: only a repetition of the command can.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sysconfig
import textwrap
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

ROOT: Final = Path(__file__).parents[1]
FIELDS: Final = {
    "command": str,
    "commit": str,
    "tree": str,
    "paths": list,
    "date": str,
    "took_s": int,
    "python": str,
    "machine": str,
    "load_before": float,
    "load_after": float,
}
"""What every entry says of how it was measured. `Measuring.done` writes it; a section may add more."""

PRODUCT: Final = (
    *(f"fanout/{name}" for name in ("api", "loop", "observe", "process", "race", "server", "upstream")),
    "fanout/bounded_json.py",
    "fanout/config.py",
    "requirements.lock",
)
"""What serves: every figure measures it, and something more."""

CHANGES_AT_MOST: Final = 40
"""How many commits may change what a figure measures. After more, the tests ask to measure it again."""

_LINE: Final = 110  # characters, in the files
_EMPTY_TREE: Final = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"  # git knows it in every repository

Entry = dict[str, Any]
"""{"measured": as in `FIELDS`, anything: raw samples, "digest": of all the rest}"""


class Measuring:
    """One run, from before its first sample to after its last.

    command: what somebody types to repeat it. paths: what it measures. Raises `click.ClickException` when one
    of them is not committed, or without git. published=False: a run that is only tried notes that instead.
    """

    def __init__(self, command: str, paths: Sequence[str], *, published: bool = True) -> None:
        self._command = command
        self._paths = list(paths)
        self._published = published
        self._is_in_git = has_history()
        if published and not self._is_in_git:
            raise click.ClickException(
                "a figure is published of a commit: measure in a clone of the repository"
            )
        self._changed = self._changes()
        self._commit = git("rev-parse", "HEAD") if self._is_in_git else "unknown"
        self._tree = tree_at(self._commit, self._paths) if self._is_in_git else "unknown"
        self._load = load_average()
        self._began_at = time.monotonic()

    def done(self) -> Entry:
        """How it was measured. Raises `click.ClickException` when what it measures has changed since."""
        self._changed = sorted({*self._changed, *self._changes()})
        if self._published and tree_at("HEAD", self._paths) != self._tree:
            raise click.ClickException("another commit was checked out during the run: measure again")
        measured = {
            "command": self._command,
            "commit": self._commit[:12],
            "tree": self._tree,
            "paths": self._paths,
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "took_s": round(time.monotonic() - self._began_at),
            "python": python(),
            "machine": machine(),
            "load_before": self._load,
            "load_after": load_average(),
        }
        return measured | ({"changed": self._changed} if self._changed else {})

    def _changes(self) -> list[str]:
        changed = changed_in(self._paths) if self._is_in_git else []
        if changed and self._published:
            raise click.ClickException(
                f"a figure is published of a commit, and {len(changed)} of the files that it measures are "
                f"not committed: {', '.join(changed[:3])}. Commit them, and measure again."
            )
        return changed


def sealed(entry: Entry) -> Entry:
    """The entry with the digest of all its other members."""
    rest = {name: value for name, value in entry.items() if name != "digest"}
    return {**rest, "digest": digest(rest)}


def digest(value: Any) -> str:
    """SHA-256 of the value as JSON, whatever the order of its members and the layout of its file."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def load(path: Path) -> dict[str, Any]:
    """A file of figures; empty when there is none yet."""
    figures: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return figures


def write(path: Path, figures: Any) -> None:
    """The whole file, or nothing: a run that is ended leaves the figures of the one before."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(_laid_out(figures) + "\n", "utf-8")
    new.replace(path)


def _laid_out(value: Any, indent: int = 0) -> str:
    """As JSON: what fits into a line is one, so that a column of samples is not a page of lines."""
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if len(line) + indent <= _LINE or not isinstance(value, dict | list):
        return line
    begins, ends = line[0], line[-1]
    inner = "\n" + " " * (indent + 1)
    if isinstance(value, dict):
        parts = [
            f"{json.dumps(name, ensure_ascii=False)}: {_laid_out(each, indent + 1)}"
            for name, each in value.items()
        ]
    elif not any(isinstance(each, str | dict | list) for each in value):
        parts = textwrap.wrap(line[1:-1], _LINE - indent, break_long_words=False, break_on_hyphens=False)
        return f"{begins}{inner}{inner.join(parts)}\n{' ' * indent}{ends}"
    else:
        parts = [_laid_out(each, indent + 1) for each in value]
    return f"{begins}{inner}{f',{inner}'.join(parts)}\n{' ' * indent}{ends}"


# --- what the tests ask


def problems(entry: Entry, *, changes_at_most: int | None = None) -> list[str]:
    """What does not hold of this entry, each as a sentence. Needs the history of git (`has_history`).

    changes_at_most: how many commits to its paths may have come after the commit that was measured.
    """
    measured = entry.get("measured", {})
    wrong = [f"no {name}" for name, kind in FIELDS.items() if not isinstance(measured.get(name), kind)]
    if wrong:
        return wrong
    if entry.get("digest") != sealed(entry)["digest"]:
        wrong.append("its digest is another: it was changed after its command had written it")
    if measured.get("changed"):
        wrong.append(f"measured with files that are not committed: {', '.join(measured['changed'])}")
    commit, paths = measured["commit"], measured["paths"]
    if not is_in_history(commit):
        return [*wrong, f"no commit {commit} before this one"]
    if tree_at(commit, paths) != measured["tree"]:
        wrong.append(f"its tree is not that of commit {commit}")
    since = changes_since(commit, paths)
    if changes_at_most is not None and since > changes_at_most:
        wrong.append(
            f"{since} commits have changed what it measures since, at most {changes_at_most} may: "
            f"measure again with {measured['command']}"
        )
    return wrong


def has_history() -> bool:
    """Whether this is a clone of git, and a whole one: only then commits of the past can be looked up."""
    return (
        shutil.which("git") is not None
        and git("rev-parse", "--is-shallow-repository", check=False) == "false"
    )


def is_in_history(commit: str) -> bool:
    done = subprocess.run(
        ["git", "merge-base", "--is-ancestor", commit, "HEAD"], cwd=ROOT, capture_output=True, check=False
    )
    return done.returncode == 0


def tree_at(commit: str, paths: Sequence[str]) -> str:
    """A hash of the name, mode and content of each file below these paths, as they are in the commit."""
    listed = git("diff-tree", "-r", "-z", "--full-index", "--no-renames", _EMPTY_TREE, commit, "--", *paths)
    return hashlib.sha256(listed.encode()).hexdigest()[:16]


def changes_since(commit: str, paths: Sequence[str]) -> int:
    """How many commits have changed one of these paths since, merges not counted."""
    return int(git("rev-list", "--count", "--no-merges", f"{commit}..HEAD", "--", *paths))


def changed_in(paths: Sequence[str]) -> list[str]:
    """The files below these paths that are not as in the last commit, or not known to git."""
    status = git("status", "--porcelain", "--untracked-files=all", "--no-renames", "--", *paths)
    return [line.split(maxsplit=1)[1] for line in status.splitlines()]


# --- the machine, without its name


def machine() -> str:
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    model = models[0].partition(":")[2].strip() if models else platform.machine()
    return f"{os.cpu_count()} cores ({model}), {platform.system()} {platform.release()}"


def python() -> str:
    """Its version and how it was built: with the help of a profile it takes 5 to 10 % less time, measured."""
    options = str(sysconfig.get_config_var("CONFIG_ARGS"))
    found = [
        name
        for option, name in (("--enable-optimizations", "PGO"), ("--with-lto", "LTO"))
        if option in options
    ]
    built = f"built with {' and '.join(found)}" if found else "a plain build, without PGO"
    return f"{platform.python_version()} ({built})"


def load_average() -> float:
    return round(os.getloadavg()[0], 2)


def git(*words: str, check: bool = True) -> str:
    """What git prints. If it fails, `subprocess.CalledProcessError`, or with check=False: nothing."""
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=check)
    return done.stdout.strip()
