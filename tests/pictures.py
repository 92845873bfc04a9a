"""The pictures of the documents. `make pictures` writes them; other runs of the tests make and drop them.

PICTURES names the folder; without it, they go to the test's own.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Final

from tests.admin.chromium import Page

MIN_BYTES: Final = 10_000  # an empty page is smaller
MAX_BYTES: Final = 150_000


async def picture(page: Page, folder: Path, name: str) -> None:
    """Write what the window shows now. Fails if the page is empty or the file large."""
    shot = await page.command("Page.captureScreenshot", format="png")
    content = base64.b64decode(shot["data"])
    (Path(os.environ.get("PICTURES", folder)) / f"{name}.png").write_bytes(content)
    assert MIN_BYTES < len(content) < MAX_BYTES, name
