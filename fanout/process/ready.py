"""How a program says that it is ready: some lines for people, one JSON event for machines.

Rule 1: it is one write to standard output, so that a program that waits for it reads all of it.
Rule 2: each stream decides for itself. Without a terminal, both this and the log are JSON lines.
Rule 3: a server that cannot print it is ready anyway.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping, Sequence

import click

import fanout
from fanout.config import Bind, Settings, mask_url
from fanout.observe.log import is_text, json_event
from fanout.process.streams import OutputError


def say_ready(
    program: str, urls: Mapping[str, str], log_format: str = "auto", *, hints: Sequence[str] = ()
) -> str | None:
    """Print that `program` is ready, and its addresses by name. Returns why it could not be printed.

    log_format: see `is_text`. hints: further lines for people.
    """
    if is_text(log_format, sys.stdout):
        width = max(map(len, urls))
        rows = [f"  {name:<{width}}  {url}" for name, url in urls.items()]
        text = "\n".join([f"{program} {fanout.__version__} is ready", *rows, *hints])
    else:
        text = json_event("ready", program=program, version=fanout.__version__, **urls).rstrip()
    try:
        click.echo(text)
    except OutputError as error:
        return f"the ready lines are lost: {error}"
    return None


def server_urls(settings: Settings, public: socket.socket, admins: Sequence[socket.socket]) -> dict[str, str]:
    """Where a server listens and what it calls, by name. admins: of each worker."""
    base = url_of(public, "http" if settings.tls_cert is None else "https")
    urls = {"api": f"{base}/api/first?timeout=1000", "docs": f"{base}/docs"}
    urls |= _numbered("admin", [f"{url_of(admin)}/" for admin in admins])
    urls["live"] = f"{url_of(admins[0])}/live"
    return urls | _numbered("upstream", list(map(mask_url, settings.upstreams)))


def url_of(listener: socket.socket, scheme: str = "http") -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://{Bind(host, port)}"


def _numbered(name: str, urls: Sequence[str]) -> dict[str, str]:
    return {f"{name}-{index}" if index else name: url for index, url in enumerate(urls)}
