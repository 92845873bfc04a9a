"""Logs: loguru to standard error, text for people, one JSON object a line for machines.

Everything else that logs (hypercorn, httpx, the standard library) is routed in.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from loguru import logger

from fanout.race.events import AnswerSent, BugFound, Event

if TYPE_CHECKING:
    from loguru import Message, Record

_CHATTY = ("httpx", "httpcore", "hypercorn.error")  # their INFO is a line a call; ours is the ready line
_TEXT = "<dim>{time:HH:mm:ss.SSS}</dim> <level>{level: <7}</level> {message} <dim>{extra}</dim>\n{exception}"


def configure_logging(level: str, log_format: str, stream: TextIO = sys.stderr) -> None:
    """Send all logs to `stream`. log_format: `auto` (text on a terminal, JSON elsewhere), `text`, `json`."""
    is_terminal = stream.isatty()
    as_text = log_format == "text" or (log_format == "auto" and is_terminal)
    logger.remove()
    sink = stream if as_text else _json_writer(stream)
    logger.add(
        sink,
        level=level.upper(),
        format=_text if as_text else "{message}",
        colorize=as_text and is_terminal,
        backtrace=False,
        diagnose=False,  # it would print values, and values can be secrets
    )
    logging.basicConfig(handlers=[_Intercept()], level=logging.INFO, force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


class LogObserver:
    """Logs what somebody must look at: bugs, with their traceback, and late answers."""

    def notify(self, event: Event) -> None:
        match event:
            case BugFound(request_id, where, exception):
                logger.bind(request_id=request_id).opt(exception=exception).error("bug in {}", where)
            case AnswerSent(request_id, status, late_by_s) if late_by_s > 0:
                logger.bind(request_id=request_id, status=status).warning(
                    "the answer was late by {:.1f} ms", late_by_s * 1000
                )


def _text(record: Record) -> str:
    return _TEXT if record["extra"] else _TEXT.replace(" <dim>{extra}</dim>", "")


def _json_writer(stream: TextIO) -> Callable[[Message], None]:
    def write(message: Message) -> None:
        record = message.record
        entry = {
            "time": record["time"].isoformat(),
            "level": record["level"].name.lower(),
            "message": record["message"],
            **record["extra"],
        }
        if record["exception"] is not None:
            entry["traceback"] = str(message).removeprefix(record["message"]).strip()
        stream.write(json.dumps(entry, default=str) + "\n")
        stream.flush()

    return write


class _Intercept(logging.Handler):
    """Hands records of the standard library's loggers to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno
        logger.bind(logger=record.name).opt(exception=record.exc_info).log(level, "{}", record.getMessage())
