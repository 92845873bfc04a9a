"""docs/tracing.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from fanout.observe import tracing_attributes, tracing_settings
from fanout.observe.tracing import FLUSH_WITHIN_S
from fanout.observe.tracing_attributes import MAX_TEXT
from fanout.observe.tracing_context import MAX_STATE_CHARACTERS
from fanout.observe.tracing_settings import read_tracing
from fanout.upstream.phases import Phase

DOCUMENT = (Path(__file__).parents[2] / "docs/tracing.md").read_text()
TEXT = " ".join(DOCUMENT.split())


def source(module: object) -> str:
    return Path(str(module.__dict__["__file__"])).read_text()


def test_the_figures_are_those_of_the_code() -> None:
    settings = read_tracing({"OTEL_TRACES_EXPORTER": "otlp"})
    assert settings is not None
    queue = (
        f"{settings.max_waiting} spans, sent {settings.max_batch} at once, or after {settings.delay_ms} ms"
    )
    assert queue in TEXT
    assert f"for at most {FLUSH_WITHIN_S} s" in TEXT
    assert f"up to {MAX_STATE_CHARACTERS} characters" in TEXT
    assert f"cut to {MAX_TEXT} characters" in TEXT


def test_every_attribute_of_ours_that_is_named_exists() -> None:
    named = set(re.findall(r"`(fanout\.[a-z_.]+)`", DOCUMENT))
    phases = {name for name in named if name.startswith("fanout.phase.")}
    assert len(named) > 6
    assert all(f'"{name}"' in source(tracing_attributes) for name in named - phases)
    assert {name.removeprefix("fanout.phase.") for name in phases} <= set(Phase)


def test_every_variable_that_is_read_is_documented() -> None:
    read = set(re.findall(r'"(OTEL_[A-Z_]+)"', source(tracing_settings)))
    assert len(read) > 8
    assert read - set(re.findall(r"OTEL_[A-Z_]+", DOCUMENT)) == {
        "OTEL_EXPORTER_OTLP_PROTOCOL",  # there is one, and the document names it
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    }
