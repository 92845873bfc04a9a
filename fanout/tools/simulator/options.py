"""The options of the simulated upstream, which `fanout upstream` and `fanout demo` share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fanout.config import SettingsError

if TYPE_CHECKING:
    from fanout.tools.simulator.settings import SimulatorSettings


def simulator_options(command: Any) -> Any:
    """The options that set how slow and how unreliable the simulator is."""
    options = (
        click.option(
            "--seed", type=int, default=0, show_default=True, help="The same seed gives the same answers."
        ),
        click.option(
            "--min-delay-ms", type=int, default=100, show_default=True, help="Delay of the fastest answer."
        ),
        click.option(
            "--max-delay-ms", type=int, default=600, show_default=True, help="Delay of the slowest answer."
        ),
        click.option(
            "--fault",
            "faults",
            multiple=True,
            metavar="NAME=SHARE",
            help="Share of calls with this fault, 0 to 1. Repeatable.",
        ),
        click.option(
            "--connection-fault",
            "connection_faults",
            multiple=True,
            metavar="NAME=SHARE",
            help="Share of connections with this fault, 0 to 1. Repeatable.",
        ),
        click.option("--reliable", is_flag=True, help="No faults except --fault and --connection-fault."),
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
            **given,
        )
    except ValueError as error:
        raise SettingsError(str(error)) from None
