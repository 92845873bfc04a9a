"""The guard around the whole admin listener: it decides which requests are allowed, and when they run.

The admin listener has no passwords. The network protects it. These rules protect it against a browser inside
that network, which may run pages from anywhere.

Rule 1: `Host` must be an address, `localhost`, or a name from `FANOUT_ADMIN_HOSTS`. The owner of any other
        name can make it point here (DNS rebinding), and then a page of that name can read the answers of this
        listener. A request without `Host` is allowed: HTTP/1.0 probes send none, and every browser sends one.
Rule 2: a request that a browser sends for a page of another origin is rejected (`Origin`, `Sec-Fetch-Site`).
        A link to a page here works, because it is a navigation: the other page cannot read the result.
Rule 3: probes have turns of their own, so no other admin client can make them wait.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from loguru import logger

from fanout.admin.turns import AdminTurns
from fanout.server.asgi import App, Receive, Scope, Send, send_json

PROBES: Final = frozenset({"/livez", "/readyz"})


class AdminGuard:
    """An ASGI app around another one. It passes allowed requests on, each at its turn."""

    def __init__(self, app: App, hosts: Iterable[str], turns: AdminTurns) -> None:
        """hosts: the names that `Host` may be, in lower case."""
        self._app = app
        self._hosts = frozenset(hosts)
        self._turns = turns
        self._has_warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            turns = self._turns.probes if scope["path"] in PROBES else self._turns.others
            await turns.next()
            fields: dict[bytes, bytes] = dict(scope["headers"])
            name = _host_name(fields)
            if name is not None and not self._is_known(name):
                self._warn_once(name)
                await send_json(send, 421, {"error": _unknown_host(name)})
                return
            if _is_for_another_origin(scope, fields):
                await send_json(send, 403, {"error": "pages of another origin may not use this listener"})
                return
        await self._app(scope, receive, send)

    def _is_known(self, name: str) -> bool:
        return name == "localhost" or name in self._hosts or _is_address(name)

    def _warn_once(self, name: str) -> None:
        """Warn once per process, so that such requests cannot fill the log."""
        if not self._has_warned:
            self._has_warned = True
            logger.warning("the admin listener rejected a request: {}", _unknown_host(name))


def _host_name(fields: dict[bytes, bytes]) -> str | None:
    """The host without its port and final dot, in lower case; `None`: the request has no `Host`."""
    host = fields.get(b"host")
    if host is None:
        return None
    name = host.decode("latin-1").lower()
    if not name.endswith("]"):
        before, colon, _ = name.rpartition(":")
        name = before if colon else name
    return name.removeprefix("[").removesuffix("]").removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _unknown_host(name: str) -> str:
    return (
        f"Host is {name[:253]}, not an address or localhost: to allow it, add the name to FANOUT_ADMIN_HOSTS"
    )


def _is_for_another_origin(scope: Scope, fields: dict[bytes, bytes]) -> bool:
    origin, host = fields.get(b"origin"), fields.get(b"host", b"")
    if origin is not None and origin != b"%b://%b" % (scope["scheme"].encode("ascii"), host):
        return True
    if fields.get(b"sec-fetch-site", b"none") in (b"none", b"same-origin"):
        return False
    return not (fields.get(b"sec-fetch-mode") == b"navigate" and fields.get(b"sec-fetch-dest") == b"document")
