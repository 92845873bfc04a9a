"""`make release VERSION=x.y.z`: every check, then the packages, then what is left to do by hand.

Rule 1: nothing is tagged, signed or sent anywhere: these three need a person, and their keys.
Rule 2: all checks that take no time come first and are reported together, one line each with the fix.
Rule 3: when something fails, dist/ is as it was before.
"""

from __future__ import annotations

import datetime
import os
import re
import subprocess
from pathlib import Path
from typing import Final

import click

from deploy.packages.build import CHECKSUMS, ROOT, CannotBuild, built, git, put_into_dist
from deploy.packages.try_bare import try_bare

_VERSION: Final = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}")
_PROOFS: Final = ("check", "test-all")


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
        return f"CHANGELOG.md has no entry for {version}: write `{wanted}` below `## [Unreleased]`"
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
    found = []
    branch = git("branch", "--show-current", root=root)
    if branch != "main":
        found.append(f"the branch is {branch or 'none'}: git switch main")
    changed = git("status", "--porcelain", root=root).splitlines()
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        found.append(f"the tree has {changed[0][3:]}{more}, not committed: commit or remove it")
    if git("tag", "--list", f"v{version}", root=root):
        found.append(f"the tag v{version} is there already: use the next version")
    return found


def release(version: str, *, is_dry: bool, root: Path = ROOT) -> list[str]:
    """The checksums of what was built, by line. is_dry: no tests, and dist/ stays. Raises `CannotBuild`."""
    commit = git("rev-parse", "HEAD", root=root)
    with built(root) as folder:
        sums = (folder / CHECKSUMS).read_text("utf-8").splitlines()
        if is_dry:
            click.echo(f"dry run, so without {', '.join(f'make {each}' for each in _PROOFS)} and make bare")
            return sums
        for target in _PROOFS:
            _prove(target, root)
        try_bare(next(folder.glob("*.whl")))
        since = problems(version, _today(), root)
        if since or git("rev-parse", "HEAD", root=root) != commit:
            raise CannotBuild(f"while the tests ran: {since[0] if since else 'HEAD moved: begin again'}")
        put_into_dist(folder, root)
    return sums


def _prove(target: str, root: Path) -> None:
    # The arguments of this call of make are not meant for that one.
    told = ("ARGS", "VERSION", "MAKEFLAGS", "MAKELEVEL", "SOURCE_DATE_EPOCH")
    environment = {name: value for name, value in os.environ.items() if name not in told}
    click.echo(f"make {target} ...")
    if subprocess.run(["make", target], cwd=root, env=environment, check=False).returncode:
        raise CannotBuild(f"make {target} fails: mend it, commit, and begin again")


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


def _by_hand(version: str) -> str:
    return f"""
By hand, in this order:
  git tag --sign v{version} {git("rev-parse", "--short", "HEAD")} --message 'fanout {version}'
  gpg --armor --detach-sign dist/{CHECKSUMS}
  git push REMOTE main v{version}
  twine upload dist/*.whl dist/*.tar.gz
  publish {CHECKSUMS}, its signature and the SBOM next to the tag; build the image from it: make image"""


@click.command()
@click.argument("version", default="")
@click.option("--dry-run", "is_dry", is_flag=True, help="Check and build, but run no test and keep nothing.")
def main(version: str, is_dry: bool) -> None:
    """Check everything, build the packages, and say what is left to do by hand."""
    try:
        found = problems(version, _today())
        if found:
            raise SystemExit("\n".join(f"make release: {problem}" for problem in found))
        sums = release(version, is_dry=is_dry)
    except CannotBuild as error:
        raise SystemExit(f"make release: {error}") from None
    where = "thrown away" if is_dry else "in dist/"
    click.echo(f"Built twice with the same bytes, {where}:")
    click.echo("\n".join(f"  {line}" for line in sums))
    click.echo(_by_hand(version))


if __name__ == "__main__":
    main(prog_name="make release")
