"""The exit codes of every command, in one place.

Code 1 is an answer and never an accident, so a program that runs `fanout health` or `fanout simulate` can
trust it.
"""

from __future__ import annotations

from typing import Final

DONE: Final = 0
NO: Final = 1  # not ready (`health`), a guarantee was broken, or no answer was useful (`load`)
REFUSED: Final = 2  # a setting, an argument or a port is wrong: nothing was started
FAILED: Final = 3  # the command could not finish: the machine lacks something, or a bug, with its traceback
SIGNALLED: Final = 128  # plus the number of a signal that came before the command handled signals
