"""Settings: what is read from where, and the one line for everything that is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.config import (
    DEFAULT_UPSTREAM,
    SETTINGS,
    Bind,
    SettingsError,
    load,
    mask_refused_url,
    mask_url,
    secrets_of,
)


def test_the_defaults_are_good_settings() -> None:
    settings = load({}, {}).settings
    assert settings.bind == Bind("127.0.0.1", 8080)
    assert settings.admin_bind == Bind("127.0.0.1", 8081)
    assert settings.calls == (DEFAULT_UPSTREAM, DEFAULT_UPSTREAM)
    assert (settings.default_timeout_ms, settings.max_timeout_ms) == (1000, 30_000)


def test_a_flag_overrides_a_variable_and_a_variable_the_default() -> None:
    settings = load({"FANOUT_RESERVE_MS": "30", "FANOUT_MAX_IN_FLIGHT": "7"}, {"reserve_ms": "40"}).settings
    assert (settings.reserve_ms, settings.sources["reserve_ms"]) == (40, "--reserve-ms")
    assert (settings.max_in_flight, settings.sources["max_in_flight"]) == (7, "FANOUT_MAX_IN_FLIGHT")
    assert settings.sources["bind"] == "default"


def test_one_upstream_is_called_twice_and_several_once_each() -> None:
    one = load({"FANOUT_UPSTREAMS": "http://a/work"}, {}).settings
    assert one.calls == ("http://a/work", "http://a/work")
    three = load({"FANOUT_UPSTREAMS": "http://a/x, http://b/y,https://c/z?q=1"}, {}).settings
    assert three.calls == ("http://a/x", "http://b/y", "https://c/z?q=1")


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("192.0.2.1:80", Bind("192.0.2.1", 80)),
        ("[::1]:0", Bind("::1", 0)),
        ("localhost:65535", Bind("localhost", 65535)),
    ],
)
def test_binds(text: str, bind: Bind) -> None:
    assert load({"FANOUT_BIND": text}, {}).settings.bind == bind


def test_the_admin_listener_may_be_asked_by_its_own_name_and_the_configured_ones() -> None:
    assert load({}, {}).settings.admin_hosts == ()
    bound = {"FANOUT_ADMIN_BIND": "Ops.example:8081", "FANOUT_ADMIN_HOSTS": "fanout, Fanout.Monitoring.svc."}
    assert load(bound, {}).settings.admin_names == ("ops.example", "fanout", "fanout.monitoring.svc")


def test_an_admin_listener_with_a_final_dot_in_its_name_knows_it_as_host_has_it() -> None:
    """`Host` is compared without its final dot."""
    bound = {"FANOUT_ADMIN_BIND": "VM.example.:8081"}
    assert load(bound, {}).settings.admin_names == ("vm.example",)


# What is no name, would change what a request means, or is sent by clients with another meaning.
NO_DEADLINE_HEADERS = [
    *(" ", "X Left", "X-Left:", "X-Left\r\nHost: a", "X-Läft", "X-Left\n", ":path", "X" * 65),
    *(
        "Host",
        "host",
        "HOST",
        "Content-Length",
        "Content-Type",
        "Connection",
        "Keep-Alive",
        "Transfer-Encoding",
    ),
    *(
        "TE",
        "Trailer",
        "Upgrade",
        "Expect",
        "Range",
        "If-Match",
        "Accept",
        "Accept-Encoding",
        "Authorization",
    ),
    *("Proxy-Authorization", "Proxy-Connection", "Cookie", "User-Agent", "traceparent", "tracestate"),
    *("X-Request-Id", "X-Fanout-Receipt", "X-Forwarded-For", "Forwarded", "Via", "Referer", "Origin"),
    *("Sec-Fetch-Mode", "Cache-Control", "Max-Forwards", "Date", "Priority", "HTTP2-Settings", "baggage"),
]
WRONG = [
    ("FANOUT_BIND", "8080"),
    ("FANOUT_BIND", ":8080"),
    ("FANOUT_BIND", "localhost:"),
    ("FANOUT_BIND", "localhost:http"),
    ("FANOUT_BIND", "localhost:65536"),
    ("FANOUT_BIND", "localhost:-1"),
    ("FANOUT_BIND", "localhost:٣"),
    ("FANOUT_ADMIN_BIND", ""),
    ("FANOUT_ADMIN_HOSTS", "a.example,"),
    ("FANOUT_ADMIN_HOSTS", "http://a.example"),
    ("FANOUT_ADMIN_HOSTS", "a.example:8081"),
    ("FANOUT_ADMIN_HOSTS", "a..example"),
    ("FANOUT_ADMIN_HOSTS", "*"),
    ("FANOUT_ADMIN_HOSTS", "*.example"),
    ("FANOUT_ADMIN_HOSTS", "a" * 64),
    ("FANOUT_ADMIN_HOSTS", ".".join(["a" * 50] * 6)),
    ("FANOUT_ADMIN_HOSTS", "-a.example"),
    ("FANOUT_ADMIN_HOSTS", "ä.example"),
    ("FANOUT_ADMIN_HOSTS", "a.example\nb"),
    ("FANOUT_UPSTREAMS", ""),
    ("FANOUT_UPSTREAMS", "http://a/,"),
    ("FANOUT_UPSTREAMS", "ftp://a/"),
    ("FANOUT_UPSTREAMS", "a/work"),
    ("FANOUT_UPSTREAMS", "http:///work"),
    ("FANOUT_UPSTREAMS", "http://a:0/"),
    ("FANOUT_UPSTREAMS", "http://a:99999/"),
    ("FANOUT_UPSTREAMS", "http://[::1/"),
    ("FANOUT_UPSTREAMS", "http://a/#part"),
    ("FANOUT_UPSTREAMS", "http://a/b c"),
    ("FANOUT_UPSTREAMS", "http://a/\r\nHost: b"),
    ("FANOUT_UPSTREAMS", "http://ä/"),
    ("FANOUT_UPSTREAMS", ",".join(["http://a/"] * 17)),
    ("FANOUT_DEFAULT_TIMEOUT_MS", "0"),
    ("FANOUT_DEFAULT_TIMEOUT_MS", "1.5"),
    ("FANOUT_DEFAULT_TIMEOUT_MS", "1_000"),
    ("FANOUT_DEFAULT_TIMEOUT_MS", "+5"),
    ("FANOUT_MAX_TIMEOUT_MS", "600001"),
    ("FANOUT_MAX_TIMEOUT_MS", "9" * 5000),
    ("FANOUT_RESERVE_MS", "-1"),
    ("FANOUT_MAX_IN_FLIGHT", "0"),
    ("FANOUT_UPSTREAM_CA", "/no/such/file.pem"),
    *(("FANOUT_DEADLINE_HEADER", name) for name in NO_DEADLINE_HEADERS),
    ("FANOUT_MIN_CALL_MS", "0"),  # an upstream may take 0 for "no limit"
    ("FANOUT_MIN_CALL_MS", "-1"),
    ("FANOUT_MIN_CALL_MS", "0.5"),
    ("FANOUT_LOG_LEVEL", "loud"),
    ("FANOUT_LOG_FORMAT", "xml"),
]


@pytest.mark.parametrize(("variable", "value"), WRONG, ids=[f"{name}={value[:24]}" for name, value in WRONG])
def test_a_wrong_value_is_one_line_with_the_setting_and_the_fix(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load({variable: value}, {})
    line = str(raised.value)
    assert line.startswith(f"{variable}=")
    assert "use " in line
    assert "\n" not in line


def test_the_flag_is_named_when_the_flag_was_wrong() -> None:
    with pytest.raises(SettingsError, match=r"^--reserve-ms='x': use a whole number from 0 to 1000$"):
        load({"FANOUT_RESERVE_MS": "20"}, {"reserve_ms": "x"})


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"FANOUT_MAX_TIMEOUT_MS": "500"}, ["FANOUT_DEFAULT_TIMEOUT_MS=1000", "FANOUT_MAX_TIMEOUT_MS=500"]),
        ({"FANOUT_RESERVE_MS": "1000"}, ["FANOUT_RESERVE_MS=1000", "FANOUT_DEFAULT_TIMEOUT_MS=1000"]),
        (
            {"FANOUT_MIN_CALL_MS": "980"},
            ["FANOUT_MIN_CALL_MS=980", "FANOUT_RESERVE_MS=20", "FANOUT_DEFAULT_TIMEOUT_MS=1000"],
        ),
        ({"FANOUT_ADMIN_BIND": "127.0.0.1:8080"}, ["FANOUT_BIND", "FANOUT_ADMIN_BIND", "127.0.0.1:8080"]),
    ],
)
def test_contradictions_are_refused_and_both_sides_named(
    environment: dict[str, str], named: list[str]
) -> None:
    with pytest.raises(SettingsError) as raised:
        load(environment, {})
    assert all(name in str(raised.value) for name in named)


def test_a_call_may_need_nearly_all_of_the_default_timeout() -> None:
    assert load({"FANOUT_MIN_CALL_MS": "979"}, {}).settings.min_call_ms == 979


@pytest.mark.parametrize(
    "name", ["", "X-Request-Timeout-Ms", "x-envoy-upstream-rq-timeout-ms", "grpc-timeout-ms", "Deadline!"]
)
def test_a_deadline_header_has_any_name_that_means_nothing_else(name: str) -> None:
    assert load({"FANOUT_DEADLINE_HEADER": name}, {}).settings.deadline_header == name


def test_two_free_ports_do_not_collide() -> None:
    load({"FANOUT_BIND": "127.0.0.1:0", "FANOUT_ADMIN_BIND": "127.0.0.1:0"}, {})


def test_a_near_miss_is_pointed_out_and_kubernetes_own_variables_are_not() -> None:
    warnings = load({"FANOUT_UPSTREAM": "http://a/", "FANOUT_PORT": "tcp://10.0.0.1:80"}, {}).warnings
    assert warnings == ("FANOUT_UPSTREAM is not a setting and was ignored: did you mean FANOUT_UPSTREAMS?",)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("http://a/b", "http://a/b"),
        ("https://user:pass@a:1/b", "https://***@a:1/b"),
        ("http://a/b?key=secret&x=1", "http://a/b?key=***&x=***"),
        ("http://a/b?secret", "http://a/b?***"),
        ("http://a/b?key=secret&secret", "http://a/b?key=***&***"),
        ("http://user:12345/secret@a/b", "http://user:12345/***@a/b"),
        ("http://user:12345?key=secret@a/b", "http://user:12345/***?***"),
        ("http://user:/secret?x@a/b", "http://user:/***?***"),
        ("http://user:hunter2@secret@a/b", "http://***@a/b"),
        ("http://user:x@hunter2?secret@a/b", "http://***"),
        ("http://[::1/", "***"),
    ],
)
def test_credentials_are_masked(url: str, masked: str) -> None:
    assert mask_url(url) == masked


def test_a_wrong_url_does_not_print_its_password() -> None:
    with pytest.raises(SettingsError) as raised:
        load({"FANOUT_UPSTREAMS": "http://user:hunter2@a:99999/"}, {})
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("ftp://a/b", "ftp://a/b"),
        ("http://[::1/", "http://[::1/"),
        ("http://a/b c,http://d:0/", "http://a/b c,http://d:0/"),
        ("http://user:hunter2,secret@a/x", "http://***@a/x"),
        ("http://user:hunter2/secret@a/x", "http://***@a/x"),
        ("HTTPS://user:hunter2@secret@a:x/", "HTTPS://***@a:x/"),
        ("user:hunter2@a/x", "***@a/x"),
        ("hunter2://@a/x", "***@a/x"),
        ("http:/user:hunter2@a/x", "http:/***@a/x"),
        ('"http://user:hunter2@a/x"', '***@a/x"'),
        ("http://user:hunter2%40a/x", "http://***@a/x"),
        ("http://a/b c?key=hunter2", "http://a/b c?***"),
        ("http://a/#hunter2", "http://a/?***"),
        ("http://user:hunter2#secret@a/x", "http://***"),
        ("http://u:x?hunter2@h/&key=hunter2", "http://***"),
        ("http://user:hunter2@a:0/,http://user:secret@b/?key=hunter2", "http://***@b/?***"),
    ],
)
def test_of_a_refused_url_only_what_cannot_be_a_password_is_shown(text: str, masked: str) -> None:
    assert mask_refused_url(text) == masked


SHAPES_OF_URLS = [
    "http://user:{}@10.0.0.1/x",
    "https://{}@10.0.0.1/a b?y=1",
    "http://user:{}@10.0.0.1:99999/x",
    "http://user:{}@[::1/x",
    "user:{}@10.0.0.1/x",
    "{}@10.0.0.1",
    "http:/user:{}@10.0.0.1/x",
    "ftp://user:{}@10.0.0.1/x",
    ' "http://user:{}@10.0.0.1/x"',
    "http://10.0.0.1/a b?key={}",
    "http://10.0.0.1:0/?{}",
    "http://10.0.0.1:0/?me@10.0.0.1&key={}",
    "http://10.0.0.1/#{}",
    "http://user:{}@10.0.0.1/x,http://10.0.0.2:0/",
    "ftp://10.0.0.2/,http://user:{}@10.0.0.1/x",
    "http://user:{0}@10.0.0.1/,http://user:{0}@10.0.0.2:x/?key={0}",
]
around_a_password = st.text("aZ9@:/?#,=&%[]\\|;+ \n\t'\"{}~ä", max_size=8)


@pytest.mark.parametrize("shape", SHAPES_OF_URLS)
@given(before=around_a_password, after=around_a_password)
def test_a_password_is_never_shown_whatever_is_wrong_with_its_url(
    shape: str, before: str, after: str
) -> None:
    """Neither in the error nor, if the URL is a good one, among the settings."""
    environment = {"FANOUT_UPSTREAMS": shape.format(f"{before}hunter2{after}")}
    try:
        shown = str(load(environment, {}).settings.shown())
    except SettingsError as error:
        shown = str(error)
    assert "hunter2" not in shown


def test_a_part_of_a_query_without_a_name_is_a_secret_of_the_log() -> None:
    assert secrets_of("http://a/?hunter2&key=secret") == ["hunter2", "secret"]


def test_every_setting_says_what_it_is() -> None:
    for setting in SETTINGS:
        assert setting.help.endswith(".")
        setting.parse(setting.default)


def test_an_old_name_of_a_setting_is_an_error_that_has_the_new_one() -> None:
    """To ignore it would change a server's behaviour without a word."""
    with pytest.raises(SettingsError, match=r"FANOUT_MAX_PASS_MS='7'.* FANOUT_MAX_LOOP_LAG_MS"):
        load({"FANOUT_MAX_PASS_MS": "7"}, {})
