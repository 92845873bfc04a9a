"""`OPTIONS *` is about the server, not about a resource: RFC 9110 9.3.7."""

from __future__ import annotations

import pytest

from fanout.testing import run_scenario
from tests.api.test_edge import ask


def test_options_of_the_server_says_what_it_can_do() -> None:
    """The methods that some resource has."""
    replay = ask("*", method="OPTIONS")
    assert (replay.status, replay.body) == (200, b"")
    assert replay.headers["allow"] == "GET, HEAD, OPTIONS"
    assert replay.headers["cache-control"] == "no-store"
    assert replay.headers["x-request-id"]


def test_it_starts_no_call() -> None:
    assert run_scenario("*", [], method="OPTIONS").status == 200


@pytest.mark.parametrize("path", ["/*", "/"])
def test_a_path_is_no_star(path: str) -> None:
    assert ask(path, method="OPTIONS").status == (404 if path == "/*" else 200)
