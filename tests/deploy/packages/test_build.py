"""`make package`: the same bytes whoever builds, and dist/ as a whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
import tarfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest

from deploy.packages import build
from tests.lacking import needs

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Project

pytestmark = [needs("git"), pytest.mark.long]
NOON = int(datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp())  # the commit's time
STEM = "fanout_server-1.2.3"
SDIST, WHEEL, SBOM = f"{STEM}.tar.gz", f"{STEM}-py3-none-any.whl", f"{STEM}.cdx.json"


def test_whoever_builds_gets_the_same_bytes(packages: dict[str, Path], project: Project) -> None:
    """Also without a clone and git, at another time, with other times of files."""
    for path in project.folder.rglob("*.py"):
        os.utime(path, (1e9, 1e9))
    (project.folder / ".git").rename(project.folder / ".no-git")
    hooks = "from setuptools import build_meta as b; b.build_sdist('dist'); b.build_wheel('dist')"
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(NOON)}
    command = [sys.executable, "-c", hooks]
    subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, check=True)

    mine = {path.name: path.read_bytes() for path in (project.folder / "dist").iterdir()}
    assert set(mine) == {SDIST, WHEEL}
    assert mine == {name: packages[name].read_bytes() for name in mine}


def test_packages_have_the_time_of_the_commit_and_no_owner(packages: dict[str, Path]) -> None:
    with tarfile.open(packages[SDIST]) as sdist, gzip.open(packages[SDIST]) as compressed:
        members = {(m.uid, m.gid, m.uname, m.gname, m.mtime, m.mode, m.isdir()) for m in sdist}
        compressed.read(1)
        compressed_at = compressed.mtime
    with ZipFile(packages[WHEEL]) as wheel:
        files = {(info.date_time, oct(info.external_attr >> 16)) for info in wheel.infolist()}

    assert members == {(0, 0, "", "", NOON, 0o644, False), (0, 0, "", "", NOON, 0o755, True)}
    assert compressed_at == NOON
    # RECORD is setuptools' own, always with the second mode.
    assert files == {((2026, 11, 28, 12, 0, 0), mode) for mode in ("0o100644", "0o100664")}


def test_the_sums_and_the_sbom_are_those_of_the_packages(packages: dict[str, Path]) -> None:
    sums = packages["SHA256SUMS"].read_text().splitlines()
    with ZipFile(packages[WHEEL]) as wheel:
        sbom = wheel.read(f"{STEM}.dist-info/sboms/fanout-server.cdx.json")

    assert sums == [
        f"{hashlib.sha256(packages[name].read_bytes()).hexdigest()}  {name}"
        for name in sorted((SDIST, WHEEL, SBOM))
    ]
    assert packages[SBOM].read_bytes() == sbom


def test_builds_that_differ_are_an_error_that_names_the_package(project: Project) -> None:
    """The time zone is one of what differs between the two builds."""
    project.replace("setup.py", "project_urls=project_urls()", 'author=os.environ["TZ"]')
    project.commit()
    (project.folder / "dist").mkdir()

    with (
        pytest.raises(build.CannotBuild, match=f"two builds of {WHEEL} and {SDIST} differ: compare"),
        build.built(project.folder),
    ):
        raise AssertionError("not here")

    kept = project.folder / "build" / "not-the-same"
    assert {path.parent.name for path in kept.glob("*/*.tar.gz")} == {"one", "another"}
    assert list((project.folder / "dist").iterdir()) == []


def test_only_what_is_committed_is_built_and_dist_is_replaced_as_a_whole(
    made: tuple[str, dict[str, Path]],
) -> None:
    says, packages = made
    first, *sums = says.splitlines(keepends=True)

    with ZipFile(packages[WHEEL]) as wheel:
        assert "fanout/draft.py" not in wheel.namelist()
    assert set(packages) == {SDIST, WHEEL, SBOM, "SHA256SUMS"}
    assert f"(SOURCE_DATE_EPOCH={NOON}), without what is not committed, built twice with the same" in first
    assert "".join(sums) == packages["SHA256SUMS"].read_text()


def test_a_build_that_fails_says_why_in_one_line_and_leaves_dist_alone(project: Project) -> None:
    project.replace("setup.cfg", "trio>=0.35,<0.36", "trio~=0.35")
    project.commit()
    (project.folder / "dist").mkdir()
    project.write("dist/kept", "")
    command = [sys.executable, "-m", "deploy.packages.build"]
    done = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "make package: build_sdist and build_wheel: setup.cfg: "
        "the SBOM cannot say 'trio~=0.35': bound it by ==X, ==X.*, >=X or <X\n"
    )
    assert (project.folder / "dist" / "kept").exists()
