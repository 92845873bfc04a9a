"""The command `fanout upstream`: the simulated upstream alone."""

from __future__ import annotations

import ssl
from typing import Any

import click
import trio

from fanout.config import Bind, SettingsError, parse_bind
from fanout.tools.simulator.faults import describe_faults
from fanout.tools.simulator.settings import SimulatorSettings, parse_rates
from fanout.tools.simulator.simulator import Simulator
from fanout.web.listeners import ListenError, open_listeners
from fanout.web.signals import stop_on_signals

_HELP = """Run the simulated upstream: GET /api/work answers {"time": MS} after a random delay, or misbehaves.

\b
Examples:
  fanout upstream                                       100-600 ms, about 10 % failures
  fanout upstream --fault status=0.5 --seed 7           half of the calls fail, always the same ones
  curl 'http://127.0.0.1:9000/api/work?delay_ms=50&fault=truncated_json'
  curl 'http://127.0.0.1:9000/calls?since=0'            what the wire saw, call by call

\b
Faults, what a strict client makes of each, and what they do:
"""


def simulator_options(command: Any) -> Any:
    """The options that say how slow and how unreliable the simulator is."""
    options = (
        click.option(
            "--seed", type=int, default=0, show_default=True, help="The same seed, the same answers."
        ),
        click.option("--min-delay-ms", type=int, default=100, show_default=True, help="The fastest answer."),
        click.option("--max-delay-ms", type=int, default=600, show_default=True, help="The slowest answer."),
        click.option(
            "--fault",
            "faults",
            multiple=True,
            metavar="NAME=SHARE",
            help="A share of calls, 0 to 1. Repeatable.",
        ),
        click.option(
            "--connection-fault",
            "connection_faults",
            multiple=True,
            metavar="NAME=SHARE",
            help="A share of connections, 0 to 1. Repeatable.",
        ),
        click.option(
            "--reliable", is_flag=True, help="No faults but those of --fault and --connection-fault."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def simulator_settings(
    seed: int,
    min_delay_ms: int,
    max_delay_ms: int,
    faults: tuple[str, ...],
    connection_faults: tuple[str, ...],
    reliable: bool,
) -> SimulatorSettings:
    """The settings that the options ask for. Raises `SettingsError` with one line."""
    try:
        rates = parse_rates(faults)
        given: dict[str, Any] = {"faults": rates} if rates or reliable else {}
        return SimulatorSettings(
            seed=seed,
            min_delay_ms=min_delay_ms,
            max_delay_ms=max_delay_ms,
            connection_faults=parse_rates(connection_faults),
            **given,
        )
    except ValueError as error:
        raise SettingsError(str(error)) from None


@click.command("upstream", help=_HELP + "\b\n" + describe_faults())
@click.option(
    "--bind", default="127.0.0.1:9000", show_default=True, metavar="HOST:PORT", help="Where to listen."
)
@click.option(
    "--tls-cert", type=click.Path(exists=True, dir_okay=False), help="Speak TLS with this certificate."
)
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False), help="Its private key.")
@simulator_options
def upstream(bind: str, tls_cert: str | None, tls_key: str | None, **options: Any) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    try:
        settings = simulator_settings(**options)
        ssl_context = _ssl_context(tls_cert, tls_key)
        sockets = open_listeners(_bind(bind), "--bind")
    except (SettingsError, ListenError) as error:
        click.echo(f"fanout upstream: {error}", err=True)
        raise SystemExit(2) from None
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
            click.echo(
                f"the simulated upstream is ready\n  upstream  {url}/api/work\n  calls     {url}/calls"
            )
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
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"--tls-cert={cert} and --tls-key={key} cannot be used: {error}") from None
    context.set_alpn_protocols(["http/1.1"])
    return context
