"""What must not be read in a log: passwords in URLs, and the secrets that the settings name.

A secret shorter than six characters is masked only where it is the password of a URL: it would be found
in innocent words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final

MASK: Final = "***"
_SHORTEST: Final = 6
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/?#\s@\"'<>]+@")


class Mask:
    """A function from a line to what may be written of it."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        long_enough = {secret for secret in secrets if len(secret) >= _SHORTEST}
        in_json = {json.dumps(secret)[1:-1] for secret in long_enough}
        longest_first = sorted(long_enough | in_json, key=lambda word: (-len(word), word))
        self._secrets = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def __call__(self, line: str) -> str:
        return self._secrets.sub(MASK, _CREDENTIALS.sub(f"{MASK}@", line))
