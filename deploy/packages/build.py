"""`make package`: wheel and sdist of the last commit, with their SBOM and checksums, into dist/.

Rule 1: it builds what is committed, from clones, so that nothing else on this machine gets into a package.
Rule 2: it builds twice, as two people would, the second wheel from the sdist. The bytes must be the same.
Rule 3: dist/ is replaced in one step, when everything is there. Until then it stays as it was.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import click

ROOT: Final = Path(__file__).parents[2]
CHECKSUMS: Final = "SHA256SUMS"
# setuptools changes sys.argv.
_HOOKS: Final = """
import sys
from setuptools import build_meta
_, out, *hooks = sys.argv
for hook in hooks:
    getattr(build_meta, hook)(out)
"""
# Two builders: how their machines differ, which must not change the packages. `umask` is in octal.
_ONE: Final = {"umask": "022", "TZ": "UTC", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "1"}
_ANOTHER: Final = {"umask": "077", "TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "2"}


class CannotBuild(Exception):
    """One line: what went wrong, and the fix."""


@contextmanager
def built(root: Path = ROOT) -> Iterator[Path]:
    """A folder with wheel, sdist, SBOM and checksums of the last commit of `root`. It is removed afterwards.

    Raises `CannotBuild`, also when the two builds differ: then both are kept.
    """
    (root / "build").mkdir(exist_ok=True)  # git ignores it
    with tempfile.TemporaryDirectory(prefix="package-", dir=root / "build") as scratch:
        one, another = Path(scratch, "one"), Path(scratch, "another")
        in_one, in_another = one / "fanout", another / "a clone elsewhere"
        _clone(root, in_one)
        _run_hooks(in_one, one, _ONE, "build_sdist", "build_wheel")
        _clone(root, in_another)
        _run_hooks(in_another, another, _ANOTHER, "build_sdist")
        _run_hooks(_unpacked(another), another, _ANOTHER, "build_wheel")
        packages = [path.name for path in sorted(one.iterdir()) if path.is_file()]
        different = [name for name in packages if _sha256(one / name) != _sha256(another / name)]
        if different:
            kept = root / "build" / "not-the-same"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.move(scratch, kept)
            Path(scratch).mkdir()
            raise CannotBuild(
                f"two builds of {' and '.join(different)} differ: compare those in {kept.relative_to(root)}"
                " with diffoscope"
            )
        done = Path(scratch, "dist")
        done.mkdir()
        for name in packages:
            (one / name).rename(done / name)
        _write_sbom(done)
        sums = "".join(f"{_sha256(path)}  {path.name}\n" for path in sorted(done.iterdir()))
        (done / CHECKSUMS).write_text(sums, encoding="utf-8")
        yield done


def put_into_dist(folder: Path, root: Path = ROOT) -> None:
    """Move what `built` has made to dist/. The old dist/ is removed with the scratch folder."""
    if (root / "dist").exists():
        (root / "dist").rename(folder.with_name("before"))
    folder.rename(root / "dist")


def git(*arguments: str, root: Path = ROOT) -> str:
    """What git prints. Raises `CannotBuild` with git's own first line."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CannotBuild(f"git cannot be run: {error.strerror}: install git") from None
    if done.returncode:
        raise CannotBuild(f"git {arguments[0]}: {(done.stderr.splitlines() or ['failed'])[0]}")
    return done.stdout.rstrip("\n")


def described(root: Path = ROOT) -> str:
    """The commit that is built, and whether there are uncommitted changes."""
    commit = git("log", "-1", "--format=%h (SOURCE_DATE_EPOCH=%ct)", root=root)
    return f"{commit}, without what is not committed" if git("status", "--porcelain", root=root) else commit


def _clone(root: Path, folder: Path) -> None:
    git("clone", "--quiet", "--no-hardlinks", "--no-tags", str(root), str(folder), root=root)


def _run_hooks(source: Path, out: Path, differs: dict[str, str], *hooks: str) -> None:
    """Run hooks of the build backend (PEP 517) in `source`, which alone decides the time of all files."""
    environment = {key: value for key, value in os.environ.items() if key != "SOURCE_DATE_EPOCH"}
    done = subprocess.run(
        [sys.executable, "-c", _HOOKS, str(out), *hooks],
        cwd=source,
        env={**environment, **differs},
        umask=int(differs["umask"], 8),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CannotBuild(f"{' and '.join(hooks)}: {(done.stderr.splitlines() or ['failed'])[-1]}")


def _unpacked(folder: Path) -> Path:
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as tar:
        tar.extractall(folder / "sdist", filter="data")
    return folder / "sdist" / sdist.name.removesuffix(".tar.gz")


def _write_sbom(folder: Path) -> None:
    """The SBOM of the wheel, for a reader who has not unpacked it."""
    (wheel,) = folder.glob("*.whl")
    with ZipFile(wheel) as opened:
        (name,) = [name for name in opened.namelist() if name.endswith(".cdx.json")]
        Path(folder, f"{'-'.join(wheel.name.split('-')[:2])}.cdx.json").write_bytes(opened.read(name))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    """Build, and say what is in dist/ now."""
    try:
        with built() as folder:
            put_into_dist(folder)
        click.echo(f"dist/ has the packages of {described()}, built twice with the same bytes:")
        click.echo((ROOT / "dist" / CHECKSUMS).read_text("utf-8"), nl=False)
    except CannotBuild as error:
        raise SystemExit(f"make package: {error}") from None


if __name__ == "__main__":
    main()
