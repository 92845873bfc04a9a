"""h2: a connection refers to itself, so all of it waits for the garbage collector.

pip install h2; python h2_cycle.py
"""

from __future__ import annotations

import gc
import sys
import weakref

from h2.connection import H2Connection

gc.disable()
connection = H2Connection()
gone = weakref.ref(connection)
del connection
is_left = gone() is not None
found = gc.collect()
assert gone() is None
if is_left:
    sys.exit(f"nothing refers to the connection, and only the garbage collector frees its {found} objects")
