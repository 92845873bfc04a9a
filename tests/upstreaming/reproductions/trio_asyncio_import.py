"""trio-asyncio cannot be imported on Python 3.14.

pip install trio-asyncio; python3.14 trio_asyncio_import.py
"""

from __future__ import annotations

import sys
from importlib.metadata import version

version("trio-asyncio")  # it is installed
try:
    import trio_asyncio  # noqa: F401 - whether it can be imported is the question
except (AttributeError, ImportError) as error:
    sys.exit(f"{type(error).__name__}: {error}")
