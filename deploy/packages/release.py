"""`make release VERSION=x.y.z`: every check, then the packages, then what is left to do by hand.

Rule 1: nothing is tagged, signed or sent anywhere: these three need a person, and their keys.
Rule 2: all checks that take no time come first and are reported together, one line each with the fix.
Rule 3: when something fails, dist/ is as it was before.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import subprocess
from pathlib import Path
from typing import Final

from deploy.packages.build import CHECKSUMS, ROOT, CannotBuild, built, git, put_into_dist
from deploy.packages.try_bare import try_bare

_VERSION: Final = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}")
_PROOFS: Final = ("check", "test")


def problems(version: str, today: datetime.date, root: Path = ROOT) -> list[str]:
    """Why this version cannot be released from `root` now. One line each, with the fix."""
    if not _VERSION.fullmatch(version):
        return [f"VERSION={version!r}: use three numbers, such as make release VERSION=1.2.3"]
    found = [_of_code(version, root), _of_changelog(version, today, root), *_of_git(version, root)]
    return [problem for problem in found if problem]


def _of_code(version: str, root: Path) -> str:
    code = (root / "fanout" / "__init__.py").read_text("utf-8")
    stated = re.search(r'^__version__ = "(.*)"$', code, re.MULTILINE)
    if stated and stated[1] == version:
        return ""
    says = f"says {stated[1]}" if stated else "states no version"
    return f'fanout/__init__.py {says}: write __version__ = "{version}" there, and commit it'


def _of_changelog(version: str, today: datetime.date, root: Path) -> str:
    text = (root / "CHANGELOG.md").read_text("utf-8")
    wanted = f"## [{version}] - {today}"
    entry = re.search(rf"^## \[{re.escape(version)}\](.*)\n(?s:(.*?))(?=^## |\Z)", text, re.MULTILINE)
    if not entry:
        return (
            f"CHANGELOG.md has no entry for {version}: put `{wanted}` below `## [Unreleased]`, and commit it"
        )
    try:
        is_dated = datetime.date.fromisoformat(entry[1].removeprefix(" - ")) <= today
    except ValueError:
        is_dated = False
    if not is_dated or not entry[1].startswith(" - "):
        return f"CHANGELOG.md: {entry[0].splitlines()[0]!r} has no date that has been: write `{wanted}`"
    if not re.search(r"^- ", entry[2], re.MULTILINE):
        return f"CHANGELOG.md: the entry for {version} is empty: say what changes for those who run fanout"
    return ""


def _of_git(version: str, root: Path) -> list[str]:
    branch = git("branch", "--show-current", root=root)
    changed = git("status", "--porcelain", root=root).splitlines()
    tagged = git("tag", "--list", f"v{version}", root=root)
    return [
        "" if branch == "main" else f"the branch is {branch or 'none'}: git switch main",
        f"{changed[0][3:]} and {len(changed) - 1} more are not committed: commit or remove them"
        if len(changed) > 1
        else f"{changed[0][3:]} is not committed: commit or remove it"
        if changed
        else "",
        f"the tag v{version} is there already: use the next version" if tagged else "",
    ]


def _prove(target: str) -> None:
    # The checks of a release are those of its commit: nothing that this call of make was told goes on to them.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("ARGS", "VERSION", "MAKEFLAGS", "MAKEOVERRIDES", "SOURCE_DATE_EPOCH")
    }
    print(f"make {target} ...", flush=True)
    if subprocess.run(["make", target], cwd=ROOT, env=environment, check=False).returncode:
        raise CannotBuild(f"make {target} fails: mend it, commit, and begin again")


def _release(version: str, is_dry: bool) -> list[str]:
    """What was built. Raises `CannotBuild`."""
    commit = git("rev-parse", "HEAD")
    with built() as folder:
        sums = (folder / CHECKSUMS).read_text("utf-8").splitlines()
        if is_dry:
            for target in _PROOFS:
                print(f"dry run: would run make {target}")
            print("dry run: would install the wheel on each Python, and try it")
            return sums
        for target in _PROOFS:
            _prove(target)
        (wheel,) = folder.glob("*.whl")
        try_bare(wheel)
        since = problems(version, _today()) or (
            [] if git("rev-parse", "HEAD") == commit else ["HEAD has moved"]
        )
        if since:
            raise CannotBuild(f"while the tests ran: {since[0]}")
        put_into_dist(folder)
    return sums


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


def _by_hand(version: str) -> str:
    commit = git("rev-parse", "--short", "HEAD")
    return f"""\
By hand, in this order:
  git tag --sign v{version} {commit} --message 'fanout {version}'
  gpg --armor --detach-sign dist/{CHECKSUMS}
  git push REMOTE main v{version}
  twine upload dist/*.whl dist/*.tar.gz
  publish {CHECKSUMS}, its signature and the SBOM with the tag; make image builds the image from it"""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="make release", usage='make release VERSION=x.y.z [ARGS="--dry-run"]'
    )
    parser.add_argument("version", nargs="?", default="")
    parser.add_argument("--dry-run", action="store_true", help="build, but neither test nor keep it")
    given = parser.parse_args()
    try:
        found = problems(given.version, _today())
        if found:
            raise SystemExit("\n".join(f"make release: {problem}" for problem in found))
        sums = _release(given.version, given.dry_run)
    except CannotBuild as error:
        raise SystemExit(f"make release: {error}") from None
    print("\nBuilt twice with the same bytes" + (", and thrown away:" if given.dry_run else ", in dist/:"))
    print("\n".join(sums), _by_hand(given.version), sep="\n\n")


if __name__ == "__main__":
    main()
