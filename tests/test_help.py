"""The help text of every command: all of it is there, and it says what a value means."""

from __future__ import annotations

import re

import click
import pytest

from fanout.cli import cli
from fanout.config import SETTINGS
from fanout.options import Commands
from fanout.tools.simulator.connection_faults import CONNECTION_FAULTS
from fanout.tools.simulator.faults import FAULTS

COMMANDS = ["", *cli.list_commands(click.Context(cli))]
WIDEST = 100
# Click's names for a type, which say nothing of what is meant.
TYPES = {
    "VALUE",
    "TEXT",
    "INTEGER",
    "FLOAT",
    "FILE",
    "FILENAME",
    "PATH RANGE",
    "INTEGER RANGE",
    "FLOAT RANGE",
}


def command_of(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name) if name else cli
    assert found is not None
    return found


def help_of(name: str, columns: int = WIDEST) -> str:
    """As `fanout NAME --help` prints it in a terminal of this width."""
    context = cli.make_context("fanout", [], resilient_parsing=True)
    if name:
        context = command_of(name).make_context(name, [], parent=context, resilient_parsing=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        return context.get_help()


def words(text: str) -> str:
    return " ".join(text.replace("\b", " ").split())


def options_of(command: click.Command) -> list[click.Option]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


@pytest.mark.parametrize("name", Commands.LATE)
def test_what_a_command_is_for_is_said_in_the_same_words_without_its_module(name: str) -> None:
    assert Commands.LATE[name][1] == command_of(name).get_short_help_str(limit=1000)


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_is_cut_in_a_terminal_of_any_width(name: str, columns: int) -> None:
    """Every summary, description and option is there as it was written, no word of it broken."""
    command, text = command_of(name), help_of(name, columns)
    shown = words(text)
    assert "…" not in text
    assert not re.search(r"\.\.\.$", text.partition("\n")[2], re.MULTILINE)  # the usage line has [ARGS]...
    assert words(command.help or "") in shown
    for option in options_of(command):
        assert words(option.help or "") in shown
    for each in COMMANDS[1:] if command is cli else ():
        summary = words(command_of(each).help or "").partition(". ")[0].rstrip(".")
        assert f"{each} {summary}." in shown


@pytest.mark.parametrize("columns", [100, 200])
@pytest.mark.parametrize("name", COMMANDS)
def test_every_line_fits_100_columns(name: str, columns: int) -> None:
    assert [line for line in help_of(name, columns).splitlines() if len(line) > WIDEST] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_value_is_named_by_what_is_meant(name: str) -> None:
    command = command_of(name)
    context = click.Context(command)
    for option in options_of(command):
        if not option.is_flag:
            assert option.make_metavar(context) not in TYPES, option.name


def test_flags_of_settings_list_the_values_that_there_are() -> None:
    text = help_of("serve")
    for setting in SETTINGS:
        assert f"{setting.flag} {setting.kind.metavar}" in text
        if setting.kind.choices:
            assert setting.kind.metavar == f"[{'|'.join(setting.kind.choices)}]"
            for choice in setting.kind.choices:
                setting.parse(choice)
    assert "--log-level [debug|info|warning|error]" in text
    assert "--arrivals [constant|poisson]" in help_of("load")


@pytest.mark.parametrize("name", ["demo", "upstream"])
def test_every_fault_that_can_be_given_is_named(name: str) -> None:
    of_calls, _, of_connections = help_of(name).partition(
        "--connection-fault:\n" if name == "upstream" else "Faults of a connection"
    )
    assert set(FAULTS) <= set(re.findall(r"\w+", of_calls))
    assert set(CONNECTION_FAULTS) <= set(re.findall(r"\w+", of_connections))


def test_health_has_the_flags_that_decide_where_it_asks_and_no_others() -> None:
    flags = [option.opts for option in options_of(command_of("health"))]
    assert flags == [["--admin-bind"], ["--workers"]]
