"""What no log may show."""

from __future__ import annotations

import io
import json

import pytest
from loguru import logger

from fanout.config import load, secrets_of
from fanout.observe.log import configure_logging
from fanout.observe.masking import Mask


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
