"""The commands: settings in, exit codes out (`exits.py`). This is the composition root and does no work.

A user's mistake never ends in a traceback. It is one line with the setting, the value and the fix. A command
imports its modules when it runs, so a wrong setting or a health check does not wait for a server's imports.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import click

import fanout
from fanout.config import (
    ADMIN_BINDS,
    SETTINGS,
    Bind,
    Loaded,
    SettingsError,
    load,
    load_admin_binds,
)
from fanout.options import Commands, setting_options
from fanout.process.exits import DONE, NO, REFUSED
from fanout.server.listeners import ListenError, open_listeners
from fanout.tools.simulator_options import NamesFaults, simulator_options, simulator_settings

if TYPE_CHECKING:
    from fanout.api.handlers import Endpoints

HEALTH_WITHIN_S = 2
# Where a listener on every address is asked.
_LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, never listened on
_VARIABLE_WIDTH = max(len(setting.variable) for setting in SETTINGS)


def run(endpoints: Endpoints | None = None) -> int:
    """Run the command that the arguments name. Returns the exit code. endpoints: for `serve` and `demo`."""
    try:
        code = cli.main(prog_name="fanout", standalone_mode=False, obj=endpoints)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return REFUSED
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        path = "fanout" if context is None else context.command_path
        _say_error(f"{path}: {error.format_message().rstrip('.')}. See `{path} --help`")
        return REFUSED
    return code if isinstance(code, int) else DONE


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
      1    no: not ready (health), a guarantee was broken (load, prove, simulate, replay,
           check-trace), no answer was useful, or the server is not fanout (load)
      2    a setting, an argument or a port is wrong, and nothing was started
      3    the command could not finish: the output cannot be written, nothing listens at the address,
           a worker was lost during a graceful shutdown, or memory or threads ran out; or a bug, with
           its traceback
      130  SIGINT before the command handled signals, or during prove (143: SIGTERM)

    \b
    Completion of commands, flags and values:
      eval "$(_FANOUT_COMPLETE=bash_source fanout)"     in ~/.bashrc
      eval "$(_FANOUT_COMPLETE=zsh_source fanout)"      in ~/.zshrc
      _FANOUT_COMPLETE=fish_source fanout | source      in ~/.config/fish/config.fish
    """


def _load(flags: dict[str, Any], *, warn: bool = True) -> Loaded:
    """warn: print what looks odd; a server has it in its log."""
    given = {n: ",".join(v) if isinstance(v, tuple) else v for n, v in flags.items() if v not in (None, ())}
    try:
        loaded = load(os.environ, given)
    except SettingsError as error:
        _fail(str(error))
    if warn:
        _say_warnings(loaded)
    return loaded


def _say_warnings(loaded: Loaded) -> None:
    for warning in loaded.warnings:
        _say_error(f"fanout: {warning}")


def _fail(line: str) -> NoReturn:
    _say_error(f"fanout: {line}")
    sys.exit(REFUSED)


def _say_error(text: str) -> None:
    """Print one line, even if a value in it has line breaks."""
    click.echo(" ".join(text.split("\n")), err=True)


@cli.command()
@setting_options()
@click.pass_obj
def serve(endpoints: Endpoints | None, /, **flags: Any) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    It then answers the requests in flight and exits.

    \b
    Example:
      fanout serve --bind 0.0.0.0:8080 --upstream http://10.0.0.7/api/work
    """
    loaded = _load(flags, warn=False)
    if loaded.settings.workers == 1:
        from fanout.process.run import run_process

        _serve(run_process, loaded, endpoints=endpoints)
    else:
        from fanout.process.workers import run_workers

        _serve(run_workers, loaded, endpoints=endpoints)


def _serve(run: Callable[..., int], loaded: Loaded, **options: Any) -> NoReturn:
    try:
        sys.exit(run(loaded.settings, warnings=loaded.warnings, **options))
    except (SettingsError, ListenError) as error:
        _say_warnings(loaded)  # nothing was started, so there is no log
        _fail(str(error))


@cli.command(cls=NamesFaults)
@click.option("--open", "opens", is_flag=True, help="Open the live page in a browser.")
@simulator_options
@setting_options(without=("upstreams", "workers"))
@click.pass_obj
def demo(
    endpoints: Endpoints | None,
    /,
    opens: bool,
    seed: int,
    min_delay_ms: int,
    max_delay_ms: int,
    faults: tuple[str, ...],
    connection_faults: tuple[str, ...],
    reliable: bool,
    heed_deadline: bool,
    **flags: Any,
) -> None:
    """Run the server with a simulated upstream, to try it.

    \b
    Example:
      fanout demo --open
      curl 'http://127.0.0.1:8080/api/first?timeout=1000'
    """
    try:
        simulated = simulator_settings(
            seed, min_delay_ms, max_delay_ms, faults, connection_faults, reliable, heed_deadline
        )
        (listening,) = open_listeners(Bind("127.0.0.1", 0), "the simulated upstream")
    except (SettingsError, ListenError) as error:
        _fail(str(error))
    upstream_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    loaded = _load({**flags, "upstreams": f"{upstream_url}/api/work", "workers": "1"}, warn=False)

    from fanout.lab.page.site import recorded_pages
    from fanout.process.run import run_process
    from fanout.tools.demo import TRY, Demo, open_live_page

    _serve(
        run_process,
        loaded,
        controls=Demo(
            simulated.changed({"deadline_header": loaded.settings.deadline_header}),
            listening,
            recorded_pages(),
        ),
        also_ready={"calls": f"{upstream_url}/calls", "settings": f"{upstream_url}/settings"},
        hints=TRY,
        when_ready=open_live_page if opens else None,
        endpoints=endpoints,
    )


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@setting_options()
def config(as_json: bool, **flags: Any) -> None:
    """Show every setting and where its value came from. Secrets are masked."""
    rows = _load(flags).settings.shown()
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    values = [_text(row["value"]) for row in rows.values()]
    width = max(map(len, values))
    for (variable, row), value in zip(rows.items(), values, strict=True):
        click.echo(f"{variable:<{_VARIABLE_WIDTH}}  {value:<{width}}  {row['source']}")


def _text(value: Any) -> str:
    if value is None or value == []:
        return "(not set)"
    return ",".join(value) if isinstance(value, list) else str(value)


@cli.command()
@setting_options(only=ADMIN_BINDS)
def health(**flags: Any) -> None:
    """Exit 0 if the server is ready, 1 if it is not. For container health checks.

    The server is the one at FANOUT_ADMIN_BIND. With workers it is ready when all of them are: set the same
    FANOUT_WORKERS as for `serve`. No other setting is read.
    """
    try:
        binds = load_admin_binds(os.environ, {name: text for name, text in flags.items() if text is not None})
    except SettingsError as error:
        _fail(str(error))
    if binds[0].port == 0:
        _fail(f"FANOUT_ADMIN_BIND={binds[0]}: 0 is any free port: give its port, which the ready line shows")
    url = ""
    # A timer bounds the whole check. A timeout of the socket would begin again with each byte.
    signal.signal(signal.SIGALRM, lambda *_: _no_answer(url, "timed out"))
    signal.setitimer(signal.ITIMER_REAL, HEALTH_WITHIN_S)
    for bind in binds:
        asked = Bind(_LOOPBACK_OF.get(bind.host, bind.host), bind.port)
        url = f"http://{asked}/readyz"
        _exit_unless_ready(asked, url)
    signal.setitimer(signal.ITIMER_REAL, 0)
    click.echo("ready")


def _exit_unless_ready(bind: Bind, url: str) -> None:
    import http.client

    connection = http.client.HTTPConnection(bind.host, bind.port)
    try:
        connection.request("GET", "/readyz")
        is_ready = connection.getresponse().status == 200
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        _no_answer(url, str(error))
    finally:
        connection.close()
    if not is_ready:
        click.echo("not ready")
        sys.exit(NO)


def _no_answer(url: str, why: str) -> NoReturn:
    _say_error(f"fanout: no answer from {url}: {why}")
    sys.exit(NO)
