"""Build the container image with buildah, without a container engine, and write its SBOM.

The image is a function of the commit, the base and the lock files: two builds have the same digest.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from configparser import ConfigParser
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import fanout
from deploy.image import sbom

ROOT: Final = Path(__file__).parents[2]
BASE_NAME: Final = "fanout-base"
SUITE: Final = "trixie"  # Debian 13: Python 3.13
# Without apt: whoever can install packages in a container can run anything there.
MMDEBSTRAP: Final = (
    "mmdebstrap",
    "--quiet",
    "--variant=essential",
    "--include=python3,python3-venv,ca-certificates",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    # They come from the machine that builds, and would differ on another machine.
    '--customize-hook=rm -rf "$1/etc/hostname" "$1/etc/resolv.conf" "$1"/etc/apt/sources.list*',
)
# Settings of pip that say where packages come from, and how to get there.
SOURCES_OF_PIP: Final = (
    "index-url",
    "extra-index-url",
    "find-links",
    "trusted-host",
    "proxy",
    "default-timeout",
)


class ImageError(Exception):
    """What went wrong, in one line."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What the image is built from, as its labels state. epoch: the date of every file, in s since 1970."""

    version: str
    revision: str
    source: str
    epoch: int

    @property
    def created(self) -> str:
        return datetime.fromtimestamp(self.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Image:
    """A built image: its name and id in the local storage, its content, and its SBOM.

    id: differs for each build, because docker's format records the build's container. digest: of the OCI
    manifest. layers: digests of the unpacked layers. sizes: of the compressed layers, in bytes.
    """

    name: str
    id: str
    digest: str
    layers: tuple[str, ...]
    sizes: tuple[int, ...]
    unpacked_mb: float
    bill: bytes


@dataclass(frozen=True, slots=True)
class Pip:
    """The user's pip settings for package sources. conf: a pip.conf. authorities: a file. secrets: URLs."""

    conf: str
    authorities: str | None
    secrets: tuple[str, ...]


def run(*command: str | Path, **more: str) -> str:
    """Its standard output. more: variables of its environment. Raises `ImageError` with its last lines."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env={**os.environ, "BUILDAH_ISOLATION": os.environ.get("BUILDAH_ISOLATION", "chroot"), **more},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
        name = " ".join(map(str, command[:2]))
        raise ImageError(f"{name} failed with exit code {done.returncode}:\n{said}")
    return done.stdout


def origin() -> Origin:
    """Of this clone. `SOURCE_DATE_EPOCH` wins over the commit's date. Raises `ImageError` without either."""
    setup = ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    source = setup.get("fanout", "repository", fallback="") or "unknown"
    try:
        revision = run("git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*").strip()
        date = run("git", "log", "-1", "--format=%ct").strip()
    except (ImageError, FileNotFoundError):
        revision, date = "unknown", ""
    date = os.environ.get("SOURCE_DATE_EPOCH", date)
    if not date.isdigit():
        raise ImageError(
            f"SOURCE_DATE_EPOCH is {date!r}: without a git clone, set it to the release's seconds since 1970"
        )
    return Origin(fanout.__version__, revision, source, int(date))


def make_base(epoch: int, mirror: str | None) -> str:
    """The name of a base of Debian packages. mirror: a URL or a line of sources.list; if None, Debian's."""
    with tempfile.TemporaryDirectory() as folder:
        tar = Path(folder, "base.tar")
        run(*MMDEBSTRAP, SUITE, tar, *([mirror] if mirror else []), SOURCE_DATE_EPOCH=str(epoch))
        container = run("buildah", "from", "scratch").strip()
        try:
            run("buildah", "add", "--quiet", container, tar, "/")
            run("buildah", "commit", "--quiet", "--timestamp", str(epoch), container, BASE_NAME)
        finally:
            run("buildah", "rm", container)
    return f"localhost/{BASE_NAME}"


def pip_settings(listed: str) -> Pip:
    """listed: the output of `pip config list`. A command's section wins over [global], a variable over both.

    Folders of this machine are left out, because the build cannot see them.
    """
    found: dict[str, str] = {}
    for place in ("global.", "install.", ":env:."):
        for line in listed.splitlines():
            key, _, value = line.partition("=")
            if key.startswith(place):
                found[key.removeprefix(place)] = str(ast.literal_eval(value))
    authorities = found.get("cert")
    lines = ["[global]"] + (["cert = /etc/pip-ca.pem"] if authorities else [])
    secrets = []
    for key in SOURCES_OF_PIP:
        words = found.get(key, "").split()
        if key in ("index-url", "extra-index-url", "find-links", "proxy"):
            words = [word for word in words if word.startswith(("https://", "http://"))]
            secrets += words
        if words:
            lines.append(f"{key} = " + "\n    ".join(words))
    return Pip("\n".join(lines) + "\n", authorities, tuple(secrets))


@contextmanager
def secrets_of(pip: Pip) -> Iterator[list[str]]:
    """The options with which `buildah bud` and `docker build` show pip's settings to the build alone."""
    with tempfile.TemporaryDirectory() as folder:
        conf = Path(folder, "pip.conf")
        conf.write_text(pip.conf, "utf-8")
        authorities = [f"--secret=id=pip-ca,src={pip.authorities}"] if pip.authorities else []
        yield [f"--secret=id=pip.conf,src={conf}", *authorities]


def build(name: str, base: str, extras: str, origin: Origin, pip: Pip, cyclonedx: Path) -> Image:
    """Build it without any cache, and check what is in it. Raises `ImageError`."""
    arguments = {
        "BASE": base,
        "EXTRAS": extras,
        "SOURCE_DATE_EPOCH": str(origin.epoch),
        "VERSION": origin.version,
        "REVISION": origin.revision,
        "SOURCE": origin.source,
        "CREATED": origin.created,
    }
    with secrets_of(pip) as secrets, tempfile.TemporaryDirectory() as folder:
        # HEALTHCHECK is docker's: an image in OCI's format would not have it.
        run(
            *("buildah", "bud", "--quiet", "--no-cache", "--format=docker", f"--timestamp={origin.epoch}"),
            # A label with buildah's version would change the image with each release of buildah.
            *("--identity-label=false", *secrets),
            *(f"--build-arg={key}={value}" for key, value in arguments.items()),
            *("--tag", name, "."),
        )
        written = Path(folder, "digest")
        push = ("buildah", "push", "--quiet", "--format=oci", f"--digestfile={written}")
        run(*push, name, f"oci:{folder}/image")
        digest = written.read_text().strip()
        manifest = json.loads(Path(folder, "image/blobs/sha256", digest.removeprefix("sha256:")).read_text())
    inspected = json.loads(run("buildah", "inspect", "--type=image", name))
    container = run("buildah", "from", "--pull-never", name).strip()
    try:
        root = Path(run("buildah", "mount", container).strip())
        check_content(root, json.dumps(inspected), pip)
        unpacked_mb = sum(path.lstat().st_size for path in root.rglob("*") if path.is_file()) / 1e6
        bill = sbom.of_image(root, digest, origin.version, origin.created, cyclonedx)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ImageError(f"no SBOM: {error} {getattr(error, 'stderr', '')}") from error
    finally:
        run("buildah", "rm", container)
    return Image(
        name,
        inspected["FromImageID"],
        digest,
        layers=tuple(inspected["OCIv1"]["rootfs"]["diff_ids"]),
        sizes=tuple(layer["size"] for layer in manifest["layers"]),
        unpacked_mb=unpacked_mb,
        bill=bill,
    )


def check_content(root: Path, inspected: str, pip: Pip) -> None:
    """Raises `ImageError` if the image has commands of libraries, or the address of the package index."""
    commands = sorted(path.name for path in (root / "opt/fanout/bin").iterdir())
    if [name for name in commands if not name.startswith("python")] != ["fanout"]:
        raise ImageError(f"bin/ has more than fanout and python: {commands}")
    for left in ("etc/pip.conf", "etc/pip-ca.pem", "build", "opt/tools"):
        if os.path.lexists(root / left):
            raise ImageError(f"/{left} is left of the build")
    for secret in pip.secrets:
        if secret in inspected:
            raise ImageError("the address of the package index is in the image's metadata")
        for path in (root / "opt/fanout").rglob("*"):
            if path.is_file() and not path.is_symlink() and secret.encode() in path.read_bytes():
                raise ImageError(f"the address of the package index is in {path.relative_to(root)}")


def differences(one: Image, two: Image) -> list[str]:
    """How two builds differ, one line per difference."""
    pairs: Sequence[tuple[str, object, object]] = (
        ("layers", one.layers, two.layers),
        ("OCI digest", one.digest, two.digest),
        ("SBOM", one.bill, two.bill),
    )
    return [f"{what}: {a!r:.300} and {b!r:.300}" for what, a, b in pairs if a != b]
