"""The command `fanout upstream`: the simulated upstream alone."""

from __future__ import annotations

import ssl
from typing import Any

import click
import trio

from fanout.config import DEFAULT_DEADLINE_HEADER, Bind, SettingsError, parse_bind
from fanout.process.exits import REFUSED
from fanout.process.ready import say_ready
from fanout.process.signals import stop_on_signals
from fanout.server.certificates import load_certificate
from fanout.server.listeners import ListenError, open_listeners
from fanout.tools.simulator.connection_faults import CONNECTION_FAULTS
from fanout.tools.simulator.faults import FAULTS, describe_faults
from fanout.tools.simulator.simulator import Simulator
from fanout.tools.simulator_options import simulator_options, simulator_settings

_HELP = """Run the simulated upstream: slow, unreliable, and reproducible.

GET /api/work answers {"time": MS} after a random delay, or misbehaves.

\b
Examples:
  fanout upstream                               100-600 ms, about 10 % failures
  fanout upstream --fault status=0.5 --seed 7   half of the calls fail, the same ones every time
  fanout upstream --heed-deadline               504 when the time that the client has left is over
  curl 'http://127.0.0.1:9000/api/work?delay_ms=50&fault=truncated_json'
  curl 'http://127.0.0.1:9000/calls?since=0'    what happened on the wire, call by call, and
                                                how much time each client said it had left

Each fault has a name, how a strict client counts the call, and what it does.

\b
Faults of a call, for --fault:
{faults}

\b
Faults of a connection, for --connection-fault:
{connection_faults}
"""
_FILE = click.Path(exists=True, dir_okay=False)


@click.command(
    "upstream",
    help=_HELP.replace("{faults}", describe_faults(FAULTS)).replace(
        "{connection_faults}", describe_faults(CONNECTION_FAULTS)
    ),
)
@click.option(
    "--bind", default="127.0.0.1:9000", show_default=True, metavar="HOST:PORT", help="Where to listen."
)
@click.option("--tls-cert", type=_FILE, metavar="PATH", help="Speak TLS with this certificate.")
@click.option("--tls-key", type=_FILE, metavar="PATH", help="Its private key.")
@simulator_options
@click.option(
    "--deadline-header",
    default=DEFAULT_DEADLINE_HEADER,
    show_default=True,
    metavar="NAME",
    help="The header in which clients send the time that they have left, in milliseconds. Empty: none.",
)
def upstream(bind: str, tls_cert: str | None, tls_key: str | None, **options: Any) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    try:
        settings = simulator_settings(**options)
        ssl_context = _ssl_context(tls_cert, tls_key)
        sockets = open_listeners(_bind(bind), "--bind")
    except (SettingsError, ListenError) as error:
        click.echo(f"fanout upstream: {error}", err=True)
        raise SystemExit(REFUSED) from None
    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(sock)) for sock in sockets]
    host, port = sockets[0].getsockname()[:2]
    scheme = "https" if ssl_context else "http"

    async def run() -> None:
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            await nursery.start(stop_on_signals, stop, nursery.cancel_scope)

            async def serve() -> None:
                await Simulator(settings).serve(listeners, ssl_context=ssl_context)

            nursery.start_soon(serve)
            url = f"{scheme}://{Bind(host, port)}"
            why_not = say_ready("fanout upstream", {"upstream": f"{url}/api/work", "calls": f"{url}/calls"})
            if why_not is not None:
                click.echo(f"fanout upstream: {why_not}", err=True)
            await stop.wait()
            nursery.cancel_scope.cancel(reason="a signal")

    trio.run(run)


def _bind(text: str) -> Bind:
    try:
        return parse_bind(text)
    except ValueError as error:
        raise SettingsError(f"--bind={text!r}: {error}") from None


def _ssl_context(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise SettingsError("--tls-cert and --tls-key go together: give both or none")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        load_certificate(context, cert, key)
    except ValueError as error:
        raise SettingsError(f"--tls-cert={cert} and --tls-key={key} cannot be used: {error}") from None
    context.set_alpn_protocols(["http/1.1"])
    return context
