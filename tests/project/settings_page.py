"""docs/settings.md, made from the table of settings in the code.

python -m tests.project.settings_page      write it
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from fanout.cli import cli
from fanout.config import RENAMED, SETTINGS, Setting

PAGE: Final = Path(__file__).parents[2] / "docs/settings.md"
_IMPOSSIBLE: Final = "\0"  # a value that no setting takes: its error says what it does take
_INTRODUCTION: Final = """\
# Settings

<!-- made by `make documents` from fanout/config.py: change that, not this page -->

Every setting is a flag and an environment variable. A flag wins over a variable, and a variable wins over
the default. `fanout config` takes the same flags, and prints each value and where it came from; passwords
in URLs are masked:

```console
$ . .venv/bin/activate
$ FANOUT_MAX_IN_FLIGHT=200 fanout config --reserve-ms 30 | grep -E 'IN_FLIGHT|RESERVE'
...
```

A wrong value stops the start with exit code 2 and one line that names the setting, the value and the fix.
So does a contradiction between two settings, such as a default timeout above the longest one. An unknown
variable that looks like one of these gets a warning. Durations are whole milliseconds. What `timeout`, in
flight and time reserve mean: [glossary.md](glossary.md). How to choose the values:
[operations.md](operations.md#sizing).

Traces have OpenTelemetry's own `OTEL_*` variables: [tracing.md](tracing.md#settings).
"""


def page() -> str:
    rows = ["| variable | flag | default |", "| --- | --- | --- |"]
    rows += [
        f"| [`{each.variable}`](#{each.variable.lower()}) | `{each.flag}` | {_default(each)} |"
        for each in SETTINGS
    ]
    sections = [_section(each) for each in SETTINGS]
    renamed = [
        f"* `{old}` is called `{new}` now. The old name stops the start." for old, new in RENAMED.items()
    ]
    parts = [_INTRODUCTION, "\n".join(rows) + "\n", *sections]
    return "\n".join([*parts, "## Renamed\n\n" + "\n".join(renamed) + "\n"] if renamed else parts)


def _section(setting: Setting) -> str:
    commands = [
        name for name, command in cli.commands.items() if name != "config" and _takes(command, setting)
    ]
    lines = [f"## {setting.variable}", "", setting.help, ""]
    lines += [f"* Flag: `{setting.flag}`, of {', '.join(f'`fanout {name}`' for name in sorted(commands))}."]
    lines += [f"* Default: {_default(setting)}."]
    if values := _values(setting):
        lines += [f"* Values: {values}."]
    return "\n".join(lines) + "\n"


def _takes(command: click.Command, setting: Setting) -> bool:
    return any(setting.flag in parameter.opts for parameter in command.params)


def _default(setting: Setting) -> str:
    return f"`{setting.default}`" if setting.default else "empty"


def _values(setting: Setting) -> str:
    try:
        setting.parse(_IMPOSSIBLE)
    except ValueError as error:
        return str(error).removeprefix("use ")
    return ""


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
