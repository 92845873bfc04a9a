"""The commands: settings in, exit codes out. This is the composition root; the work is done elsewhere.

Exit codes: 0 done, 1 the answer is no (`health`, `load`, `simulate`, `replay`), 2 a setting is wrong or a
port is in use.
Nothing a user can do wrong ends in a traceback.
"""

from __future__ import annotations

import http.client
import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, NoReturn, TypeVar

import click

import fanout
from fanout.config import SETTINGS, Bind, Loaded, Settings, SettingsError, load, mask_url
from fanout.tools.demo import Demo
from fanout.tools.load.command import load as load_command
from fanout.tools.simulator.command import simulator_options, simulator_settings, upstream
from fanout.web.listeners import ListenError, open_listeners
from fanout.web.process import run_process
from fanout.web.workers import run_workers

Command = TypeVar("Command", bound=Callable[..., Any])
HEALTH_WITHIN_S = 2


class Commands(click.Group):
    """Those of the simulated world are imported when asked for: `serve` starts without a test kit."""

    LATE: ClassVar = {"replay": "fanout.testing.world.replay", "simulate": "fanout.testing.world.simulate"}

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*super().list_commands(context), *self.LATE})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name in self.LATE:
            command: click.Command = getattr(importlib.import_module(self.LATE[name]), name)
            return command
        return super().get_command(context, name)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(fanout.__version__, prog_name="fanout")
def cli() -> None:
    """One request, several upstream calls at once, and nothing that outlives its request.

    \b
    Try it:
      fanout demo
      curl 'http://127.0.0.1:8080/api/first?timeout=1000'
      curl 'http://127.0.0.1:8080/api/all?timeout=1000'
    """


def _setting_options(*, without: Sequence[str] = ()) -> Callable[[Command], Command]:
    """Every setting as an option. The text is read by `config.load`, so flags and variables mean the same."""

    def decorate(command: Command) -> Command:
        for setting in reversed(SETTINGS):
            if setting.name not in without:
                text = f"{setting.help}  [{setting.variable}; default: {setting.default or 'none'}]"
                multiple = setting.name == "upstreams"
                metavar = "URL" if multiple else "VALUE"
                option = click.option(
                    setting.flag, setting.name, multiple=multiple, metavar=metavar, help=text
                )
                command = option(command)
        return command

    return decorate


def _load(flags: dict[str, Any]) -> Loaded:
    given = {n: ",".join(v) if isinstance(v, tuple) else v for n, v in flags.items() if v not in (None, ())}
    try:
        loaded = load(os.environ, given)
    except SettingsError as error:
        _fail(str(error))
    for warning in loaded.warnings:
        click.echo(f"fanout: {warning}", err=True)
    return loaded


def _fail(line: str) -> NoReturn:
    click.echo(f"fanout: {line}", err=True)
    sys.exit(2)


@cli.command()
@_setting_options()
def serve(**flags: Any) -> None:
    """Run the server until SIGTERM or Ctrl-C; then finish what is in flight and exit.

    \b
    Example:
      fanout serve --bind 0.0.0.0:8080 --upstream http://10.0.0.7/api/work
    """
    settings = _load(flags).settings
    _run(run_process if settings.workers == 1 else run_workers, settings)


def _run(run: Callable[..., None], settings: Settings, **options: Any) -> None:
    try:
        run(settings, **options)
    except (SettingsError, ListenError) as error:
        _fail(str(error))


@cli.command()
@simulator_options
@_setting_options(without=("upstreams", "workers"))
def demo(
    seed: int,
    min_delay_ms: int,
    max_delay_ms: int,
    faults: tuple[str, ...],
    connection_faults: tuple[str, ...],
    reliable: bool,
    **flags: Any,
) -> None:
    """Run the server with a simulated upstream in one process: everything to try it, on this machine.

    \b
    Example:
      fanout demo
      curl 'http://127.0.0.1:8080/api/first?timeout=1000'
    """
    try:
        simulated = simulator_settings(seed, min_delay_ms, max_delay_ms, faults, connection_faults, reliable)
        (listening,) = open_listeners(Bind("127.0.0.1", 0), "the simulated upstream")
    except (SettingsError, ListenError) as error:
        _fail(str(error))
    upstream_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    settings = _load({**flags, "upstreams": f"{upstream_url}/api/work", "workers": "1"}).settings

    controls = Demo(simulated, listening)
    _run(run_process, settings, controls=controls, also_ready={"upstream": f"{upstream_url}/calls"})


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_setting_options()
def config(as_json: bool, **flags: Any) -> None:
    """Show the effective settings and where each value came from. Secrets are masked."""
    loaded = _load(flags)
    shown = {setting.name: _shown(getattr(loaded.settings, setting.name)) for setting in SETTINGS}
    if as_json:
        rows = {s.variable: {"value": shown[s.name], "source": loaded.sources[s.name]} for s in SETTINGS}
        click.echo(json.dumps(rows, indent=2))
        return
    for setting in SETTINGS:
        value = shown[setting.name]
        text = ",".join(value) if isinstance(value, list) else str(value)
        click.echo(f"{setting.variable:<28} {text:<40} {loaded.sources[setting.name]}")


def _shown(value: Any) -> Any:
    if isinstance(value, tuple):
        return [mask_url(url) for url in value]
    return value if isinstance(value, int | None) else str(value)


@cli.command()
@_setting_options()
def health(**flags: Any) -> None:
    """Exit 0 when the server at FANOUT_ADMIN_BIND is ready, 1 when it is not. For container health checks.

    A server with workers is ready when all of them are: give the same FANOUT_WORKERS as to `serve`.
    """
    binds = _load(flags).settings.admin_binds
    with ThreadPoolExecutor(len(binds)) as threads:  # at once, so that many are as quick as one
        answers = list(threads.map(_ask_ready, binds))
    for silence in answers:
        if isinstance(silence, str):
            click.echo(f"fanout: {silence}", err=True)
            sys.exit(1)
    click.echo("ready" if all(answers) else "not ready")
    sys.exit(0 if all(answers) else 1)


def _ask_ready(bind: Bind) -> bool | str:
    """Whether one worker is ready; why there is no answer, as a line."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind.host, bind.host)  # noqa: S104  # not a bind
    connection = http.client.HTTPConnection(host, bind.port, timeout=HEALTH_WITHIN_S)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException) as error:
        return f"no answer from http://{Bind(host, bind.port)}/readyz: {error}"
    finally:
        connection.close()


cli.add_command(upstream)
cli.add_command(load_command)
