"""What all commands share: the table of commands, settings as options, and how a help text is laid out.

Rule 1: a flag and its variable mean the same. The text of both is read by `config.load`, never by click.
Rule 2: nothing in a help text is cut, and no word is broken: a flag or a URL can be copied as it stands.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from textwrap import wrap
from typing import Any, ClassVar, TypeVar

import click
from click.shell_completion import CompletionItem

from fanout.config import SETTINGS, Setting

Command = TypeVar("Command", bound=Callable[..., Any])


class HelpFormatter(click.HelpFormatter):
    """Click's, but a word that does not fit is not broken, neither at its hyphens nor elsewhere."""

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        rows = list(rows)
        first_width = min(max(len(first) for first, _ in rows), col_max)
        indent = " " * (self.current_indent + first_width + col_spacing)
        for first, second in rows:
            begin = f"{'':{self.current_indent}}{first}"
            if len(first) > first_width:
                self.write(f"{begin}\n")
                begin = ""
            lines = wrap(
                second,
                max(self.width, len(indent) + 10),
                initial_indent=begin.ljust(len(indent)),
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
            self.write("".join(f"{line}\n" for line in lines or [begin]))


class Context(click.Context):
    formatter_class = HelpFormatter


class Commands(click.Group):
    """Most commands are imported on demand: `serve` starts without the test kit.

    `--help` and a shell's completion list them and import none, so what each is for stands here, too.
    """

    context_class = Context
    LATE: ClassVar = {
        "check-trace": ("fanout.testing.monitor.command", "Check every guarantee in the log of a server."),
        "lab": ("fanout.lab.command", "Show every guarantee as an experiment against the real server."),
        "load": ("fanout.tools.load.command", "Send load on a fixed schedule and check every answer."),
        "prove": (
            "fanout.testing.prove.command",
            "Run the whole server in small simulations, in every way up to a bound, "
            "and check every guarantee.",
        ),
        "replay": (
            "fanout.testing.world.replay",
            "Repeat one simulation run and show it, request by request.",
        ),
        "simulate": (
            "fanout.testing.world.simulate",
            "Run the whole server in a simulation and check every guarantee.",
        ),
        "upstream": (
            "fanout.tools.simulator_command",
            "Run the simulated upstream: slow, unreliable, and reproducible.",
        ),
    }

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*super().list_commands(context), *self.LATE})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        command = super().get_command(context, name)
        if name in self.LATE:
            command = getattr(importlib.import_module(self.LATE[name][0]), name.replace("-", "_"))
        if command is not None:
            command.context_class = Context
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(self._listed())

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands, and flags of the group itself."""
        names = [each for each in self._listed() if each[0].startswith(incomplete)]
        flags = click.Command.shell_complete(self, context, incomplete)
        return [*(CompletionItem(name, help=is_for) for name, is_for in names), *flags]

    def _listed(self) -> list[tuple[str, str]]:
        """Each command with the first sentence of its help, however long it is."""
        here = {name: command.get_short_help_str(limit=1000) for name, command in self.commands.items()}
        late = {name: is_for for name, (_, is_for) in self.LATE.items()}
        return sorted({**here, **late}.items())


def setting_options(
    *, only: Sequence[str] | None = None, without: Sequence[str] = ()
) -> Callable[[Command], Command]:
    """Settings as options of a command: all of them, or those that are named."""

    def decorate(command: Command) -> Command:
        for setting in reversed(SETTINGS):
            if setting.name not in without and (only is None or setting.name in only):
                command = _option(setting)(command)
        return command

    return decorate


def _option(setting: Setting) -> Callable[[Command], Command]:
    return click.option(
        setting.flag,
        setting.name,
        multiple=setting.name == "upstreams",
        metavar=setting.kind.metavar,
        help=f"{setting.help}  [{setting.variable}; default: {setting.default or 'none'}]",
        shell_complete=partial(_complete, setting),
    )


def _complete(
    setting: Setting, context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """All possible values, or the default as a start."""
    if setting.kind.metavar == "PATH":
        return [CompletionItem(incomplete, type="file")]
    values = setting.kind.choices or (setting.default,)
    return [CompletionItem(value) for value in values if value and value.startswith(incomplete)]
