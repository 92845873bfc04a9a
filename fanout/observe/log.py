"""Logs: loguru to standard error, text for people, one JSON object per line for machines.

Everything else that logs (hypercorn, httpx, the standard library, Python itself) is routed in, so that a
stream of JSON lines has no other line in it. All of it leaves through one `LogWriter`, so code that logs
never waits for the sink.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, TextIO

from loguru import logger

from fanout.observe.log_writer import LogWriter, sink_of, write_within
from fanout.race.events import BugFound, Event, LeftTaskEnded, RequestEnded, TaskLeft

if TYPE_CHECKING:
    from loguru import Message, Record

_CHATTY = ("httpx", "httpcore", "hypercorn.error")  # their INFO is a line a call; ours is the ready line
MASK: Final = "***"
_SHORTEST_SECRET: Final = 6
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/?#\s@\"'<>]+@")
_TEXT: Final = "<level>{level: <7}</level> <dim>{time:HH:mm:ss.SSS}</dim> {message}"
_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))}


class Mask:
    """Masks passwords in URLs, and the secrets that the settings name, in a line of the log.

    A secret shorter than six characters is masked only where it is the password of a URL: it would be found
    in innocent words.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        long_enough = {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}
        in_json = {json.dumps(secret)[1:-1] for secret in long_enough}
        longest_first = sorted(long_enough | in_json, key=lambda word: (-len(word), word))
        self._secrets = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def __call__(self, line: str) -> str:
        return self._secrets.sub(MASK, _CREDENTIALS.sub(f"{MASK}@", line))


@dataclass(frozen=True, slots=True)
class Logs:
    """Where the logs of this process go, and how they look."""

    writer: LogWriter
    level: str
    as_text: bool
    has_colour: bool
    mask: Mask


_configured: Logs | None = None


def configured_logs() -> Logs | None:
    """What `configure_logging` has made; `None` in a process that has not called it."""
    return _configured


def configure_logging(
    level: str, log_format: str, stream: TextIO = sys.stderr, *, secrets: Iterable[str] = ()
) -> Logs:
    """Send all logs to `stream`, until the next call or the end of the process.

    log_format: see `is_text`. secrets: masked wherever they stand. At the end of the process, the queued
    lines have a second to be written.
    """
    global _configured  # as loguru and logging are, which it configures
    as_text = is_text(log_format, stream)
    has_colour = as_text and stream.isatty() and not os.environ.get("NO_COLOR")
    if _configured is not None:
        atexit.unregister(_configured.writer.close)
        _configured.writer.close()
    writer = LogWriter(sink_of(stream))
    atexit.register(writer.close)
    mask = Mask(secrets)
    _configured = Logs(writer, level, as_text, has_colour, mask)
    if not writer.has_thread:
        _write_now(
            stream, _configured, "warning", "no thread can be started: the log waits until there is one"
        )
    logger.remove()
    logger.add(
        _to_writer(writer, mask, str if as_text else _json_line),
        level=level.upper(),
        format=_text if as_text else "{message}",
        colorize=has_colour,
        backtrace=False,
        diagnose=False,  # it would print values, and values can be secrets
    )
    logging.basicConfig(handlers=[_Intercept()], level=logging.INFO, force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    return _configured


def is_text(log_format: str, stream: TextIO) -> bool:
    """Text, or else JSON lines? log_format: `auto` (text on a terminal), `text` or `json`."""
    return log_format == "text" or (log_format == "auto" and stream.isatty())


def json_event(message: str, level: str = "info", **more: str) -> str:
    """A line of the log that does not pass through it, with its line break."""
    entry = {"time": datetime.now().astimezone().isoformat(), "level": level, "message": message, **more}
    return json.dumps(entry, separators=(",", ":")) + "\n"


def log_what_python_reports() -> None:
    """From now on, warnings, exceptions that nothing can catch, and those that end a thread are in the log.

    Python writes them to standard error by itself, as text of several lines.
    """
    logging.captureWarnings(capture=True)

    def unraisable(report: sys.UnraisableHookArgs) -> None:
        logger.opt(exception=report.exc_value).error(
            "{} in {!r}", report.err_msg or "exception ignored", report.object
        )

    def ended_thread(report: threading.ExceptHookArgs) -> None:
        logger.opt(exception=report.exc_value).error("an exception ended a thread")

    sys.unraisablehook = unraisable
    threading.excepthook = ended_thread


def report_crash(message: str, error: BaseException | None) -> bool:
    """Write the last line of a process, behind those that are queued. Needs no thread.

    error: for its traceback. Returns whether there is a log; without one nothing is written.
    """
    if _configured is None:
        return False
    _configured.writer.close()
    _write_now(sys.stderr, _configured, "error", message, error)
    return True


def _write_now(
    stream: TextIO, logs: Logs, level: str, message: str, error: BaseException | None = None
) -> None:
    told = "" if error is None else "".join(traceback.format_exception(error))
    if logs.as_text:
        line = f"{message}\n{told}"
    else:
        line = json_event(message, level, **({"traceback": told.strip()} if told else {}))
    with suppress(OSError):
        write_within(stream, logs.mask(line))


def printable(text: str) -> str:
    """Without control characters, which would command a terminal; line breaks and tabs stay."""
    return text.translate(_CONTROLS)


class LogObserver:
    """Logs what an operator must see: bugs, with their traceback, late answers, tasks that a call left."""

    interests: Final = frozenset({BugFound, LeftTaskEnded, RequestEnded, TaskLeft})

    def notify(self, event: Event) -> None:
        match event:
            case RequestEnded():
                if event.late_by_s > 0:
                    logger.bind(request_id=event.request_id, status=event.status).warning(
                        "the answer was late by {:.1f} ms", event.late_by_s * 1000
                    )
            case BugFound():
                bound = logger.bind(request_id=event.request_id)
                bound.opt(exception=event.exception).error("bug in {}", event.where)
            case TaskLeft():
                logger.bind(request_id=event.request_id).warning(
                    "call {} has ended, and has left an asyncio task: {}", event.call, event.place
                )
            case LeftTaskEnded():
                logger.bind(request_id=event.request_id).info(
                    "the asyncio task that call {} left has ended {:.1f} ms after it: {}",
                    event.call,
                    event.after_s * 1000,
                    event.place,
                )


def _text(record: Record) -> str:
    record["message"] = printable(record["message"])
    extra = "".join(f" {name}={{extra[{name}]}}" for name in record["extra"])
    return f"{_TEXT}<dim>{extra}</dim>\n{{exception}}"


def _to_writer(writer: LogWriter, mask: Mask, line_of: Callable[[Message], str]) -> Callable[[Message], None]:
    def make_line(message: Message) -> str:
        return mask(line_of(message))

    return lambda message: writer.put(make_line, message)


def _json_line(message: Message) -> str:
    record = message.record
    entry = {
        "time": record["time"].isoformat(),
        "level": record["level"].name.lower(),
        "message": record["message"],
        **record["extra"],
    }
    if record["exception"] is not None:
        entry["traceback"] = str(message).removeprefix(record["message"]).strip()
    # Not msgspec, which rejects text that is no Unicode: these lines are rare, and none may be lost.
    return json.dumps(entry, default=str, separators=(",", ":")) + "\n"


class _Intercept(logging.Handler):
    """Hands records of the standard library's loggers to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno
        logger.bind(logger=record.name).opt(exception=record.exc_info).log(level, record.getMessage())
