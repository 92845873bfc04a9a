"""docs/lab.md: what its programs print, and its pictures docs/images/lab-*.svg, all from real runs.

    python -m tests.project.lab_page             write them
    python -m tests.project.lab_page --json      print them, as path to text

Below a block of Python stands what it prints, and below a command that starts a step what that prints. The
programs run in virtual time, so that is the same in every run.

Rule 1: this is a process of its own. Other tests import libraries that replace asyncio's event loop.
"""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Final

from tests.project.lanes import Panel, svg

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs/lab.md"
STEPS: Final = ROOT / "examples/steps"
PROGRAM: Final = re.compile(r"(```python\n(.*?)```\n\n```text\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
COMMAND: Final = re.compile(
    r"((?:```console\n\$ |`)python (examples/steps/\w+\.py)(?:` prints:\n\n```text)?\n).*?(?=^```$)",
    re.MULTILINE | re.DOTALL,
)


def made() -> dict[str, str]:
    """The page and its pictures, by path below the root."""
    names: dict[str, Any] = {}

    def program(found: re.Match[str]) -> str:
        space: dict[str, Any] = {"__name__": "__main__"}
        text = found[1] + _printed(lambda: exec(compile(found[2], str(PAGE), "exec"), space))
        names.update(space)
        return text

    def command(found: re.Match[str]) -> str:
        return found[1] + _printed(lambda: runpy.run_path(str(ROOT / found[2]), run_name="__main__"))

    files = {"docs/lab.md": COMMAND.sub(command, PROGRAM.sub(program, PAGE.read_text("utf-8")))}
    files |= {f"docs/images/lab-{name}.svg": text for name, text in _pictures(names).items()}
    return files


def _pictures(names: dict[str, Any]) -> dict[str, str]:
    """names: those that the programs of the page define."""
    from experiments import EXPERIMENTS, on_asyncio, steps  # type: ignore[import-not-found]  # in examples/steps

    def panel(title: str, experiment: Any, loop: Any, first: Any) -> Panel:
        seen = loop(first, experiment)
        return Panel(title, experiment.timeout_ms, str(seen), seen.at_ms, seen.lanes)

    def of_step(number: int, title: str, experiment: Any) -> Panel:
        step = steps()[number - 1]
        return panel(title, experiment, step.LOOP, step.first)

    slow, swallows, clean_up = EXPERIMENTS[0], EXPERIMENTS[4], names["CLEAN_UP"]
    return {
        "race": svg("Two calls and one nursery", [of_step(8, "fanout's own", slow)]),
        "swallowed": svg(
            "Call 1 swallows its cancellation and tries again",
            [
                of_step(4, "asyncio, a TaskGroup", swallows),
                of_step(5, "Trio, a nursery", swallows),
            ],
        ),
        "clean-up": svg(
            "Call 1 is cancelled, and its clean-up waits for 400 ms",
            [
                *(panel(name, clean_up, on_asyncio, names[name]) for name in ("left", "late", "cut")),
                of_step(8, "fanout's own is late, too", clean_up),
            ],
        ),
    }


def _printed(run: Callable[[], object]) -> str:
    with redirect_stdout(StringIO()) as output:
        run()
    return output.getvalue()


def main() -> None:
    sys.path.insert(0, str(STEPS))
    files = made()
    if "--json" in sys.argv:
        json.dump(files, sys.stdout)
        return
    for path, text in files.items():
        (ROOT / path).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
