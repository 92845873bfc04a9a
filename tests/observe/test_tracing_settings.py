"""When there are traces, and what is wrong with a setting, in one line."""

from __future__ import annotations

import pytest

from fanout.observe.tracing import sampler_of
from fanout.observe.tracing_context import RequestTrace, begin
from fanout.observe.tracing_settings import SAMPLERS, TracingSettings, read_tracing

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
    assert (settings.ratio, settings.follows_client) == (1.0, True)
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
    settings = read(OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG=ratio)
    assert settings.ratio == float(ratio or "1")


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
@pytest.mark.parametrize("client_sampled", [None, False, True])
def test_every_standard_sampler_decides_as_its_name_says(name: str, client_sampled: bool | None) -> None:
    settings = read(OTEL_TRACES_SAMPLER=name, OTEL_TRACES_SAMPLER_ARG="0")
    headers = []
    if client_sampled is not None:
        headers.append((b"traceparent", b"00-%032x-%016x-%02x" % (5, 6, client_sampled)))
    expected = name.endswith("always_on")
    if client_sampled is not None and name.startswith("parentbased_"):
        expected = client_sampled
    scope = {"method": "GET", "path": "/", "raw_path": b"/", "scheme": "http", "http_version": "1.1"}
    trace = begin({**scope, "headers": headers}, dict(headers), sampler_of(settings))
    assert isinstance(trace, RequestTrace) is expected


@pytest.mark.parametrize(
    ("environment", "asked_by", "collector"),
    [
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": " http://me:key@a:1/x?y "},
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://a:1",
            "http://a:1",
        ),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://b/v1", **ENDPOINT},
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://b",
            "https://b",
        ),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "OTEL_TRACES_EXPORTER=otlp", "http://localhost:4318"),
    ],
)
def test_it_says_which_variable_asked_for_traces_and_shows_nothing_secret(
    environment: dict[str, str], asked_by: str, collector: str
) -> None:
    settings = read_tracing(environment)
    assert settings == TracingSettings(asked_by, collector, 1.0, True, 2048, 512, 5000)


def test_every_number_is_its_variables() -> None:
    settings = read(
        OTEL_BSP_MAX_QUEUE_SIZE="700",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="300",
        OTEL_BSP_SCHEDULE_DELAY="999999999",
        OTEL_TRACES_SAMPLER="traceidratio",
        OTEL_TRACES_SAMPLER_ARG="0.25",
    )
    assert (settings.max_waiting, settings.max_batch, settings.delay_ms) == (700, 300, 999_999_999)
    assert (settings.ratio, settings.follows_client) == (0.25, False)
    assert read(OTEL_BSP_SCHEDULE_DELAY="1").delay_ms == 1
    assert read(OTEL_TRACES_SAMPLER="always_off").ratio == 0.0
    assert read(OTEL_TRACES_SAMPLER="always_on", OTEL_TRACES_SAMPLER_ARG="x").ratio == 1.0


@pytest.mark.parametrize("number", ["1234567890", "00", "1.5", "²", "+1", "1_0"])
def test_a_number_is_a_few_decimal_digits_above_0(number: str) -> None:
    with pytest.raises(ValueError, match=r"^OTEL_BSP_SCHEDULE_DELAY=.*: use a whole number above 0$"):
        read(OTEL_BSP_SCHEDULE_DELAY=number)


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"])
@pytest.mark.parametrize("timeout", ["0", "nan", "inf", "-1", "soon", "1e-400"])
def test_a_timeout_with_which_no_batch_would_arrive_is_one_line(name: str, timeout: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}='{timeout}': use a number of seconds above 0$"):
        read(**{name: timeout})


@pytest.mark.parametrize("timeout", ["", " ", "10", "0.5"])
def test_a_timeout_is_taken(timeout: str) -> None:
    assert read(OTEL_EXPORTER_OTLP_TIMEOUT=timeout).delay_ms


@pytest.mark.parametrize("url", ["http://collector:0", "HTTP//x", "ftp://a", "http:///x", "//a"])
def test_more_that_is_no_endpoint(url: str) -> None:
    with pytest.raises(ValueError, match=r"^OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is not an http URL: "):
        read(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=url)


def test_a_wrong_sampler_is_told_all_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"^OTEL_TRACES_SAMPLER='x': use one of ") as caught:
        read(OTEL_TRACES_SAMPLER="x")
    assert str(caught.value).endswith(
        "always_on, always_off, traceidratio, "
        "parentbased_always_on, parentbased_always_off, parentbased_traceidratio"
    )


def test_a_protocol_that_is_right_is_taken() -> None:
    assert read(OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf", OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="").delay_ms
