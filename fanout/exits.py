"""The exit codes of every command, in one place.

1 is an answer and never an accident: a program that asks `fanout health` or `fanout simulate` can trust it.
"""

from __future__ import annotations

from typing import Final

DONE: Final = 0
NO: Final = 1  # not ready (`health`), or a broken guarantee (`load`, `simulate`, `replay`)
REFUSED: Final = 2  # a setting, an argument or a port is wrong: nothing was started
FAILED: Final = 3  # it could not be finished: the machine lacks something, or a bug, with its traceback
SIGNALLED: Final = 128  # and the number of the signal that came before the command listened to signals
