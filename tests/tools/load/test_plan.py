"""What the user writes is understood or refused with one line."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest

from fanout.tools.load.plan import BadPlan, LoadPlan, parsed_mix, parsed_target, parsed_timeouts
from fanout.tools.load.shot import Draw


@pytest.mark.parametrize(
    ("url", "written_out"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost/", "http://localhost:80"),
        ("https://[::1]/behind/", "https://[::1]:443/behind"),
    ],
)
def test_a_base_url_names_host_port_and_prefix(url: str, written_out: str) -> None:
    """Ports default by scheme; a trailing slash does not matter."""
    assert parsed_target(url).url == written_out


@pytest.mark.parametrize(
    "url",
    ["", "8080", "127.0.0.1:8080", "ftp://a", "http://", "http://a:b", "http://a?x=1", "http://u:p@a",
     "http://a b", "http://[::1", "http://ä", "http://a:99999", "http://a/\n"],
)  # fmt: skip
def test_what_is_not_a_base_url_is_refused(url: str) -> None:
    """One line, no traceback."""
    with pytest.raises(BadPlan, match=r"\A.*\Z"):
        parsed_target(url)


@pytest.mark.parametrize(
    "url",
    ["http://u:hunter2@a", "http://u:hunter2/x@a", "http://[hunter2@a", "http://a?hunter2"],
)
def test_a_refused_url_shows_no_password(url: str) -> None:
    with pytest.raises(BadPlan) as raised:
        parsed_target(url)
    assert "hunter2" not in str(raised.value)


def test_certificate_options_are_for_https() -> None:
    """An option that could have no effect is a mistake."""
    with pytest.raises(BadPlan, match="https"):
        parsed_target("http://a", insecure=True)


def test_a_mix_is_weights_by_endpoint() -> None:
    """A name alone weighs 1."""
    assert [(endpoint.path, weight) for endpoint, weight in parsed_mix("first=3, all")] == [
        ("/api/first", 3.0),
        ("/api/all", 1.0),
    ]


@pytest.mark.parametrize("mix", ["", "first=", "first=0", "first=-1", "first=nan", "last=1", "first,first"])
def test_a_bad_mix_is_refused(mix: str) -> None:
    """With the known names in the message."""
    with pytest.raises(BadPlan, match="first and all"):
        parsed_mix(mix)


def test_timeouts_are_whole_milliseconds() -> None:
    """One or several."""
    assert parsed_timeouts("1000") == (1000,)
    assert parsed_timeouts("300, 1000") == (300, 1000)


@pytest.mark.parametrize("timeouts", ["", "0", "-1", "1.5", "1e3", "1,,2", "\u0661", "9" * 5000])
def test_bad_timeouts_are_refused(timeouts: str) -> None:
    """The server would refuse them too, but this is not what is to be measured."""
    with pytest.raises(BadPlan, match="whole milliseconds"):
        parsed_timeouts(timeouts)


@pytest.mark.parametrize(
    "options",
    [
        {"rate_per_s": 0.0},
        {"rate_per_s": nan},
        {"rate_per_s": inf},
        {"duration_s": inf},
        {"ramp_s": nan},
        {"duration_s": None},
    ],
)
def test_a_run_without_an_end_or_a_rate_is_refused(options: dict[str, Any]) -> None:
    """Numbers that are none, and a run without any bound."""
    with pytest.raises(BadPlan):
        LoadPlan(target=parsed_target("http://a"), **options)


def test_draws_follow_the_weights_and_repeat_with_the_seed() -> None:
    """first=3,all=1 over two timeouts: a quarter is `all`, half has each timeout, a tenth hangs up."""
    plan = LoadPlan(
        target=parsed_target("http://a/p"),
        mix=parsed_mix("first=3,all=1"),
        timeouts_ms=(300, 1000),
        hang_up_share=0.1,
    )
    draw, again = Draw(plan), Draw(plan)
    shots = [(draw.shot(), draw.leave()) for _ in range(20_000)]
    assert shots == [(again.shot(), again.leave()) for _ in range(20_000)]
    assert sum(shot.endpoint.name == "all" for shot, _ in shots) == pytest.approx(5000, rel=0.05)
    assert sum(shot.timeout_ms == 300 for shot, _ in shots) == pytest.approx(10_000, rel=0.05)
    leaves = [leave for _, leave in shots if leave is not None]
    assert len(leaves) == pytest.approx(2000, rel=0.1)
    assert sum(leave.reset for leave in leaves) == pytest.approx(1000, rel=0.1)
    assert all(0 <= leave.after_s <= 0.1 for leave in leaves)
    assert shots[0][0].request.startswith(b"GET /p/api/")
