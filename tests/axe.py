"""axe-core, which finds violations of WCAG in a page. A test tool from npm, neither committed nor shipped.

`make axe` fetches it into `.axe` (`python -m tests.axe`). Without it, tests that need it are skipped.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from tests.admin.chromium import Page
from tests.lacking import reason

VERSION: Final = "4.14.0"
SHA256: Final = "20c09fe157a8a34a30e241aaa1fcdade657734f08ab379ecfbeb7d45cc46e878"
FILE: Final = Path(__file__).parent.parent / ".axe" / f"axe-{VERSION}.js"
FETCH_WITHIN_S: Final = 120
# Levels A and AA of WCAG 2.0, 2.1 and 2.2. axe leaves out the size of targets unless it is asked for it.
RULES: Final = """{
  runOnly: {type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22a', 'wcag22aa']},
  rules: {'target-size': {enabled: true}},
  resultTypes: ['violations'],
}"""

needs_axe = pytest.mark.skipif(not FILE.exists(), reason=reason("axe-core", "make axe"))


async def violations(page: Page) -> list[str]:
    """What violates WCAG 2.2 AA on the page as it is now: the rule, the element, and what to do about it."""
    if await page.evaluate("typeof axe === 'undefined'"):
        await page.evaluate(_source())
    found: dict[str, Any] = await page.evaluate(f"axe.run(document, {RULES})")
    assert found["passes"], "axe has checked nothing"
    return [
        f"{rule['id']}: {node['html'][:200]}: {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


@cache
def _source() -> str:
    content = FILE.read_bytes()
    assert _is_pinned(content), f"{FILE} is not axe-core {VERSION}: run make axe"
    return content.decode("utf-8")


def _is_pinned(content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == SHA256


def fetch() -> None:
    """Have npm download the package, which runs nothing of it, and keep the one file."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", "--pack-destination", folder, f"axe-core@{VERSION}"]
        try:
            subprocess.run(command, check=True, timeout=FETCH_WITHIN_S, stdout=subprocess.DEVNULL)
        except FileNotFoundError:
            sys.exit("axe-core comes from npm, which is not installed: apt-get install npm")
        except subprocess.SubprocessError as error:
            sys.exit(f"npm cannot fetch axe-core: {error}")
        with tarfile.open(next(Path(folder).iterdir())) as package:
            file = package.extractfile("package/axe.min.js")
            assert file is not None
            content = file.read()
    if not _is_pinned(content):
        sys.exit(f"what npm has fetched is not the axe-core {VERSION} that tests/axe.py knows by its SHA-256")
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_bytes(content)


if __name__ == "__main__":
    fetch()
