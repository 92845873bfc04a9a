"""Settings and overrides are checked whole, and a wrong one says what is allowed."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fanout.tools.simulator import Overrides, SimulatorSettings, parse_rates
from fanout.tools.simulator.faults import FAULTS
from fanout.tools.simulator.overrides import overrides_from_json, overrides_from_query
from fanout.tools.simulator.settings import UNRELIABLE

WRONG_SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "negative seed": ({"seed": -1}, "seed must be a whole number from 0 to"),
    "true for a number": ({"min_delay_ms": True}, "min_delay_ms must be a whole number from 0 to 600000"),
    "fraction": ({"min_delay_ms": 1.5}, "min_delay_ms must be a whole number"),
    "text": ({"max_delay_ms": "100"}, "max_delay_ms must be a whole number"),
    "negative": ({"min_delay_ms": -1}, "min_delay_ms must be a whole number"),
    "too long": ({"max_delay_ms": 600_001}, "max_delay_ms must be a whole number"),
    "min above max": ({"min_delay_ms": 601}, "min_delay_ms must not be above max_delay_ms: 601 > 600"),
    "unknown fault": ({"faults": {"nope": 0.1}}, "faults has no 'nope'; known: chunked, gzip"),
    "faults as list": ({"faults": ["garbage"]}, "faults must be an object of shares"),
    "share above 1": ({"faults": {"garbage": 1.1}}, "share of garbage must be a number from 0 to 1"),
    "share below 0": ({"faults": {"garbage": -0.1}}, "share of garbage must be a number from 0 to 1"),
    "share not a number": ({"faults": {"garbage": float("nan")}}, "share of garbage must be a number"),
    "share true": ({"faults": {"garbage": True}}, "share of garbage must be a number"),
    "share text": ({"faults": {"garbage": "0.1"}}, "share of garbage must be a number"),
    "more than all": ({"faults": {"garbage": 0.6, "empty": 0.5}}, "faults must add up to at most 1, not 1.1"),
    "call fault for connections": ({"connection_faults": {"garbage": 0.1}}, "known: accept_hang"),
}


@pytest.mark.parametrize("case", WRONG_SETTINGS)
def test_wrong_settings_are_refused_in_one_sentence(case: str) -> None:
    changes, why = WRONG_SETTINGS[case]
    with pytest.raises(ValueError, match=re.escape(why)) as from_json:
        SimulatorSettings().changed(changes)
    with pytest.raises(ValueError, match=re.escape(why)) as made:
        SimulatorSettings(**changes)
    assert str(made.value) == str(from_json.value)
    assert "\n" not in str(made.value)


def test_the_default_is_100_to_600_ms_and_unreliable() -> None:
    settings = SimulatorSettings()
    assert (settings.min_delay_ms, settings.max_delay_ms) == (100, 600)
    assert settings.faults == UNRELIABLE
    assert settings.connection_faults == {}


def test_shares_that_add_up_to_one_are_fine() -> None:
    """Ten tenths are a little less, or more, than one in binary."""
    SimulatorSettings(faults=dict.fromkeys(list(FAULTS)[:10], 0.1))


def test_settings_cannot_be_changed_from_outside() -> None:
    rates = {"garbage": 0.5}
    settings = SimulatorSettings(faults=rates)
    rates["garbage"] = 2
    assert settings.faults == {"garbage": 0.5}
    with pytest.raises(TypeError):
        settings.faults["garbage"] = 2  # type: ignore[index]  # the mistake that is tested


def test_a_change_keeps_the_rest() -> None:
    settings = SimulatorSettings(seed=3, faults={"empty": 0.5})
    changed = settings.changed({"max_delay_ms": 700})
    assert changed == SimulatorSettings(seed=3, max_delay_ms=700, faults={"empty": 0.5})
    assert SimulatorSettings().changed(settings.as_json()) == settings


@pytest.mark.parametrize("changes", [[], None, 3, "x", {"delay": 1}])
def test_settings_are_an_object_of_known_names(changes: object) -> None:
    with pytest.raises(ValueError, match=r"(allowed|with any of): seed, min_delay_ms"):
        SimulatorSettings().changed(changes)


def test_rates_are_read_from_a_command_line() -> None:
    assert parse_rates(["garbage=0.1", "empty=1"]) == {"garbage": 0.1, "empty": 1.0}


@pytest.mark.parametrize("text", ["", "garbage", "garbage=", "=0.1", "garbage=x", "garbage:0.1"])
def test_a_rate_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a rate is NAME=SHARE"):
        parse_rates([text])


RIGHT_QUERIES = {
    "": (Overrides(), None),
    "delay_ms=0": (Overrides(delay_ms=0), None),
    "delay_ms=5&fault=drip&drip_ms=7&tag=x": (Overrides(delay_ms=5, fault="drip", drip_ms=7, tag="x"), None),
    "status=503": (Overrides(fault="status", status=503), None),
    "fault=status&status=503": (Overrides(fault="status", status=503), None),
    "fault=status": (Overrides(fault="status"), None),
    "fault=none&slot=a_B-9": (Overrides(fault="none"), "a_B-9"),
    "tag=%C3%A9": (Overrides(tag="é"), None),
}


@pytest.mark.parametrize("query", RIGHT_QUERIES)
def test_a_query_is_read(query: str) -> None:
    assert overrides_from_query(query) == RIGHT_QUERIES[query]


WRONG_QUERIES = {
    "delay_ms=": "delay_ms must be a whole number from 0 to 600000, not ''",
    "delay_ms=-1": "delay_ms must be a whole number",
    "delay_ms=1.5": "delay_ms must be a whole number",
    "delay_ms=600001": "delay_ms must be a whole number",
    "delay_ms=%D9%A1": "delay_ms must be a whole number",
    "delay_ms=" + "9" * 5000: "delay_ms must be a whole number",
    "delay_ms=1&delay_ms=1": "delay_ms is there twice",
    "drip_ms=x": "drip_ms must be a whole number",
    "status=200": "status must be a whole number from 201 to 599",
    "status=600": "status must be a whole number from 201 to 599",
    "status=503&fault=empty": "status goes with fault=status, or without a fault",
    "fault=nope": "there is no fault 'nope'; allowed: none, chunked",
    "fault=": "there is no fault ''",
    "tag=": "tag must be 1 to 64 printable characters",
    "tag=%0a": "tag must be 1 to 64 printable characters",
    "slot=": "a slot's name is 1 to 32 of",
    "slot=a/b": "a slot's name is 1 to 32 of",
    "dealy_ms=5": "the query has no 'dealy_ms'; allowed: delay_ms, fault, status, drip_ms, tag, slot",
}


@pytest.mark.parametrize("query", WRONG_QUERIES)
def test_a_wrong_query_says_what_is_allowed(query: str) -> None:
    with pytest.raises(ValueError, match=re.escape(WRONG_QUERIES[query])):
        overrides_from_query(query)


@pytest.mark.parametrize(
    "value",
    [[], None, {"slot": "a"}, {"fault": []}, {"fault": 1}, {"tag": 5}, {"delay_ms": "5"}, {"status": True}],
)
def test_wrong_overrides_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"must be|has no|there is no"):
        overrides_from_json(value)


def test_a_query_goes_over_its_slot_field_by_field() -> None:
    slot = Overrides(delay_ms=5, fault="status", status=503, tag="slot")
    assert Overrides().over(slot) == slot
    assert Overrides(delay_ms=0, tag="q").over(slot) == Overrides(0, "status", 503, None, "q")
    assert Overrides(fault="empty").over(slot) == Overrides(5, "empty", None, None, "slot")
    assert Overrides(fault="none").over(slot) == Overrides(5, "none", None, None, "slot")
