"""The options of the simulated upstream, which `fanout upstream` and `fanout demo` share.

It imports no Trio: `fanout config`, or a command with a wrong setting, would wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from fanout.config import DEFAULT_DEADLINE_HEADER, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fanout.tools.simulator.connection_faults import ConnectionFault
    from fanout.tools.simulator.fault import Fault
    from fanout.tools.simulator.settings import SimulatorSettings


class NamesFaults(click.Command):
    """A command whose help text names all faults."""

    def format_help_text(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(context, formatter)
        from fanout.tools.simulator.connection_faults import CONNECTION_FAULTS
        from fanout.tools.simulator.faults import FAULTS  # Trio comes with them

        for title, names in (
            ("Faults of a call, for --fault", FAULTS),
            ("Faults of a connection, for --connection-fault", CONNECTION_FAULTS),
        ):
            with formatter.section(title):
                formatter.write_text(", ".join(names))
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text("`fanout upstream --help` says what each of them does.")


def _complete_faults(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Each fault, with a share to start from."""
    from fanout.tools.simulator.connection_faults import CONNECTION_FAULTS
    from fanout.tools.simulator.faults import FAULTS

    faults: Mapping[str, Fault | ConnectionFault] = (
        FAULTS if parameter.name == "faults" else CONNECTION_FAULTS
    )
    return [
        CompletionItem(f"{name}=0.1", help=fault.summary)
        for name, fault in faults.items()
        if name.startswith(incomplete)
    ]


def simulator_options(command: Any) -> Any:
    """The options that set how slow and how unreliable the simulator is."""
    options = (
        click.option(
            "--seed",
            type=int,
            default=0,
            show_default=True,
            metavar="NUMBER",
            help="The same seed gives the same answers.",
        ),
        click.option(
            "--min-delay-ms",
            type=int,
            default=100,
            show_default=True,
            metavar="MS",
            help="Delay of the fastest answer.",
        ),
        click.option(
            "--max-delay-ms",
            type=int,
            default=600,
            show_default=True,
            metavar="MS",
            help="Delay of the slowest answer.",
        ),
        click.option(
            "--fault",
            "faults",
            multiple=True,
            metavar="NAME=SHARE",
            shell_complete=_complete_faults,
            help="Share of calls with this fault, 0 to 1. Repeatable.",
        ),
        click.option(
            "--connection-fault",
            "connection_faults",
            multiple=True,
            metavar="NAME=SHARE",
            shell_complete=_complete_faults,
            help="Share of connections with this fault, 0 to 1. Repeatable.",
        ),
        click.option("--reliable", is_flag=True, help="No faults except --fault and --connection-fault."),
        click.option(
            "--heed-deadline",
            is_flag=True,
            help="Give a call up when the time that its client has left is over, and answer 504.",
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
    heed_deadline: bool,
    deadline_header: str = DEFAULT_DEADLINE_HEADER,
) -> SimulatorSettings:
    """The settings for these options. Raises `SettingsError` with one line."""
    from fanout.tools.simulator.settings import SimulatorSettings, parse_rates  # Trio comes with them

    try:
        rates = parse_rates(faults)
        given: dict[str, Any] = {"faults": rates} if rates or reliable else {}
        return SimulatorSettings(
            seed=seed,
            min_delay_ms=min_delay_ms,
            max_delay_ms=max_delay_ms,
            connection_faults=parse_rates(connection_faults),
            deadline_header=deadline_header,
            heeds_deadline=heed_deadline,
            **given,
        )
    except ValueError as error:
        raise SettingsError(str(error)) from None
