"""Logs: one JSON object a line for machines, text for people, and everything that logs routed in."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from loguru import logger

from fanout.config import load, secrets_of
from fanout.observe.log import LogObserver, Mask, configure_logging, configured_logs
from fanout.race.events import BugFound, RequestEnded


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
    assert "ZeroDivisionError" in entry["traceback"]
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


def test_a_late_answer_is_a_warning_and_one_in_time_is_not() -> None:
    configure_logging("info", "json", stream := io.StringIO())
    LogObserver().notify(RequestEnded("r-1", None, 0, 200, None, 0.0, None, None, at=0))
    LogObserver().notify(RequestEnded("r-2", None, 0, None, "client_disconnected", 0.0, None, None, at=0))
    LogObserver().notify(RequestEnded("r-3", None, 0, 500, None, 0.0123, None, None, at=0))
    (entry,) = entries(stream)
    assert (entry["level"], entry["request_id"], entry["status"]) == ("warning", "r-3", 500)
    assert entry["message"] == "the answer was late by 12.3 ms"


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
