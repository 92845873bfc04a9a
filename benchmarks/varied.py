"""Requests of which no two are alike, so that no server profits from a client that repeats itself.

Clients differ in the names, order and spelling of their headers, in the query around `timeout`, and in the
timeout itself (95 to 100 % of what the load asks for). Numbers in a request are counted up, so that no two
have the same bytes. All of it is drawn from the seed of the load's plan, which is the same for every server.

The upstream does the same with its answers (`peers/upstream.conf`).
"""

from __future__ import annotations

import random
from typing import Any, Final

from fanout.tools.load.generator import Generator
from fanout.tools.load.plan import LoadPlan
from fanout.tools.load.shot import Draw, Shot

KINDS: Final = 400  # of clients; more than what a server keeps of queries and headers it has seen
SHORTEST: Final = 0.95  # of the timeout that is asked for
# A value says where the number of the request goes: `%(n)d`.
_HEADERS: Final = (
    ("Accept", ("application/json", "*/*", "application/json, application/problem+json;q=0.9")),
    ("Accept-Encoding", ("gzip, deflate, br", "identity", "gzip")),
    ("Accept-Language", ("en", "de-AT,de;q=0.8,en;q=0.5", "sk, cs;q=0.7", "fr-CA")),
    ("Authorization", ("Bearer %(n)032d", "Basic %(n)016d")),
    ("Cache-Control", ("no-cache", "max-age=0")),
    ("Cookie", ("session=%(n)d", "session=%(n)024d; theme=dark; seen=1")),
    ("Origin", ("https://shop.example", "https://%(n)d.example")),
    ("Referer", ("https://shop.example/basket/%(n)d", "https://shop.example/")),
    ("User-Agent", ("curl/8.14.1", "okhttp/5.1.0", "Mozilla/5.0 (X11; Linux x86_64) Firefox/%(n)d")),
    ("X-Forwarded-For", ("10.0.0.%(b)d", "10.%(b)d.3.4, 10.0.0.7")),
    ("X-Request-Id", ("%(n)d", "request-%(n)016d")),
    ("traceparent", ("00-%(n)032d-%(n)016d-01",)),
)
_PARAMETERS: Final = ("user=%(n)d", "v=2", "page=%(b)d", "q=", "debug=0")
_SPELLINGS: Final = (str, str.lower, str.upper)


def templates(path: str, authority: str, seed: int, connection: str = "") -> list[bytes]:
    """The requests of `KINDS` clients: `%(timeout)d`, the number `%(n)d` and a byte `%(b)d` are left open."""
    rng = random.Random(seed)
    return [_template(rng, path, authority, connection) for _ in range(KINDS)]


def _template(rng: random.Random, path: str, authority: str, connection: str) -> bytes:
    query = ["timeout=%(timeout)d", *rng.sample(_PARAMETERS, rng.randrange(4))]
    chosen = rng.sample(_HEADERS, rng.randrange(2, 9))
    fields = [("Host", authority), *((name, rng.choice(values)) for name, values in chosen)]
    if not any("%(n)" in text for text in (*query, *(value for _, value in fields))):
        fields.append(("X-Number", "%(n)d"))
    if connection:
        fields.append(("Connection", connection))
    rng.shuffle(query)
    rng.shuffle(fields)
    spelt = rng.choice(_SPELLINGS)
    lines = [f"GET {path}?{'&'.join(query)} HTTP/1.1", *(f"{spelt(name)}: {value}" for name, value in fields)]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii")


def filled(template: bytes, timeout_ms: int, number: int) -> bytes:
    return template % {b"timeout": timeout_ms, b"n": number, b"b": number % 256}


class VariedDraw(Draw):
    """Draws the same endpoints and timeouts as the plan's own draw, in requests that differ."""

    def __init__(self, plan: LoadPlan) -> None:
        super().__init__(plan)
        self._of_clients = random.Random(plan.seed)
        self._templates = {
            endpoint.name: templates(
                f"{plan.target.prefix}{endpoint.path}",
                plan.target.authority,
                plan.seed,
                "" if plan.keep_alive else "close",
            )
            for endpoint, _ in plan.mix
        }
        self._drawn = 0

    def shot(self) -> Shot:
        plain = super().shot()
        self._drawn += 1
        random_share = self._of_clients.random
        its = self._templates[plain.endpoint.name]
        longest_ms = plain.timeout_ms
        timeout_ms = longest_ms - int(random_share() * (1 - SHORTEST) * longest_ms)
        template = its[int(random_share() * KINDS)]
        return Shot(plain.endpoint, timeout_ms, filled(template, timeout_ms, self._drawn))


class VariedGenerator(Generator):
    """A generator of such requests."""

    def __init__(self, plan: LoadPlan, *rest: Any) -> None:
        super().__init__(plan, *rest)
        self._draw = VariedDraw(plan)
