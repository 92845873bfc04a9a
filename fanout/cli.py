"""The commands: settings in, exit codes out (`exits.py`). This is the composition root and does no work.

A user's mistake never ends in a traceback. It is one line with the setting, the value and the fix. A command
imports its modules when it runs, so a wrong setting or a health check does not wait for a server's imports.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NoReturn, TypeVar

import click

import fanout
from fanout.config import SETTINGS, Bind, Loaded, Settings, SettingsError, load
from fanout.process.exits import DONE, NO, REFUSED
from fanout.server.listeners import ListenError, open_listeners
from fanout.tools.simulator.options import simulator_options, simulator_settings

Command = TypeVar("Command", bound=Callable[..., Any])
HEALTH_WITHIN_S = 2


def run() -> int:
    """Run the command that the arguments name. Returns the exit code."""
    try:
        code = cli.main(prog_name="fanout", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return REFUSED
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        path = "fanout" if context is None else context.command_path
        _say_error(f"{path}: {error.format_message().rstrip('.')}. See `{path} --help`")
        return REFUSED
    return code if isinstance(code, int) else DONE


class Commands(click.Group):
    """Most commands are imported on demand: `serve` starts without the test kit."""

    LATE: ClassVar = {
        "load": "fanout.tools.load.command",
        "replay": "fanout.testing.world.replay",
        "simulate": "fanout.testing.world.simulate",
        "upstream": "fanout.tools.simulator.command",
    }

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

    \b
    Exit codes:
      0    done
      1    no: not ready (health), or a guarantee was broken (load, simulate, replay)
      2    a setting, an argument or a port is wrong, and nothing was started
      3    the command could not finish: the output cannot be written, nothing listens at the address, a
           worker was lost during a graceful shutdown, or memory or threads ran out; or a bug, with its
           traceback
      130  SIGINT before the command handled signals (143: SIGTERM)
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
        _say_error(f"fanout: {warning}")
    return loaded


def _fail(line: str) -> NoReturn:
    _say_error(f"fanout: {line}")
    sys.exit(REFUSED)


def _say_error(text: str) -> None:
    """Print one line, even if a value in it has line breaks."""
    click.echo(" ".join(text.split("\n")), err=True)


@cli.command()
@_setting_options()
def serve(**flags: Any) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    It then answers the requests in flight and exits.

    \b
    Example:
      fanout serve --bind 0.0.0.0:8080 --upstream http://10.0.0.7/api/work
    """
    settings = _load(flags).settings
    if settings.workers == 1:
        from fanout.process.run import run_process

        _serve(run_process, settings)
    else:
        from fanout.process.workers import run_workers

        _serve(run_workers, settings)


def _serve(run: Callable[..., int], settings: Settings, **options: Any) -> NoReturn:
    try:
        sys.exit(run(settings, **options))
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
    """Run the server with a simulated upstream, to try it.

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

    from fanout.process.run import run_process
    from fanout.tools.demo import Demo

    controls = Demo(simulated, listening)
    _serve(run_process, settings, controls=controls, also_ready={"upstream": f"{upstream_url}/calls"})


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_setting_options()
def config(as_json: bool, **flags: Any) -> None:
    """Show every setting and where its value came from. Secrets are masked."""
    rows = _load(flags).settings.shown()
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for variable, row in rows.items():
        value = row["value"]
        text = ",".join(value) if isinstance(value, list) else str(value)
        click.echo(f"{variable:<28} {text:<40} {row['source']}")


@cli.command()
@_setting_options()
def health(**flags: Any) -> None:
    """Exit 0 if the server is ready, 1 if it is not. For container health checks.

    The server is the one at FANOUT_ADMIN_BIND. With workers it is ready when all of them are: set the same
    FANOUT_WORKERS as for `serve`.
    """
    ends_at = time.monotonic() + HEALTH_WITHIN_S  # noqa: TID251 - no event loop here
    for bind in _load(flags).settings.admin_binds:
        left_s = ends_at - time.monotonic()  # noqa: TID251 - no event loop here
        _exit_unless_ready(bind, max(left_s, 0.001))
    click.echo("ready")


def _exit_unless_ready(bind: Bind, within_s: float) -> None:
    import http.client

    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind.host, bind.host)  # noqa: S104  # not a bind
    connection = http.client.HTTPConnection(host, bind.port, timeout=within_s)
    try:
        connection.request("GET", "/readyz")
        is_ready = connection.getresponse().status == 200
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        _say_error(f"fanout: no answer from http://{Bind(host, bind.port)}/readyz: {error}")
        sys.exit(NO)
    finally:
        connection.close()
    if not is_ready:
        click.echo("not ready")
        sys.exit(NO)
