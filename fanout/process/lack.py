"""What a machine can lack, told apart from a bug."""

from __future__ import annotations

import errno
import os
from typing import Final

_LACKS: Final = (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC)
_NO_THREAD: Final = "can't start new thread"  # a `RuntimeError` of the `threading` module


def lack_of(error: BaseException) -> str | None:
    """What the machine lacks, in one line; `None` if anything else went wrong as well."""
    if isinstance(error, BaseExceptionGroup):
        lacks = [lack_of(each) for each in error.exceptions]
        return lacks[0] if all(lacks) else None
    if isinstance(error, MemoryError):
        return os.strerror(errno.ENOMEM).lower()
    if isinstance(error, OSError) and error.errno in _LACKS:
        return os.strerror(error.errno or 0).lower()
    if isinstance(error, RuntimeError) and str(error) == _NO_THREAD:
        return _NO_THREAD
    return None
