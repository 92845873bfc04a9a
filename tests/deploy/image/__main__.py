"""`make image`: build the container image, describe it, and try it in podman.

    python -m tests.deploy.image                   a base is made of Debian's packages first
    python -m tests.deploy.image --base IMAGE      on any image with python3 >= 3.11 and venv
    python -m tests.deploy.image --twice           everything twice: is it the same, bit for bit?

Exit code: 0 when everything held, 1 when something did not, 3 when this machine lacks what the build needs.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.image.build import (
    ROOT,
    Image,
    ImageError,
    build,
    differences,
    make_base,
    origin,
    pip_settings,
    run,
)
from tests.lacking import PACKAGES, reason


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--base", help="any image with python3 >= 3.11 and venv; by default one is made")
    parser.add_argument("--mirror", help="of the base's packages: a URL or a line of sources.list")
    parser.add_argument("--extras", default="otel", help="'otel' (traces; the default) or ''")
    parser.add_argument("--name", default="fanout", help="the image's name; its tag is the version")
    parser.add_argument("--twice", action="store_true", help="build base and image again, and compare")
    parser.add_argument("--cyclonedx", type=Path, default=ROOT / ".venv-sbom/bin/cyclonedx-py")
    return parser.parse_args(words)


def lacks(programs: Sequence[str]) -> str | None:
    """Which of them this machine lacks, and the command that brings them, in one line."""
    missing = [program for program in programs if shutil.which(program) is None]
    packages = " ".join(sorted({PACKAGES[program] for program in missing}))
    return reason(", ".join(missing), f"apt-get install {packages}") if missing else None


def main(words: Sequence[str]) -> int:
    chosen = options(words)
    why_not = lacks(["buildah"] if chosen.base else ["buildah", "mmdebstrap"])
    if why_not is None and os.geteuid() != 0:
        why_not = reason("root", "sudo make image")
    if why_not is not None:
        say(f"no image was built: {why_not}")
        return 3
    try:
        image = build_all(chosen)
    except ImageError as error:
        say(f"BROKEN: {error}")
        return 1
    # runc, because a machine without systemd has no delegated cgroups for crun.
    if (why_not := lacks(["podman", "runc", "ip", "unshare"])) is not None:
        say(f"skipped: the image was not run, {why_not}")
        return 0
    trial = [sys.executable, "-m", "tests.deploy.image.trial", image.name, str(bill_of(chosen.name))]
    return subprocess.run(["unshare", "--net", *trial], cwd=ROOT, check=False).returncode


def bill_of(name: str) -> Path:
    return ROOT / f"build/image/{name}-{origin().version}.cdx.json"


def build_all(chosen: argparse.Namespace) -> Image:
    """The image, and with `--twice` a second one that has to be equal. Raises `ImageError`."""
    of = origin()
    pip = pip_settings(run(sys.executable, "-m", "pip", "config", "list"))

    def once() -> Image:
        base = chosen.base or make_base(of.epoch, chosen.mirror)
        return build(f"{chosen.name}:{of.version}", base, chosen.extras, of, pip, chosen.cyclonedx)

    image = once()
    bill = bill_of(chosen.name)
    bill.parent.mkdir(parents=True, exist_ok=True)
    bill.write_bytes(image.bill)
    size_mb = sum(image.sizes) / 1e6
    say(f"{image.name}: {image.digest}, {size_mb:.0f} MB compressed, {image.unpacked_mb:.0f} MB unpacked")
    say(f"SBOM: {bill.relative_to(ROOT)}")
    if chosen.twice:
        # Under the same names, because the history of an image has the name of its base.
        second = once()
        if found := differences(image, second):
            raise ImageError("a second build differs: " + "; ".join(found))
        if image.id != second.id:
            run("buildah", "rmi", image.id)
        what = "the image" if chosen.base else "base and image"
        say(f"a second build of {what}: equal layers, OCI digest and SBOM")
        image = second
    return image


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
