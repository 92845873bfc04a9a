"""When there are traces, and what is wrong with a setting, in one line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import Decision, ParentBasedTraceIdRatio
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from fanout.observe.trace_context import TraceContext
from fanout.observe.tracing_sampler import SAMPLERS, read_sampler
from fanout.observe.tracing_settings import TracingSettings, read_tracing

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


def read(**variables: str) -> TracingSettings:
    settings = read_tracing({**ENDPOINT, **variables})
    assert settings is not None
    return settings


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_SERVICE_NAME": "shop"},
        {"OTEL_TRACES_EXPORTER": "none"},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "true"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "TRUE"},
    ],
)
def test_it_is_off(environment: dict[str, str]) -> None:
    assert read_tracing(environment) is None


@pytest.mark.parametrize(
    ("environment", "collector"),
    [
        (ENDPOINT, "http://collector:4318"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://me:key@there/v1/traces?t=1"}, "https://there"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "http://localhost:4318"),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "false"}, "http://collector:4318"),
        (
            {**ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://[::1]:4318/v1/traces"},
            "http://[::1]:4318",
        ),
    ],
)
def test_it_is_on_when_a_variable_says_where_spans_go(environment: dict[str, str], collector: str) -> None:
    settings = read_tracing(environment)
    assert settings is not None
    assert settings.collector == collector


def test_the_defaults_are_those_of_the_specification() -> None:
    settings = read()
    assert settings.sampler == read_sampler("parentbased_always_on", "")
    assert (settings.max_waiting, settings.max_batch, settings.delay_ms) == (2048, 512, 5000)


def test_a_batch_is_never_larger_than_the_queue() -> None:
    assert read(OTEL_BSP_MAX_QUEUE_SIZE="100").max_batch == 100


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "otlp or none"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "http/protobuf"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "parentbased_traceidratio"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "above 0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "many", "above 0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1", "above 0"),
    ],
)
def test_a_wrong_value_is_one_line_with_the_setting_the_value_and_the_fix(
    name: str, value: str, fix: str
) -> None:
    with pytest.raises(ValueError, match=fix) as caught:
        read(**{name: value})
    assert name in str(caught.value)
    assert value in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ratio", ["", "0", "1", "0.25", "1e-3"])
def test_a_ratio_is_taken(ratio: str) -> None:
    sampler = read(OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG=ratio).sampler
    assert sampler.below == float(ratio or "1") * 2**64


@pytest.mark.parametrize("ratio", ["1.1", "-0.1", "nan", "1%", "inf"])
def test_a_wrong_ratio_is_one_line(ratio: str) -> None:
    with pytest.raises(ValueError, match=r"OTEL_TRACES_SAMPLER_ARG=.*: use a ratio from 0\.0 to 1\.0"):
        read(OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG=ratio)


@pytest.mark.parametrize(
    "url", ["localhost:4318", "grpc://collector:4317", "http://", "http://[", "http://h:x"]
)
def test_an_endpoint_that_is_no_http_url_is_refused_and_not_repeated(url: str) -> None:
    """It may hold a password, and it is too broken to know where."""
    with pytest.raises(
        ValueError, match="OTEL_EXPORTER_OTLP_ENDPOINT is not an http URL: use one such as"
    ) as caught:
        read(OTEL_EXPORTER_OTLP_ENDPOINT=url)
    assert url not in str(caught.value).replace("http://localhost:4318", "")


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("caller_sampled", [None, False, True])
def test_every_standard_sampler_decides_as_its_name_says(name: str, caller_sampled: bool | None) -> None:
    caller = None if caller_sampled is None else TraceContext(5, 6, int(caller_sampled))
    sampler = read_sampler(name, "0")
    expected = name.endswith("always_on")
    if caller_sampled is not None and name.startswith("parentbased_"):
        expected = caller_sampled
    assert sampler.samples(7, caller) is expected


@given(st.integers(1, 2**128 - 1), st.floats(0, 1), st.sampled_from([None, 0, 1]))
def test_the_decision_is_that_of_opentelemetrys_sampler(
    trace_id: int, ratio: float, flags: int | None
) -> None:
    """So programs with the same ratio record the same traces, whoever of them began one."""
    theirs = ParentBasedTraceIdRatio(ratio)
    context = caller = None
    if flags is not None:
        caller = TraceContext(trace_id, 1, flags)
        span = NonRecordingSpan(SpanContext(trace_id, 1, True, TraceFlags(flags)))
        context = set_span_in_context(span)
    expected = theirs.should_sample(context, trace_id, "GET").decision is Decision.RECORD_AND_SAMPLE
    assert read_sampler("parentbased_traceidratio", str(ratio)).samples(trace_id, caller) is expected
