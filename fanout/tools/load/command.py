"""The command `fanout load`: options in, exit code out. Register with `cli.add_command(load)`.

Exit codes: 0 every guarantee was kept; 1 one was broken, no answer was useful, or the server is not fanout;
2 bad usage; 3 the run was not possible.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any, TextIO

import click
import trio
from click.shell_completion import CompletionItem

from fanout.process.exits import DONE, FAILED, NO

from .endpoint import ENDPOINTS
from .first_look import CouldNotRun, WrongServer, check_server
from .histogram import MissingExtra, require_hdrhistogram
from .html import html_of
from .plan import BadPlan, LoadPlan, parsed_mix, parsed_target, parsed_timeouts
from .progress import show_block, show_lines
from .report import Report
from .run import Watch, run_load
from .text import text_of, warnings_of

EXIT_CODES = {"kept": DONE, "broken": NO, "useless": NO, "unreachable": FAILED}
_ENOUGH_DESCRIPTORS = 65_536  # more connections than one client address has ports
_DESCRIPTORS_FOR_OTHERS = 64  # standard streams, timer, epoll, libraries

_POSITIVE = click.FloatRange(min=0, min_open=True)
_FROM_ZERO = click.FloatRange(min=0)
_PAGE = click.File("w", encoding="utf-8", lazy=False)  # opened before the run, so a bad path is bad usage

_HELP = """Send load on a fixed schedule and check every answer.

Requests start when the schedule says, whether or not earlier ones were answered (open loop).
Latency counts from the intended start, so a stall of the server shows in full.

\b
Examples:
  fanout load                                      100/s of /api/first for 10 s
  fanout load --rate 500 --duration 60 --ramp 10   grow to 500/s, hold it
  fanout load --mix first=3,all=1 --timeout-ms 300,1000
  fanout load --arrivals poisson --hang-up 0.1     a tenth of the clients disconnect early
  fanout load --requests 1000 --json >result.json  for a machine
  fanout load --rate 2000 --html load.html         with plots

\b
A guarantee is broken when an answer is late (by its own timeout), missing, cut off, not HTTP, or
a 200 without the right body. Rejections (503) and errors (500) in time break none.
Ctrl-C ends the schedule early and still reports; a second one ends the requests in flight.

\b
Exit codes:
  0  every guarantee was kept, and there were useful answers
  1  a guarantee was broken, no answer was useful, or the server is not fanout
  2  bad usage
  3  the run was not possible, for example because nothing listens there
"""


def _complete_url(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    return [CompletionItem(url) for url in (str(parameter.default),) if url.startswith(incomplete)]


def _complete_mix(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Each endpoint alone, and a mix as a start."""
    mixes = [*(f"{name}=1" for name in ENDPOINTS), ",".join(f"{name}=1" for name in ENDPOINTS)]
    return [CompletionItem(mix) for mix in mixes if mix.startswith(incomplete)]


@click.command("load", help=_HELP, context_settings={"show_default": True})
@click.option(
    "--url",
    default="http://127.0.0.1:8080",
    metavar="URL",
    shell_complete=_complete_url,
    help="Base URL of the server, http or https.",
)
@click.option("--rate", type=float, default=100, metavar="PER_S", help="Requests per second.")
@click.option(
    "--arrivals",
    type=click.Choice(["constant", "poisson"]),
    default="constant",
    help="How arrivals are spaced.",
)
@click.option(
    "--duration", type=_POSITIVE, metavar="S", help="Seconds of load.  [default: 10, or none with --requests]"
)
@click.option("--requests", type=click.IntRange(min=1), metavar="COUNT", help="End after this many requests.")
@click.option(
    "--ramp", type=_FROM_ZERO, default=0, metavar="S", help="Seconds in which the rate grows from 0."
)
@click.option(
    "--warmup", type=_FROM_ZERO, default=0, metavar="S", help="Seconds of load before counting starts."
)
@click.option(
    "--mix",
    default="first=1",
    metavar="NAME=WEIGHT,...",
    shell_complete=_complete_mix,
    help="The endpoints first and all by weight, such as first=3,all=1.",
)
@click.option(
    "--timeout-ms",
    default="1000",
    metavar="MS,...",
    help="`timeout` of the requests; several: each is equally likely.",
)
@click.option(
    "--allowance-ms",
    type=_FROM_ZERO,
    default=0,
    metavar="MS",
    help="An answer this much later still counts as in time.",
)
@click.option(
    "--give-up-ms",
    type=_FROM_ZERO,
    default=1000,
    metavar="MS",
    help="Wait this long beyond the timeout, then give up.",
)
@click.option("--keep-alive/--no-keep-alive", default=True, help="Reuse connections.")
@click.option(
    "--connections",
    type=click.IntRange(min=1),
    metavar="COUNT",
    help="Most connections.  [default: as descriptors allow]",
)
@click.option(
    "--hang-up",
    type=click.FloatRange(0, 1),
    default=0,
    metavar="SHARE",
    help="Share of clients that disconnect early.",
)
@click.option(
    "--hang-up-within-ms",
    type=_FROM_ZERO,
    default=100,
    metavar="MS",
    help="They disconnect, by FIN or RST, within this time.",
)
@click.option("--seed", type=int, default=1, metavar="NUMBER", help="Seed of everything random.")
@click.option(
    "--ca",
    type=click.Path(exists=True, dir_okay=False),
    metavar="PATH",
    help="Trust this CA file (https).",
)
@click.option("--insecure", is_flag=True, help="Accept any certificate (https).")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.option("--html", type=_PAGE, metavar="PATH", help="Write plots to this file.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def load(as_json: bool, html: TextIO | None, quiet: bool, **options: Any) -> None:
    """Run one load and exit with the code that its verdict asks for."""
    try:
        plan = _plan(options)
    except BadPlan as error:
        raise click.UsageError(str(error)) from None
    watch = None if quiet else (show_block if sys.stderr.isatty() else show_lines)
    try:
        require_hdrhistogram()
        report = trio.run(_check_and_run, plan, watch)
    except (CouldNotRun, MissingExtra) as error:
        click.echo(f"fanout load: {error}", err=True)
        raise SystemExit(NO if isinstance(error, WrongServer) else FAILED) from None
    _show(report, as_json=as_json)
    if html is not None:
        _write(html, html_of(report))
    raise SystemExit(EXIT_CODES[report["verdict"]])


async def _check_and_run(plan: LoadPlan, watch: Watch | None) -> Report:
    await check_server(plan.target)
    return await run_load(plan, watch)


def _write(html: TextIO, text: str) -> None:
    try:
        with html:
            html.write(text)
    except OSError as error:
        click.echo(f"fanout load: --html {html.name!r} cannot be written: {error.strerror}", err=True)
        raise SystemExit(FAILED) from None


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report))
        for warning in warnings_of(report):
            click.echo(f"WARNING: {warning}", err=True)
    else:
        click.echo(text_of(report))


def _plan(options: dict[str, Any]) -> LoadPlan:
    requests: int | None = options["requests"]
    duration_s: float | None = options["duration"]
    if duration_s is None and requests is None:
        duration_s = 10.0
    allowed = _connections_allowed()
    wanted: int = options["connections"] or allowed
    if wanted > allowed:
        raise BadPlan(
            f"--connections {wanted} is more than the descriptors allow ({allowed}): raise ulimit -n"
        )
    return LoadPlan(
        target=parsed_target(options["url"], insecure=options["insecure"], ca_file=options["ca"]),
        mix=parsed_mix(options["mix"]),
        rate_per_s=options["rate"],
        arrivals=options["arrivals"],
        duration_s=duration_s,
        requests=requests,
        ramp_s=options["ramp"],
        warmup_s=options["warmup"],
        timeouts_ms=parsed_timeouts(options["timeout_ms"]),
        allowance_ms=options["allowance_ms"],
        give_up_ms=options["give_up_ms"],
        keep_alive=options["keep_alive"],
        max_connections=wanted,
        hang_up_share=options["hang_up"],
        hang_up_within_ms=options["hang_up_within_ms"],
        seed=options["seed"],
    )


def _connections_allowed() -> int:
    """How many connections this process may hold, after raising its own descriptor limit if it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH_DESCRIPTORS)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(wanted - _DESCRIPTORS_FOR_OTHERS, 1)
