"""Settings: one frozen object, read once from flags and `FANOUT_*` variables, checked as a whole.

Every setting is one row of `SETTINGS`; the command line, `fanout config` and the documentation are
made from it. A wrong value ends with one line that names the setting, the value and the fix.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

DEFAULT_UPSTREAM: Final = "https://exponea-engineering-assignment.appspot.com/api/work"
DEFAULT_DEADLINE_HEADER: Final = "X-Envoy-Expected-Rq-Timeout-Ms"
MOST_UPSTREAMS: Final = 16
LARGEST_PORT: Final = 65535
_LABEL: Final = re.compile(r"[A-Za-z0-9_-]{1,63}")
_LONGEST_NAME: Final = 253
LARGEST_MAX_TIMEOUT_MS: Final = 600_000  # ten minutes: longer belongs in a job queue, not in a request


class SettingsError(Exception):
    """A setting is wrong. The message is one line: the setting, the value, the fix."""


@dataclass(frozen=True, slots=True)
class Bind:
    """Where a listener binds. Port 0 means: any free port, and the ready line says which."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Settings:
    """The effective settings. Units are in the names.

    sources: where each value came from, by name: `default`, a variable, or a flag.
    """

    bind: Bind
    admin_bind: Bind
    admin_hosts: tuple[str, ...]
    upstreams: tuple[str, ...]
    default_timeout_ms: int
    max_timeout_ms: int
    reserve_ms: int
    deadline_header: str
    min_call_ms: int
    max_in_flight: int
    max_loop_lag_ms: int
    lame_duck_ms: int
    workers: int
    upstream_ca: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    log_level: str
    log_format: str
    log_requests: str
    leak_check: str
    sources: Mapping[str, str] = field(compare=False)

    @property
    def calls(self) -> tuple[str, ...]:
        """One URL a call: a single upstream is called twice."""
        return self.upstreams * 2 if len(self.upstreams) == 1 else self.upstreams

    @property
    def upstream_names(self) -> tuple[str, ...]:
        """One a call: the upstream's host and port, or its whole URL if they name several. Nothing secret."""
        hosts = [urlsplit(url).netloc.rpartition("@")[2] for url in self.calls]
        are_names = len(set(hosts)) == len(set(self.upstreams))
        return tuple(hosts) if are_names else tuple(map(mask_url, self.calls))

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no log may show: of each upstream the password, as written and as sent, and query values."""
        return tuple(secret for url in self.upstreams for secret in secrets_of(url))

    @property
    def admin_binds(self) -> tuple[Bind, ...]:
        """One per worker: the ports from `admin_bind`'s on, or any free ones."""
        return _admin_binds(self.admin_bind, self.workers)

    @property
    def admin_names(self) -> tuple[str, ...]:
        """The names that `Host` may be on the admin listener. `admin_bind` may be a name, too."""
        return (self.admin_bind.host.lower().removesuffix("."), *self.admin_hosts)

    @property
    def descriptors_needed(self) -> int:
        """Open files of a process at the limit: the sockets of every request, and some to live on."""
        return self.max_in_flight * (1 + len(self.calls)) + SPARE_DESCRIPTORS

    def shown(self) -> dict[str, dict[str, Any]]:
        """The `value` and the `source` of each setting, by variable, for JSON. Secrets are masked."""
        return {
            setting.variable: {
                "value": _shown(getattr(self, setting.name)),
                "source": self.sources[setting.name],
            }
            for setting in SETTINGS
        }


SPARE_DESCRIPTORS: Final = 256  # listeners, admin connections, idle keep-alive clients, logs


@dataclass(frozen=True, slots=True)
class Kind:
    """How the text of a setting is read.

    metavar: what stands for the value in a help text. parse: text to value; raises `ValueError` whose message
    is the fix. choices: all values there are, if they can be listed.
    """

    metavar: str
    parse: Callable[[str], Any]
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """One row: a field of `Settings`, its flag, its default as text, and how its text is read."""

    name: str
    flag: str
    default: str
    kind: Kind
    help: str

    @property
    def variable(self) -> str:
        return f"FANOUT_{self.name.upper()}"

    def parse(self, text: str) -> Any:
        """Raises `ValueError` whose message is the fix."""
        return self.kind.parse(text)


def parse_bind(text: str) -> Bind:
    host, _, port = text.rpartition(":")
    has_brackets = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if has_brackets else host
    is_port = port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= LARGEST_PORT
    if not is_port or has_brackets != (":" in host) or not is_host(host):
        raise ValueError("use HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:8080 or [::1]:8080")
    return Bind(host, int(port))


def is_host(text: str) -> bool:
    """Whether `text` is an IP address without brackets, or a valid name."""
    try:
        if ":" in text:
            ipaddress.IPv6Address(text)
            return True
        labels = text.removesuffix(".").split(".")
        if labels[-1].isdecimal():  # a name ends with a letter
            ipaddress.IPv4Address(text)
            return True
        are_labels = len(text) <= _LONGEST_NAME and all(map(_LABEL.fullmatch, labels))
        return are_labels and all(map(_is_decodable, labels))
    except ValueError:
        return False


def _is_decodable(label: str) -> bool:
    """Whether an international name, written in ASCII, stands for one; if not, the resolver refuses it."""
    if label.lower().startswith("xn--"):
        label.encode("ascii").decode("idna")  # a `UnicodeError` is a `ValueError`
    return True


def _integer(metavar: str, low: int, high: int) -> Kind:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) <= 12 and low <= int(text) <= high):
            raise ValueError(f"use a whole number from {low} to {high}")
        return int(text)

    return Kind(metavar, parse)


def _file(text: str) -> Path | None:
    if not text:
        return None
    if not os.path.isfile(text):
        raise ValueError("use the path of a file that exists")
    return Path(text)


def _one_of(*words: str) -> Kind:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"use one of: {', '.join(words)}")
        return text.lower()

    return Kind(f"[{'|'.join(words)}]", parse, words)


_HOST_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.(?!\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*"
)


def _host_names(text: str) -> tuple[str, ...]:
    """The names in lower case and without a final dot, to be compared to `Host`."""
    names = tuple(name.strip().lower().removesuffix(".") for name in text.split(",")) if text.strip() else ()
    if not all(map(_HOST_NAME.fullmatch, names)):
        raise ValueError(
            "use names such as fanout.example, without scheme and port, with a comma between two; "
            "addresses and localhost are always allowed"
        )
    return names


_FIELD_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
# Fields that have a meaning: in a request to an upstream, or in one from a client, whose value is no number.
_TAKEN: Final = re.compile(
    r"(accept|access-control|content|if|proxy|sec)-.*|x-forwarded(-.*)?|accept|age|authorization|baggage"
    r"|cache-control|connection|cookie|date|dnt|expect|forwarded|from|host|http2-settings|keep-alive"
    r"|last-modified|max-forwards|origin|pragma|priority|range|referer|save-data|te|traceparent|tracestate"
    r"|trailer|transfer-encoding|upgrade(-.*)?|user-agent|via|warning|x-fanout-receipt|x-real-ip|x-request-id",
    re.IGNORECASE,
)


def parse_deadline_header(text: str) -> str:
    """The name of a header field, or nothing. Raises `ValueError` whose message is the fix."""
    if text and (not _FIELD_NAME.fullmatch(text) or _TAKEN.fullmatch(text)):
        raise ValueError(
            "use the name of a header field that means nothing else, such as X-Request-Timeout-Ms, or nothing"
        )
    return text


def _upstreams(text: str) -> tuple[str, ...]:
    urls = tuple(url.strip() for url in text.split(","))
    if len(urls) > MOST_UPSTREAMS:
        raise ValueError(f"use at most {MOST_UPSTREAMS} upstreams: every one is called on every request")
    for url in urls:
        _check_url(url)
    return urls


def _check_url(url: str) -> None:
    fix = "use absolute URLs such as http://127.0.0.1:9000/api/work, with a comma between two"
    try:
        parts = urlsplit(url)
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError(fix) from None
    host = parts.hostname or ""
    host_ok = is_host(host) and "%" not in host  # no zone of an IPv6 address: httpx keeps it encoded
    good = parts.scheme in ("http", "https") and host_ok and port_ok and not parts.fragment
    if not good or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(fix)


_BIND: Final = Kind("HOST:PORT", parse_bind)
_FILE: Final = Kind("PATH", _file)

SETTINGS: Final = (
    Setting("bind", "--bind", "127.0.0.1:8080", _BIND, "Where the API listens."),
    Setting(
        "admin_bind",
        "--admin-bind",
        "127.0.0.1:8081",
        _BIND,
        "Where health, statistics and the live page listen.",
    ),
    Setting(
        "admin_hosts",
        "--admin-hosts",
        "",
        Kind("NAMES", _host_names),
        "Names that the admin listener accepts in Host, comma-separated; always: addresses and localhost.",
    ),
    Setting(
        "upstreams",
        "--upstream",
        DEFAULT_UPSTREAM,
        Kind("URL", _upstreams),
        "An upstream. Repeatable: each is called once per request; a single one is called twice.",
    ),
    Setting(
        "default_timeout_ms",
        "--default-timeout-ms",
        "1000",
        _integer("MS", 1, LARGEST_MAX_TIMEOUT_MS),
        "The timeout of a request without one.",
    ),
    Setting(
        "max_timeout_ms",
        "--max-timeout-ms",
        "30000",
        _integer("MS", 1, LARGEST_MAX_TIMEOUT_MS),
        "The longest timeout that a request may have.",
    ),
    Setting(
        "reserve_ms",
        "--reserve-ms",
        "20",
        _integer("MS", 0, 1000),
        "Time reserve: the part of every timeout that is kept for writing the answer.",
    ),
    Setting(
        "deadline_header",
        "--deadline-header",
        DEFAULT_DEADLINE_HEADER,
        Kind("NAME", parse_deadline_header),
        "Header that tells upstreams the time left, in ms; clients may send theirs in it. Empty: none.",
    ),
    Setting(
        "min_call_ms",
        "--min-call-ms",
        "1",
        _integer("MS", 1, LARGEST_MAX_TIMEOUT_MS),
        "With less time left, a call is not started and its request is not sent.",
    ),
    Setting(
        "max_in_flight",
        "--max-in-flight",
        "1000",
        _integer("COUNT", 1, 100_000),
        "Limit of requests in flight, for each worker; the next one gets a 503.",
    ),
    Setting(
        "max_loop_lag_ms",
        "--max-loop-lag-ms",
        "5",
        _integer("MS", 1, 1000),
        "New requests are shed while an event-loop iteration takes longer than this.",
    ),
    Setting(
        "lame_duck_ms",
        "--lame-duck-ms",
        "0",
        _integer("MS", 0, LARGEST_MAX_TIMEOUT_MS),
        "After SIGTERM, keep serving for this time with /readyz at 503, then shut down. For a balancer.",
    ),
    Setting(
        "workers",
        "--workers",
        "1",
        _integer("COUNT", 1, 64),
        "Processes that share the public port. Their admin ports: FANOUT_ADMIN_BIND's and those above.",
    ),
    Setting(
        "upstream_ca",
        "--upstream-ca",
        "",
        _FILE,
        "PEM file of the only authorities to trust for https upstreams. Empty: the system's.",
    ),
    Setting(
        "tls_cert",
        "--tls-cert",
        "",
        _FILE,
        "PEM file with the server's certificate chain: the API speaks TLS. Empty: no TLS.",
    ),
    Setting("tls_key", "--tls-key", "", _FILE, "PEM file with the private key of --tls-cert, not encrypted."),
    Setting(
        "log_level",
        "--log-level",
        "info",
        _one_of("debug", "info", "warning", "error"),
        "The least severe level that is logged.",
    ),
    Setting(
        "log_format",
        "--log-format",
        "auto",
        _one_of("auto", "text", "json"),
        "json is one object per line; auto is text on a terminal and json elsewhere.",
    ),
    Setting(
        "log_requests",
        "--log-requests",
        "all",
        _one_of("all", "failed", "none"),
        "Which requests get a line in the log; failed: those without success.",
    ),
    Setting(
        "leak_check",
        "--leak-check",
        "on",
        _one_of("on", "off"),
        "Check every request for leaked tasks, admission permits and connections.",
    ),
)
assert (*(s.name for s in SETTINGS), "sources") == tuple(f.name for f in fields(Settings))
ADMIN_BINDS: Final = ("admin_bind", "workers")  # the settings that decide where the admin listeners are


RENAMED: Final = {  # to be ignored would be a silent change
    "FANOUT_CENSUS": "FANOUT_LEAK_CHECK",
    "FANOUT_MAX_PASS_MS": "FANOUT_MAX_LOOP_LAG_MS",
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and what looks odd."""

    settings: Settings
    warnings: Sequence[str]


def load(environment: Mapping[str, str], flags: Mapping[str, str]) -> Loaded:
    """Read every setting: flags (by field name, as text) over environment over defaults.

    Raises `SettingsError` with one line for the first thing that is wrong.
    """
    for old, new in RENAMED.items():
        if old in environment:
            raise SettingsError(f"{old}={environment[old]!r}: this setting is called {new} now: rename it")
    values, sources = _read(SETTINGS, environment, flags)
    settings = Settings(**values, sources=sources)
    _cross_check(settings)
    return Loaded(settings, _typos(environment))


def load_admin_binds(environment: Mapping[str, str], flags: Mapping[str, str]) -> tuple[Bind, ...]:
    """Where the admin listeners of a server with these settings are; no other setting is read.

    Raises `SettingsError` as `load` does.
    """
    values, _ = _read([each for each in SETTINGS if each.name in ADMIN_BINDS], environment, flags)
    return _admin_binds(values["admin_bind"], values["workers"])


def _read(
    settings: Iterable[Setting], environment: Mapping[str, str], flags: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The value and the source of each, by name."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for setting in settings:
        text, source = setting.default, "default"
        if setting.variable in environment:
            text, source = environment[setting.variable], setting.variable
        if setting.name in flags:
            text, source = flags[setting.name], setting.flag
        try:
            values[setting.name] = setting.parse(text)
        except ValueError as error:
            shown = mask_refused_url(text) if setting.name == "upstreams" else text
            raise SettingsError(f"{_named(setting, source)}={shown!r}: {error}") from None
        sources[setting.name] = source
    return values, sources


def _named(setting: Setting, source: str) -> str:
    return setting.variable if source == "default" else source


def _cross_check(settings: Settings) -> None:
    """Refuse settings that are each fine and contradict each other."""
    s = settings
    if s.default_timeout_ms > s.max_timeout_ms:
        raise SettingsError(
            f"FANOUT_DEFAULT_TIMEOUT_MS={s.default_timeout_ms} is above FANOUT_MAX_TIMEOUT_MS="
            f"{s.max_timeout_ms}: lower the first or raise the second"
        )
    if s.reserve_ms >= s.default_timeout_ms:
        raise SettingsError(
            f"FANOUT_RESERVE_MS={s.reserve_ms} leaves nothing of FANOUT_DEFAULT_TIMEOUT_MS="
            f"{s.default_timeout_ms} for the calls: lower the first or raise the second"
        )
    if s.min_call_ms >= s.default_timeout_ms - s.reserve_ms:
        raise SettingsError(
            f"FANOUT_MIN_CALL_MS={s.min_call_ms} is all that FANOUT_RESERVE_MS={s.reserve_ms} leaves of "
            f"FANOUT_DEFAULT_TIMEOUT_MS={s.default_timeout_ms}, or more: lower the first or raise the last"
        )
    admin_binds = _admin_binds(s.admin_bind, s.workers)
    if (s.tls_cert is None) != (s.tls_key is None):
        raise SettingsError("FANOUT_TLS_CERT and FANOUT_TLS_KEY go together: set both or none")
    if s.bind == s.admin_bind and s.bind.port != 0:
        raise SettingsError(
            f"FANOUT_BIND and FANOUT_ADMIN_BIND are both {s.bind}: give the admin listener another port"
        )
    if s.bind.port != 0 and s.bind in admin_binds:
        raise SettingsError(
            f"FANOUT_WORKERS={s.workers} needs as many admin ports from FANOUT_ADMIN_BIND={s.admin_bind} on, "
            f"and one of them is FANOUT_BIND={s.bind}: give one of the two another port"
        )


def _admin_binds(first: Bind, workers: int) -> tuple[Bind, ...]:
    """One per worker. Raises `SettingsError` if there are too few ports."""
    if first.port and first.port + workers - 1 > LARGEST_PORT:
        raise SettingsError(
            f"FANOUT_WORKERS={workers} needs as many admin ports from FANOUT_ADMIN_BIND={first} on, "
            f"and {LARGEST_PORT} is the last: lower one of them"
        )
    return tuple(Bind(first.host, first.port + index if first.port else 0) for index in range(workers))


def _typos(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Variables that look like a setting and are none.

    Only near misses: Kubernetes itself sets `FANOUT_PORT` and more for a service called fanout.
    """
    known = [setting.variable for setting in SETTINGS]
    found = []
    for name in sorted(environment):
        if name.startswith("FANOUT_") and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
            if near:
                found.append(f"{name} is not a setting and was ignored: did you mean {near[0]}?")
    return tuple(found)


_HTTP_SCHEME: Final = re.compile(r"\s*https?:/{0,2}", re.IGNORECASE)


def secrets_of(url: str) -> list[str]:
    """What of a URL is a secret, or may be one, in every form in which it is written or sent."""
    parts = urlsplit(url)
    credentials = unquote(parts.netloc.rpartition("@")[0])
    password = credentials.partition(":")[2]
    encoded = b64encode(credentials.encode()).decode("ascii")
    values = [pair.partition("=")[2] if "=" in pair else pair for pair in parts.query.split("&")]
    forms = [parts.password or "", password, encoded, *values, *map(unquote, values)]
    return [form for form in dict.fromkeys(forms) if form]


def _shown(value: Any) -> Any:
    if isinstance(value, tuple):
        return [mask_url(url) for url in value]
    return value if isinstance(value, int | None) else str(value)


def mask_url(url: str) -> str:
    """The URL with its user name, password and query values replaced by ***: they may be secrets.

    An `@` after the host may end a password that has a `/` or a `?` in it, so that is masked as well.
    """
    if url.count("@") > 1:
        return mask_refused_url(url)  # it is not certain which of them ends the password
    try:
        parts = urlsplit(url)
    except ValueError:
        return "***"
    netloc, path = _mask_to_at(parts.netloc), _mask_to_at(parts.path)
    query = "&".join(map(_mask_pair, parts.query.split("&"))) if parts.query else ""
    if "@" in parts.query:
        path, query = "/***", "***"
    return SplitResult(parts.scheme, netloc, path, query, "").geturl()


def mask_refused_url(text: str) -> str:
    """What may be shown of a text that is not a URL, or not several with commas between them.

    It does not have the parts of a URL, and a password in it may have any character. So everything before the
    last `@` is masked, except an http scheme, and everything after the first `?` or `#`.
    """
    http = _HTTP_SCHEME.match(text)
    scheme = http[0] if http else ""
    before, *query = re.split(r"[?#]", text[len(scheme) :].replace("%40", "@"), maxsplit=1)
    if "@" in "".join(query):
        return f"{scheme}***"
    return scheme + _mask_to_at(before) + ("?***" if query else "")


def _mask_to_at(text: str) -> str:
    _, at, rest = text.rpartition("@")
    return f"***@{rest}" if at else text


def _mask_pair(pair: str) -> str:
    """A pair of a query. Without a `=`, it may be a value."""
    name, equals, _ = pair.partition("=")
    return f"{name}=***" if equals else "***"
