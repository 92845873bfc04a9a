"""Runs one command. Every way to end passes through here, with a code of `exits.py`."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import Final, NoReturn

from fanout.early_signals import ignore_late_signals
from fanout.exits import FAILED
from fanout.streams import OutputError, guard_standard_streams

_LACKS: Final = (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC)
_NO_THREAD: Final = "can't start new thread"  # a `RuntimeError` of the `threading` module


def main() -> NoReturn:
    """Run one command. All other imports happen inside, so that their errors are handled as well."""
    code = FAILED
    try:
        code = _exit_code()
    except MemoryError:
        pass  # too little memory even for a message
    finally:
        ignore_late_signals()
    sys.exit(code)


def _exit_code() -> int:
    try:
        guard_standard_streams()
        return _run()
    except OutputError as error:
        if not error.reader_has_gone:  # `fanout simulate | head -1` ends quietly
            sys.stderr.write(f"fanout: {error}\n")
    except Exception as error:  # noqa: BLE001 - the last handler: Python's own code 1 would be an answer
        lack = lack_of(error)
        if lack is None:
            traceback.print_exception(error)
        else:
            sys.stderr.write(f"fanout: {lack}: give this process more\n")
    return FAILED


def _run() -> int:
    for name in [name for name in os.environ if name.startswith("LOGURU_")]:
        del os.environ[name]  # read when loguru is imported, where a wrong one is a traceback; ours count
    from fanout.cli import run

    return run()


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
