"""werkzeug: each match of a URL leaves a reference cycle, also one that succeeds.

pip install werkzeug; python werkzeug_matcher.py
"""

from __future__ import annotations

import gc
import sys

from werkzeug.routing import Map, Rule

urls = Map([Rule("/", endpoint="index")]).bind("a")
urls.match("/")
gc.collect()
gc.disable()
gc.set_debug(gc.DEBUG_SAVEALL)
urls.match("/")
found = gc.collect()
gc.set_debug(0)
functions = {each.__name__ for each in gc.garbage if callable(each)} - {"__annotate__"}
if found:
    sys.exit(f"{found} objects are left for the garbage collector, {functions} among them")
