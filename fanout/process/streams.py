"""Makes the standard streams safe: no failed write ends a server or prints a traceback.

Rule 1: descriptors 0, 1 and 2 are open, so that no socket gets one of these numbers.
Rule 2: a failed write to standard output is an `OutputError`, once.
Rule 3: a failed write to standard error is dropped: no stream is left to report it.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_INPUT: Final = 0
_OUTPUT: Final = 1
_ERRORS: Final = 2


class OutputError(Exception):
    """Standard output cannot be written, for this `cause`. Later output goes nowhere."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"standard output cannot be written: {(cause.strerror or str(cause)).lower()}")
        self.reader_has_gone = isinstance(cause, BrokenPipeError)


def guard_standard_streams() -> None:
    """Apply the three rules from now on. Call it in the first lines of a program."""
    _open_what_is_closed()
    sys.stdout = _text(_Descriptor(_OUTPUT, "w", closefd=False), sys.stdout)
    sys.stderr = _text(_ErrorsDescriptor(_ERRORS, "w", closefd=False), sys.stderr)


class _Descriptor(io.FileIO):
    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return self._write_waiting(data)
        except OSError as error:
            self._point_nowhere()  # the interpreter flushes at the end, and must not fail then
            raise OutputError(error) from error

    def _write_waiting(self, data: ReadableBuffer) -> int:
        written: int | None
        while (written := super().write(data)) is None:  # another process has made it non-blocking
            select.select([], [self], [])
        return written

    def _point_nowhere(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


class _ErrorsDescriptor(_Descriptor):
    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return self._write_waiting(data)
        except OSError:
            return memoryview(data).nbytes


def _text(descriptor: _Descriptor, like: TextIO | None) -> TextIO:
    """like: the interpreter's own stream; `None` if its descriptor was closed."""
    return io.TextIOWrapper(
        io.BufferedWriter(descriptor),
        encoding="utf-8" if like is None else like.encoding,
        errors="backslashreplace",  # a character that the locale cannot show must not fail
        line_buffering=True,
    )


def _open_what_is_closed() -> None:
    for descriptor in (_INPUT, _OUTPUT, _ERRORS):
        try:
            os.fstat(descriptor)
        except OSError:
            # This gets the lowest free number, so this one. The direction is wrong, so a write fails.
            os.open(os.devnull, os.O_WRONLY if descriptor == _INPUT else os.O_RDONLY)
            os.set_inheritable(descriptor, True)
