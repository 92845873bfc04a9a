"""What is in the image, as CycloneDX: Python packages and their contents, Debian packages, and Python itself.

The same image gives the same bytes. cyclonedx-bom describes the Python packages; it knows nothing of Debian.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

IMAGE: Final = "image"  # how the SBOM's own parts refer to the image


def of_image(root: Path, digest: str, version: str, created: str, cyclonedx: Path) -> bytes:
    """root: the image's files. cyclonedx: the command `cyclonedx-py`. Raises `CalledProcessError`."""
    [packages] = root.glob("opt/fanout/lib/python3.*/site-packages")
    bill = python_packages(packages, cyclonedx)
    top = sorted(each["bom-ref"] for each in bill["components"])
    others = [*interpreter(root), *vendored(packages), *debian_packages(root)]
    bill["components"] += others
    bill["dependencies"].append({"ref": IMAGE, "dependsOn": top + [each["bom-ref"] for each in others]})
    bill["metadata"]["timestamp"] = created
    bill["metadata"]["component"] = {
        "type": "container",
        "bom-ref": IMAGE,
        "name": "fanout",
        "version": version,
        "purl": f"pkg:oci/fanout@{quote(digest, safe='')}",
    }
    # Different for each image, and the same for the same image.
    bill["serialNumber"] = f"urn:uuid:{uuid5(NAMESPACE_URL, digest)}"
    text = json.dumps(bill, indent=2, ensure_ascii=False) + "\n"
    validate(text, cyclonedx)
    return text.encode()


def validate(text: str, cyclonedx: Path) -> None:
    """Against CycloneDX's schema, by the library that cyclonedx-bom brings."""
    program = (
        "import sys; from cyclonedx.schema import SchemaVersion; from cyclonedx.validation.json import *; "
        "sys.exit(str(JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read()) or '') or None)"
    )
    subprocess.run(
        [cyclonedx.with_name("python"), "-c", program], input=text, text=True, check=True, capture_output=True
    )


def python_packages(packages: Path, cyclonedx: Path) -> dict[str, Any]:
    """The SBOM of one site-packages, which belongs to a Python that does not run on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        # cyclonedx-py asks a Python only for its path.
        python, out = Path(folder, "python"), Path(folder, "sbom.json")
        python.write_text(f"#!/bin/sh\necho '{json.dumps([str(packages)])}'\n")
        python.chmod(0o755)
        command = (cyclonedx, "environment", "--output-reproducible", "--output-file", out, python)
        subprocess.run(command, check=True, capture_output=True)
        found: dict[str, Any] = json.loads(out.read_text("utf-8"))
        return found


def interpreter(root: Path) -> Iterator[dict[str, str]]:
    """The Python that runs the server. A base that has compiled its own has no package that names it."""
    found = re.search(r"^version = (\S+)", (root / "opt/fanout/pyvenv.cfg").read_text(), re.MULTILINE)
    if found:
        purl = f"pkg:generic/python@{found[1]}"
        yield {"type": "platform", "bom-ref": purl, "name": "python", "version": found[1], "purl": purl}


def vendored(packages: Path) -> Iterator[dict[str, Any]]:
    """What wheels contain of other projects, as their own SBOMs say (PEP 770): uPlot, or a library in C."""
    found = {}
    for path in sorted(packages.glob("*.dist-info/sboms/*.cdx.json")):
        for each in json.loads(path.read_text("utf-8")).get("components", ()):
            if "purl" in each and not each.get("isExternal"):
                kept = {
                    key: each[key] for key in ("type", "name", "version", "licenses", "purl") if key in each
                }
                found[each["purl"]] = {**kept, "bom-ref": each["purl"]}
    yield from found.values()


def debian_packages(root: Path) -> Iterator[dict[str, str]]:
    """From dpkg's own database; none in a base that is not made of Debian packages."""
    status = root / "var/lib/dpkg/status"
    if not status.exists():
        return
    release = dict(re.findall(r'^(\w+)="?(.*?)"?$', (root / "etc/os-release").read_text(), re.MULTILINE))
    distro = f"{release['ID']}-{release['VERSION_ID']}"
    for entry in status.read_text("utf-8").strip().split("\n\n"):
        field = dict(re.findall(r"^([\w-]+): (.*)$", entry, re.MULTILINE))
        if field["Status"] != "install ok installed":
            continue
        name, version = field["Package"], field["Version"]
        purl = (
            f"pkg:deb/{release['ID']}/{quote(name, safe='')}@{quote(version, safe='')}"
            f"?arch={field['Architecture']}&distro={distro}"
        )
        yield {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
