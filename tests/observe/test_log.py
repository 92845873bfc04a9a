"""Logs: one JSON object a line for machines, text for people, and everything that logs routed in."""

from __future__ import annotations

import atexit
import io
import json
import logging
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from datetime import datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from loguru import logger

from fanout.config import load, secrets_of
from fanout.observe import log as log_module
from fanout.observe.log import (
    LogObserver,
    Mask,
    configure_logging,
    configured_logs,
    is_text,
    json_event,
    log_what_python_reports,
    printable,
    report_crash,
)
from fanout.observe.observers import Observers
from fanout.race.events import BugFound, LeftTaskEnded, RequestEnded, TaskLeft

if TYPE_CHECKING:
    from loguru import Record


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logger.remove()
    root.handlers[:], root.level = handlers, level


def written(stream: io.StringIO) -> str:
    """What the writer's thread has written once it is done."""
    logs = configured_logs()
    assert logs is not None
    logs.writer.close()
    return stream.getvalue()


def entries(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written(stream).splitlines()]


def bug() -> ZeroDivisionError:
    try:
        1 / 0  # noqa: B018 - for its traceback
    except ZeroDivisionError as error:
        return error
    raise AssertionError


def test_a_bug_is_one_json_line_with_its_traceback_and_request() -> None:
    """G11: as the core tells it, whatever becomes of the exception afterwards."""
    configure_logging("info", "auto", stream := io.StringIO())
    LogObserver().notify(BugFound("r-1", "call 0", bug(), at=0))
    (entry,) = entries(stream)
    assert (entry["level"], entry["message"], entry["request_id"]) == ("error", "bug in call 0", "r-1")
    assert entry["traceback"].startswith("Traceback (most recent call last):\n")
    assert entry["traceback"].endswith("ZeroDivisionError: division by zero")
    assert "in bug" in entry["traceback"]


def test_a_traceback_shows_no_values() -> None:
    """Values can be secrets."""
    configure_logging("info", "json", stream := io.StringIO())

    def raise_with(password: str) -> None:
        raise RuntimeError(len(password))

    secret = "hunter2"
    try:
        raise_with(secret)
    except RuntimeError as error:
        LogObserver().notify(BugFound("r", "x", error, at=0))
    assert "in raise_with" in written(stream)
    assert secret not in stream.getvalue()


def test_a_traceback_begins_where_the_exception_was_caught() -> None:
    """What lies above, down to the event loop, is the same each time."""
    configure_logging("info", "json", stream := io.StringIO())
    try:
        raise ZeroDivisionError
    except ZeroDivisionError as error:
        LogObserver().notify(BugFound("r-1", "call 0", error, at=0))
    (entry,) = entries(stream)
    assert entry["traceback"].count('File "') == 1


def test_every_event_that_has_a_line_reaches_the_log() -> None:
    """It receives only the events that are among its interests."""
    configure_logging("info", "json", stream := io.StringIO())
    observers = Observers([LogObserver()])
    observers.notify(BugFound("bug", "call 0", bug(), at=0))
    observers.notify(TaskLeft("left", 1, "fetch (a.py:3)", at=0))
    observers.notify(LeftTaskEnded("end", 1, "fetch (a.py:3)", after_s=1, at=1))
    observers.notify(RequestEnded("late", None, 0, 200, None, 1.0, None, None, at=0))
    assert [entry["request_id"] for entry in entries(stream)] == ["bug", "left", "end", "late"]


def test_a_late_answer_is_a_warning_and_one_in_time_is_not() -> None:
    configure_logging("info", "json", stream := io.StringIO())
    LogObserver().notify(RequestEnded("r-1", None, 0, 200, None, 0.0, None, None, at=0))
    LogObserver().notify(RequestEnded("r-2", None, 0, None, "client_disconnected", 0.0, None, None, at=0))
    LogObserver().notify(RequestEnded("r-3", None, 0, 500, None, 1.2345, None, None, at=0))
    (entry,) = entries(stream)
    assert (entry["level"], entry["request_id"], entry["status"]) == ("warning", "r-3", 500)
    assert entry["message"] == "the answer was late by 1234.5 ms"


def test_a_terminal_gets_text_and_a_pipe_json() -> None:
    configure_logging("info", "auto", terminal := Terminal())
    logger.info("hello")
    assert "hello" in written(terminal)
    assert "{" not in terminal.getvalue()
    configure_logging("info", "text", pipe := io.StringIO())
    logger.bind(request_id="r-1").info("hello")
    assert "r-1" in written(pipe)
    assert "\x1b" not in pipe.getvalue()  # colours only on a terminal


def test_the_level_is_kept() -> None:
    configure_logging("warning", "json", stream := io.StringIO())
    logger.info("quiet")
    logger.warning("loud")
    assert [entry["message"] for entry in entries(stream)] == ["loud"]


def test_other_loggers_are_routed_in_and_their_chatter_is_not() -> None:
    configure_logging("info", "json", stream := io.StringIO())
    logging.getLogger("httpx").info("HTTP Request: GET ...")
    logging.getLogger("hypercorn.error").info("Running on ...")
    logging.getLogger("hypercorn.error").error("Error in ASGI Framework with {braces}")
    (entry,) = entries(stream)
    assert entry["logger"] == "hypercorn.error"
    assert entry["message"] == "Error in ASGI Framework with {braces}"


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ("no http://user:pass@host/api?x=1 here", "no http://***@host/api?x=1 here"),
        ("a token only: https://abc@host", "a token only: https://***@host"),
        ("mail to a@b.c", "mail to a@b.c"),
        ("http://host/path@2", "http://host/path@2"),
    ],
)
def test_credentials_of_any_url_are_masked(line: str, masked: str) -> None:
    assert Mask()(line) == masked


@pytest.mark.parametrize("form", ['pa"ss wörd', "pa%22ss%20w%C3%B6rd", "dXNlcjpwYVwi"])
def test_the_secrets_are_masked_wherever_they_stand(form: str) -> None:
    mask = Mask(['pa"ss wörd', "pa%22ss%20w%C3%B6rd", "dXNlcjpwYVwi"])
    assert mask(f"it is {form}!") == "it is ***!"
    assert mask(json.dumps({"it": form})) == '{"it": "***"}'


def test_a_short_secret_is_not_looked_for_in_words() -> None:
    assert Mask(["none"])("none of them") == "none of them"
    assert Mask(["short"])("short of shorts") == "short of shorts"
    assert Mask(["longer"])("longer ones") == "*** ones"


def test_an_upstreams_secrets_are_found_in_its_url_in_every_form() -> None:
    found = secrets_of("http://user:p%40ssword@host/api?key=abc%20def&empty=")
    assert found == ["p%40ssword", "p@ssword", "dXNlcjpwQHNzd29yZA==", "abc%20def", "abc def"]
    assert secrets_of("http://host/api") == []


def test_a_log_does_not_show_the_upstreams_password() -> None:
    """Also not in the text of an exception, in which somebody has quoted the URL or the header."""
    url = "http://user:open-sesame@upstream.test/api?key=0123456789"
    settings = load({"FANOUT_UPSTREAMS": url}, {}).settings
    logs = configure_logging("info", "json", stream := io.StringIO(), secrets=settings.secrets)
    try:
        raise RuntimeError(f"cannot use {url} with Basic dXNlcjpvcGVuLXNlc2FtZQ==")
    except RuntimeError as error:
        logger.bind(url=url).opt(exception=error).error("failed: {}", error)
    logs.writer.close()
    logger.remove()
    entry = json.loads(stream.getvalue())
    assert "***@upstream.test" in entry["message"]
    for secret in ("open-sesame", "0123456789", "dXNlcjpvcGVuLXNlc2FtZQ"):
        assert secret not in stream.getvalue()


def test_a_short_secret_is_one_below_six_characters() -> None:
    assert Mask(["abcde"])("abcde") == "abcde"
    assert Mask(["abcdef"])("abcdef") == "***"


def test_of_two_secrets_the_longer_is_masked_first() -> None:
    """The shorter one may be its beginning, and would leave its end to be read."""
    assert Mask(["secret", "secret-and-more"])("secret-and-more, secret") == "***, ***"
    assert Mask(['one"two', "a.c+def"])('one"two one\\"two a.c+def abccdef') == "*** *** *** abccdef"
    assert Mask()("") == ""


def test_a_line_of_json_has_its_time_its_level_and_what_is_bound_to_it() -> None:
    configure_logging("info", "json", stream := io.StringIO())
    logger.bind(number=7, place=io, text="ä").info("hello {}", "you")
    text = written(stream)
    assert text.endswith("}\n")
    assert '": ' not in text  # nothing but what has to be there
    entry = json.loads(text)
    assert datetime.fromisoformat(entry.pop("time")).tzinfo is not None
    assert entry == {"level": "info", "message": "hello you", "number": 7, "place": str(io), "text": "ä"}


def test_a_line_of_text_has_its_level_its_time_and_what_is_bound_to_it() -> None:
    configure_logging("info", "text", stream := io.StringIO())
    logger.bind(request_id="r-1", status=500).warning("late\x1b[2J {}\n\ttab", "b")
    logger.info("plain")
    first, second, third = written(stream).splitlines()
    assert re.fullmatch(r"WARNING \d\d:\d\d:\d\d\.\d{3} late\\x1b\[2J b", first)
    assert second == "\ttab request_id=r-1 status=500"
    assert re.fullmatch(r"INFO    \d\d:\d\d:\d\d\.\d{3} plain", third)


def test_the_time_of_a_line_of_text_is_exact_to_the_millisecond() -> None:
    configure_logging("info", "text", stream := io.StringIO())

    def in_the_afternoon(record: Record) -> None:
        record["time"] = record["time"].replace(hour=15, minute=4, second=5, microsecond=6789)

    logger.patch(in_the_afternoon).info("plain")
    assert written(stream) == "INFO    15:04:05.006 plain\n"


def test_a_traceback_follows_its_line_of_text() -> None:
    configure_logging("info", "text", stream := io.StringIO())
    LogObserver().notify(BugFound("r-1", "call 0", bug(), at=0))
    first, *_, last = written(stream).splitlines()
    assert first.endswith(" bug in call 0 request_id=r-1")
    assert last.startswith("ZeroDivisionError")


def test_a_terminal_has_colours_unless_nobody_wants_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    logs = configure_logging("info", "auto", terminal := Terminal())
    logger.info("hello")
    assert (logs.as_text, logs.has_colour, logs.level) == (True, True, "info")
    assert "\x1b[" in written(terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not configure_logging("info", "auto", Terminal()).has_colour
    monkeypatch.delenv("NO_COLOR")
    assert not configure_logging("info", "json", Terminal()).has_colour
    assert not configure_logging("info", "text", io.StringIO()).has_colour


@pytest.mark.parametrize(
    ("log_format", "stream", "expected"),
    [
        ("auto", Terminal(), True),
        ("auto", io.StringIO(), False),
        ("text", io.StringIO(), True),
        ("json", Terminal(), False),
    ],
)
def test_what_is_text_and_what_json(log_format: str, stream: io.StringIO, expected: bool) -> None:
    assert is_text(log_format, stream) is expected


def test_the_next_log_takes_over_and_the_last_lines_of_the_one_before_are_written() -> None:
    configure_logging("info", "json", first := io.StringIO())
    logger.info("one")
    others: list[str] = []
    logger.add(others.append, format="{message}")
    logs = configure_logging("info", "json", second := io.StringIO())
    logger.info("two")
    assert others == [], "every line has one place"
    assert configured_logs() is logs
    assert (json.loads(first.getvalue())["message"], [e["message"] for e in entries(second)]) == (
        "one",
        ["two"],
    )


def test_an_event_of_a_program_is_one_line_of_json() -> None:
    line = json_event("ready", program="x", url="http://a")
    assert line.endswith("}\n")
    assert '": ' not in line
    entry = json.loads(line)
    assert datetime.fromisoformat(entry.pop("time")).tzinfo is not None
    assert entry == {"level": "info", "message": "ready", "program": "x", "url": "http://a"}
    assert json.loads(json_event("no", "error"))["level"] == "error"


def test_a_task_that_a_call_left_is_a_warning_and_its_end_a_line() -> None:
    configure_logging("info", "json", stream := io.StringIO())
    LogObserver().notify(TaskLeft("r-1", 1, "fetch (a.py:3)", at=0))
    LogObserver().notify(LeftTaskEnded("r-1", 1, "fetch (a.py:3)", after_s=1.2345, at=1))
    said = [(e["level"], e["message"], e["request_id"]) for e in entries(stream)]
    assert said == [
        ("warning", "call 1 has ended, and has left an asyncio task: fetch (a.py:3)", "r-1"),
        ("info", "the asyncio task that call 1 left has ended 1234.5 ms after it: fetch (a.py:3)", "r-1"),
    ]


def test_a_level_that_loguru_does_not_know_is_kept_as_a_number() -> None:
    configure_logging("info", "json", stream := io.StringIO())
    logging.getLogger("odd").log(35, "between")
    logging.getLogger("odd").warning("with %s", "values")
    try:
        raise KeyError("x")
    except KeyError:
        logging.getLogger("odd").exception("failed")
    between, values, failed = entries(stream)
    assert (between["message"], between["level"], between["logger"]) == ("between", "level 35", "odd")
    assert (values["message"], values["level"]) == ("with values", "warning")
    assert (failed["level"], "KeyError" in failed["traceback"]) == ("error", True)


def test_what_is_chatty_is_heard_from_a_warning_on() -> None:
    configure_logging("info", "json", stream := io.StringIO())
    for name in ("httpx", "httpcore", "hypercorn.error", "other"):
        logging.getLogger(name).info("chatter")
        logging.getLogger(name).debug("more chatter")
        logging.getLogger(name).warning("trouble")
    assert [(e["logger"], e["message"]) for e in entries(stream)] == [
        ("httpx", "trouble"),
        ("httpcore", "trouble"),
        ("hypercorn.error", "trouble"),
        ("other", "chatter"),
        ("other", "trouble"),
    ]


def test_what_python_reports_by_itself_is_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    configure_logging("info", "json", stream := io.StringIO())
    log_what_python_reports()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("beware", stacklevel=1)
        for message, what in (("no message of ours", 7), (None, "x")):
            reported: Any = SimpleNamespace(exc_value=bug(), err_msg=message, object=what)
            sys.unraisablehook(reported)
        ended_by: Any = SimpleNamespace(exc_value=bug())
        threading.excepthook(ended_by)
    finally:
        logging.captureWarnings(capture=False)
    warned, named, unnamed, ended = entries(stream)
    assert (warned["level"], warned["logger"], "beware" in warned["message"]) == (
        "warning",
        "py.warnings",
        True,
    )
    assert [e["message"] for e in (named, unnamed, ended)] == [
        "no message of ours in 7",
        "exception ignored in 'x'",
        "an exception ended a thread",
    ]
    for entry in (named, unnamed, ended):
        assert entry["level"] == "error"
        assert "ZeroDivisionError" in entry["traceback"]


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_the_last_line_of_a_process_comes_behind_those_that_are_queued(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("info", log_format, sys.stderr, secrets=["hunter2"])
    logger.info("before")
    assert report_crash("it has crashed: hunter2", bug())
    assert report_crash("and once more", None)
    told = capsys.readouterr().err
    assert "hunter2" not in told
    if log_format == "json":
        before, crash, more = map(json.loads, told.splitlines())
        assert (before["message"], crash["message"], crash["level"]) == (
            "before",
            "it has crashed: ***",
            "error",
        )
        assert crash["traceback"].startswith("Traceback")
        assert crash["traceback"].endswith("ZeroDivisionError: division by zero")
        assert (more["message"], "traceback" in more) == ("and once more", False)
    else:
        _, crash, *traceback, last = told.splitlines()
        assert (crash, last) == ("it has crashed: ***", "and once more")
        assert traceback[0].startswith("Traceback")
        assert traceback[-1] == "ZeroDivisionError: division by zero"


def test_without_a_log_a_crash_is_not_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(log_module, "_configured", None)
    assert report_crash("it has crashed", None) is False
    assert capsys.readouterr().err == ""


def test_a_machine_without_threads_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        logs = configure_logging("info", "json", stream := io.StringIO())
    entry = json.loads(stream.getvalue())
    assert (entry["level"], entry["message"]) == (
        "warning",
        "no thread can be started: the log waits until there is one",
    )
    logs.writer.close()


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError("gone")


def test_a_crash_that_cannot_be_told_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_logging("info", "json", io.StringIO())
    monkeypatch.setattr(sys, "stderr", Gone())
    assert report_crash("it has crashed", bug())


def test_what_is_printable_has_no_control_characters_but_breaks_and_tabs() -> None:
    text = "".join(map(chr, range(256)))
    shown = printable(text)
    assert shown.count("\\x") == 31 - 2 + 1 + 33
    assert "\t" in shown
    assert "\n" in shown
    assert all(character.isprintable() or character in "\t\n\xa0\xad" for character in shown)
    assert printable("\x00\x08\x0b\x1f\x7f\x9f ~ä") == "\\x00\\x08\\x0b\\x1f\\x7f\\x9f ~ä"


def test_what_is_queued_at_the_end_of_the_process_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    at_exit: list[object] = []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    monkeypatch.setattr(atexit, "unregister", at_exit.remove)
    monkeypatch.setattr(log_module, "_configured", None)
    first = configure_logging("info", "json", io.StringIO())
    assert at_exit == [first.writer.close]
    second = configure_logging("info", "json", io.StringIO())
    assert at_exit == [second.writer.close]
