"""What users and machines get wrong, as a table: arguments, surroundings, and how the command must end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

FREE: Final = ("--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0")
NOT_UTF_8: Final = "\udcff"  # a byte that no UTF-8 text has, as Python reads it
HUGE: Final = "9" * 400


@dataclass(frozen=True, slots=True)
class Mistake:
    """`fanout ARGUMENTS`. In them FILES is a folder (see `test_mistakes.py`), TAKEN a port in use.

    says: what the one line on standard error has in it; `None`: nothing is written there.
    shell: what a shell does before it starts the command. environment: added to the test's own.
    """

    arguments: tuple[str, ...]
    says: str | None
    code: int = 2
    shell: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        setting = [f"{name}={value}" for name, value in self.environment.items()]
        words = [word[:40] for word in (*setting, self.shell, *self.arguments) if word and word not in FREE]
        return " ".join(words).encode("ascii", "replace").decode()


def _serve(flag: str, value: str, says: str) -> Mistake:
    return Mistake(("serve", *FREE, flag, value), says)


_BINDS = [
    ("a..b:1", "--bind='a..b:1': use HOST:PORT"),
    ("::1:80", "use HOST:PORT"),
    ("[::1:80", "use HOST:PORT"),
    ("[127.0.0.1]:1", "use HOST:PORT"),
    ("300.1.1.1:1", "use HOST:PORT"),
    ("xn--:1", "use HOST:PORT"),
    ("a\nb:1", "use HOST:PORT"),
    (f"{NOT_UTF_8}:1", "use HOST:PORT"),
    (f"a:{HUGE}", "use HOST:PORT"),
    ("[fe80::1%nosuch]:0", "FANOUT_BIND=[fe80::1%nosuch]:0: cannot resolve the host"),
    ("127.0.0.1:TAKEN", "set FANOUT_BIND to another one"),
]
_URLS = [
    "http://999.999.999.999/",
    "http://a..b/",
    "http://xn--:9/",
    "http://[fe80::1%25lo]/",
    f"http://{'a' * 64}/",
    "http://1/",
    "http://[::1/",
    f"http://{NOT_UTF_8}/",
    "\n",
]
_NUMBERS = [
    *(("--workers", HUGE), ("--max-in-flight", "-1"), ("--reserve-ms", "NaN")),
    ("--max-loop-lag-ms", ""),
]
_ENCRYPTED = ("--tls-cert", "FILES/cert.pem", "--tls-key", "FILES/encrypted.pem")
_AUTHORITIES = [
    ("", "--upstream-ca="),
    ("none.pem", "--upstream-ca="),
    ("garbage.pem", "FANOUT_UPSTREAM_CA="),
]
_PEMS = [
    ("garbage.pem", "FANOUT_TLS_CERT="),
    ("empty.pem", "FANOUT_TLS_CERT="),
    ("", "--tls-cert="),
    ("n" * 5000, "--tls-cert="),
]
_LOADS = [
    (("--rate", "nan"), "the rate is above 0"),
    (("--rate", "1e400"), "the rate is above 0"),
    (("--duration", "inf"), "finite numbers"),
    (("--mix", NOT_UTF_8), "in the mix"),
    (("--timeout-ms", "1,,2"), "timeouts are whole milliseconds"),
    (("--url", "http://127.0.0.1:99999"), "is not a URL"),
    (("--html", "/no/such/folder/x"), "--html"),
    (("--html", "FILES"), "--html"),
    (("--url", "https://a", "--ca", "FILES/garbage.pem"), "CA file"),
    (("--bogus",), "No such option"),
]
_UPSTREAMS = [
    (("--bind", "a..b:1"), "--bind='a..b:1': use HOST:PORT"),
    (("--bind", "127.0.0.1:TAKEN"), "set --bind to another one"),
    (("--seed", "9" * 30), "seed must be"),
    (("--fault", f"{NOT_UTF_8}=1"), "faults has no"),
    (("--fault", "status=nan"), "from 0 to 1"),
    (("--tls-cert", "FILES/garbage.pem", "--tls-key", "FILES/garbage.pem"), "cannot be used"),
    (_ENCRYPTED, "the key is encrypted"),
]
_TRACES = [
    ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_BSP_MAX_QUEUE_SIZE": "x"}, "OTEL_BSP_MAX_QUEUE_SIZE='x'"),
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": NOT_UTF_8}, "OTEL_EXPORTER_OTLP_ENDPOINT is not an http URL"),
]
_NO_READER = "exec >&-;"
_FULL = "exec >/dev/full;"
_LOCALES = [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "ascii"}]
_CANNOT_WRITE = "fanout: standard output cannot be written"

MISTAKES: Final = (
    *(_serve("--bind", value, says) for value, says in _BINDS),
    *(_serve("--upstream", url, "use absolute URLs") for url in _URLS),
    *(_serve(flag, value, f"{flag}=") for flag, value in _NUMBERS),
    *(_serve("--upstream-ca", f"FILES/{name}", says) for name, says in _AUTHORITIES),
    *(
        Mistake(("serve", *FREE, "--tls-cert", f"FILES/{name}", "--tls-key", f"FILES/{name}"), says)
        for name, says in _PEMS
    ),
    Mistake(("serve", *FREE, *_ENCRYPTED), "FANOUT_TLS_KEY"),
    Mistake(("serve", *FREE, "--workers", "2", *_ENCRYPTED), "decrypt it with `openssl pkey"),
    Mistake(("serve", *FREE), "check SSL_CERT_FILE", environment={"SSLKEYLOGFILE": "/no/such/folder/x"}),
    Mistake(("serve", *FREE, "--log-level", "loud"), "--log-level", environment={"LOGURU_LEVEL": "bogus"}),
    Mistake(("serve", *FREE), "needs 3256 open files", shell="ulimit -n 100;"),
    *(Mistake(("serve", *FREE), says, environment=dict(setting)) for setting, says in _TRACES),
    *(Mistake(("load", *arguments), says) for arguments, says in _LOADS),
    Mistake(("load", "--url", "http://127.0.0.1:1"), "nothing answers", 3),
    *(Mistake(("upstream", *arguments), says) for arguments, says in _UPSTREAMS),
    Mistake(("demo", *FREE, "--bind", "a..b:1"), "use HOST:PORT"),
    Mistake(("health", "--admin-bind", "a..b:1"), "use HOST:PORT"),
    Mistake(("health", "--admin-bind", "127.0.0.1:1"), "no answer from", 1),
    Mistake(("replay", "--seed", "1", "--trace", "/no/such/folder/x"), "--trace"),
    Mistake(("replay", "--seed", "1", "--requests", "1", "--trace", "/dev/full"), "cannot be written", 3),
    Mistake(("simulate", "--processes", "0"), "--processes"),
    Mistake(("prove", "--scenario", "first", "--schedule", "x"), "is not a deviation such as"),
    Mistake(("prove", "--schedule", "1:2nd"), "name the one --scenario"),
    Mistake(("nosuch",), "No such command"),
    Mistake((NOT_UTF_8,), "No such command"),
    Mistake(("serve", "extra"), "unexpected extra argument"),
    Mistake(("config",), "FANOUT_BIND=", environment={"FANOUT_BIND": f"{NOT_UTF_8}:1"}),
    Mistake(("simulate", "--seeds", "1", "--requests", "1"), "too many open files", 3, "ulimit -n 5;"),
    # Streams.
    *(
        Mistake(command, _CANNOT_WRITE, 3, shell)
        for command in (
            *(("config",), ("--help",), ("simulate", "--seeds", "1", "--requests", "1")),
            ("prove", "--deviations", "0", "--scenario", "crash"),
        )
        for shell in (_FULL, _NO_READER)
    ),
    Mistake(("config",), None, 3, "exec <&- >&- 2>&-;"),
    Mistake(("config",), None, 3, "exec >/dev/full 2>/dev/full;"),
    Mistake(("upstream", "--bind", "a..b:1"), None, 2, "exec 2>&-;"),
    Mistake(("upstream", "--bind", "a..b:1"), None, 2, "exec 2>/dev/full;"),
    # What is no mistake.
    Mistake(("config",), None, 0, "D=$(mktemp -d); cd $D; rmdir $D; unset HOME;"),
    *(Mistake(("config",), None, 0, environment=locale) for locale in _LOCALES),
)
