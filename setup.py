"""What setup.cfg cannot express: packages that are reproducible bit for bit, and their SBOM.

Rule 1: the bytes follow from the sources and SOURCE_DATE_EPOCH alone. The folder, the umask, the owner, the
time zone, the locale and the times of files change nothing.
Rule 2: the sdist builds the wheel that the tree builds.
"""

from __future__ import annotations

import configparser
import gzip
import hashlib
import json
import os
import re
import subprocess
import tarfile
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.sdist import sdist

# What the wheel contains of other projects, unchanged; a test compares the version with that in the files.
UPLOT = {"name": "uplot", "version": "1.6.32", "license": "MIT", "folder": "fanout/admin/live/static"}
UPLOT_FILES = ("uplot.js", "uplot.css")


def source_date_epoch() -> int | None:
    """Seconds since 1970, the time of every file in a package. None: unknown, so files keep their times.

    It is SOURCE_DATE_EPOCH, or in an unpacked sdist the time of its files, or the time of the last commit.
    """
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        if not given.isascii() or not given.isdigit():
            raise SystemExit(f"SOURCE_DATE_EPOCH={given!r}: use seconds since 1970, or leave it out")
        return int(given)
    if Path("PKG-INFO").exists():
        return int(Path("PKG-INFO").stat().st_mtime)
    if not Path(".git").exists():
        return None  # a parent folder may be a clone of something else
    try:
        done = subprocess.run(["git", "log", "-1", "--format=%ct"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None  # no git, or a clone that is somebody else's
    return int(done.stdout)


def project_urls() -> dict[str, str]:
    """All URLs, from the one address in setup.cfg; none without it. GitHub's paths, which GitLab also has."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read("setup.cfg", encoding="utf-8")
    repository = settings["fanout"]["repository"].rstrip("/")
    if not repository:
        return {}
    return {
        "Source": repository,
        "Documentation": f"{repository}/blob/HEAD/docs/README.md",
        "Changelog": f"{repository}/blob/HEAD/CHANGELOG.md",
        "Issues": f"{repository}/issues",
    }


class ReproducibleSdist(sdist):
    """Files in order, without owners, with one time and one of two modes."""

    def make_archive(self, base_name: str, kind: str, *_: Any, base_dir: str, **__: Any) -> str:
        if kind != "gztar":
            raise SystemExit(f"--formats={kind}: use gztar")

        def same_everywhere(member: tarfile.TarInfo) -> tarfile.TarInfo:
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.mtime = member.mtime if EPOCH is None else EPOCH
            return member

        name = f"{base_name}.tar.gz"
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        with (
            open(name, "wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=EPOCH) as zipped,
            tarfile.open(fileobj=zipped, mode="w") as tar,
        ):
            tar.add(base_dir, filter=same_everywhere)  # which sorts
        return name


class WheelWithSbom(bdist_wheel):
    """Adds the SBOM (PEP 770), and gives files one of two modes. setuptools sorts them and sets the times."""

    def write_wheelfile(self, wheelfile_base: str, *args: Any, **kwargs: Any) -> None:
        super().write_wheelfile(wheelfile_base, *args, **kwargs)
        document = Path(wheelfile_base, "sboms", "fanout-server.cdx.json")
        document.parent.mkdir()
        document.write_text(json.dumps(sbom(self.distribution), indent=2) + "\n", encoding="utf-8")
        for path in Path(self.bdist_dir).rglob("*"):
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def sbom(distribution: Any) -> dict[str, Any]:
    """CycloneDX 1.7: what is in the wheel, and what it needs from elsewhere, in the ranges that it allows.

    Which release of a dependency an installation has, only that installation knows: the image's SBOM says it.
    """
    name, version = distribution.get_name(), distribution.get_version()
    itself = f"pkg:pypi/{name}@{version}"
    needed = [_external(requirement) for requirement in sorted(distribution.install_requires)]
    when = {} if EPOCH is None else {"timestamp": f"{datetime.fromtimestamp(EPOCH, UTC):%Y-%m-%dT%H:%M:%SZ}"}
    source = distribution.metadata.project_urls.get("Source")
    where = {"externalReferences": [{"type": "vcs", "url": source}]} if source else {}
    document: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "version": 1,
        "metadata": {
            **when,
            "lifecycles": [{"phase": "build"}],
            "component": {
                "type": "application",
                "bom-ref": itself,
                "name": name,
                "version": version,
                "description": distribution.get_description(),
                "licenses": [{"license": {"id": distribution.metadata.license_expression}}],
                "purl": itself,
                **where,
            },
        },
        "components": [_uplot(), *needed],
        "dependencies": [
            {"ref": itself, "dependsOn": [_uplot()["bom-ref"], *(each["bom-ref"] for each in needed)]},
        ],
    }
    # The same content has the same number.
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True))
    return {**document, "serialNumber": f"urn:uuid:{number}"}


def _uplot() -> dict[str, Any]:
    purl = f"pkg:npm/{UPLOT['name']}@{UPLOT['version']}"
    files = [Path(UPLOT["folder"], name) for name in UPLOT_FILES]
    hashes = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return {
        "type": "library",
        "bom-ref": purl,
        "name": UPLOT["name"],
        "version": UPLOT["version"],
        "licenses": [{"license": {"id": UPLOT["license"]}}],
        "purl": purl,
        "components": [
            {"type": "file", "name": name, "hashes": [{"alg": "SHA-256", "content": digest}]}
            for name, digest in hashes.items()
        ],
    }


def _external(requirement: str) -> dict[str, Any]:
    """What a requirement of setup.cfg names. It reads the bounds in use: `==X`, `==X.*`, `>=X` and `<X`."""
    found = re.fullmatch(r"([\w-]+)((?:,?(?:==|>=|<)[\d.]+(?:\.\*)?)+)", requirement)
    if not found:
        raise SystemExit(f"setup.cfg: the SBOM cannot say {requirement!r}: bound it by ==X, ==X.*, >=X or <X")
    name, bounds = found[1], dict(re.findall(r"(==|>=|<)([^,]+)", found[2]))
    exact = bounds.pop("==", "")
    if exact.endswith(".*"):
        major, minor = exact[:-2].rsplit(".", 1)
        exact, bounds = "", {">=": exact[:-2], "<": f"{major}.{int(minor) + 1}"}
    parts = [f"{sign}{bounds[sign]}" for sign in (">=", "<") if sign in bounds]
    which = {"version": exact} if exact else {"versionRange": f"vers:pypi/{'|'.join(parts)}"}
    purl = f"pkg:pypi/{name}@{exact}" if exact else f"pkg:pypi/{name}"
    return {"type": "library", "bom-ref": purl, "name": name, "isExternal": True, **which, "purl": purl}


EPOCH = source_date_epoch()
if EPOCH is not None:
    os.environ["SOURCE_DATE_EPOCH"] = str(EPOCH)  # setuptools reads it for the wheel
setup(cmdclass={"sdist": ReproducibleSdist, "bdist_wheel": WheelWithSbom}, project_urls=project_urls())
