"""The program: `fanout` and `python -m fanout`. Every end passes through here, with a code of `exits`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from fanout.process.early_signals import ignore_late_signals, leave_on_signals
from fanout.process.exits import FAILED
from fanout.process.lack import lack_of
from fanout.process.streams import OutputError, guard_standard_streams

if TYPE_CHECKING:
    from fanout.api.handlers import Endpoints

leave_on_signals()  # what is above loads in a millisecond; during all later imports no signal is a traceback


def main(endpoints: Endpoints | None = None) -> NoReturn:
    """Run one command. All other imports happen inside, so that their errors are handled as well.

    endpoints: what `serve` and `demo` serve in addition to the API. docs/extending.md has an example.
    """
    code = FAILED
    try:
        code = _exit_code(endpoints)
    except MemoryError:
        pass  # too little memory even for a message
    finally:
        ignore_late_signals()
    sys.exit(code)


def _exit_code(endpoints: Endpoints | None) -> int:
    try:
        guard_standard_streams()
        return _run(endpoints)
    except OutputError as error:
        if not error.reader_has_gone:  # `fanout simulate | head -1` ends quietly
            sys.stderr.write(f"fanout: {error}\n")
    except Exception as error:  # noqa: BLE001 - the last handler: Python's own code 1 would be an answer
        _report(error)
    return FAILED


def _report(error: Exception) -> None:
    """In the form of the log, if there is one."""
    lack = lack_of(error)
    line = "the server has crashed" if lack is None else f"{lack}: give this process more"
    log = sys.modules.get("fanout.observe.log")
    if log is not None and log.report_crash(line, error if lack is None else None):
        return
    if lack is None:
        import traceback

        traceback.print_exception(error)
    else:
        sys.stderr.write(f"fanout: {line}\n")


def _run(endpoints: Endpoints | None) -> int:
    for name in [name for name in os.environ if name.startswith("LOGURU_")]:
        del os.environ[name]  # read when loguru is imported, where a wrong one is a traceback; ours count
    from fanout.cli import run

    return run(endpoints)


if __name__ == "__main__":
    main()
