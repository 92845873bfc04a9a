"""Completion in bash, zsh and fish: commands, flags, and the values that there are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import get_completion_class

from fanout.cli import cli
from fanout.tools.simulator.connection_faults import CONNECTION_FAULTS
from fanout.tools.simulator.faults import FAULTS
from tests.lacking import needs

ROOT = Path(__file__).parents[1]
SOURCE = {shell: f"_FANOUT_COMPLETE={shell}_source fanout" for shell in ("bash", "zsh", "fish")}
# What the shell itself does with the sourced script when the user presses Tab after BEFORE and LAST.
PRESS_TAB = {
    "bash": 'eval "$(SOURCE)"; COMP_WORDS=(BEFORE "LAST"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); '
    'complete -p fanout >&2; _fanout_completion fanout; printf "%s\\n" "${COMPREPLY[@]}"',
    "zsh": 'compdef() { }; _describe() { print -rl -- "${(@P)3}" }; '
    'compadd() { print -rl -- "${(@P)@[-1]}" }; '
    "eval \"$(SOURCE)\"; words=(BEFORE 'LAST'); CURRENT=$#words; _fanout_completion",
    "fish": "SOURCE | source; complete -C 'BEFORE LAST'",
}


def completions(*words: str) -> list[str]:
    """What is offered for the last word."""
    *before, incomplete = words
    completion = get_completion_class("bash")
    assert completion is not None
    found = completion(cli, {}, "fanout", "_FANOUT_COMPLETE").get_completions(before, incomplete)
    return [item.value if item.type == "plain" else item.type for item in found]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (
            [""],
            [
                "check-trace",
                "config",
                "demo",
                "health",
                "lab",
                "load",
                "prove",
                "replay",
                "serve",
                "simulate",
                "upstream",
            ],
        ),
        (["s"], ["serve", "simulate"]),
        (["serve", "--log-"], ["--log-level", "--log-format", "--log-requests"]),
        (["serve", "--log-level", ""], ["debug", "info", "warning", "error"]),
        (["demo", "--log-format", "j"], ["json"]),
        (["config", "--log-requests", ""], ["all", "failed", "none"]),
        (["serve", "--leak-check", "o"], ["on", "off"]),
        (["lab", "--break", "losers"], ["losers_not_cancelled"]),
        (["load", "--arrivals", ""], ["constant", "poisson"]),
        (["demo", "--fault", "stat"], ["status=0.1"]),
        (["upstream", "--fault", ""], [f"{name}=0.1" for name in FAULTS]),
        (["upstream", "--connection-fault", ""], [f"{name}=0.1" for name in CONNECTION_FAULTS]),
        (["serve", "--tls-cert", ""], ["file"]),
        (["upstream", "--tls-key", ""], ["file"]),
        (["load", "--html", ""], ["file"]),
        (["replay", "--trace", ""], ["file"]),
        (["serve", "--bind", ""], ["127.0.0.1:8080"]),
        (["demo", "--max-timeout-ms", "3"], ["30000"]),
        (["demo", "--max-timeout-ms", "4"], []),
        (["serve", "--admin-hosts", ""], []),
        (["load", "--url", "h"], ["http://127.0.0.1:8080"]),
        (["load", "--mix", ""], ["first=1", "all=1", "first=1,all=1"]),
        (["lab", "g1"], ["G1", "G10", "G11", "G12"]),
        (["lab", "G1", "g1"], ["G10", "G11", "G12"]),
        (["lab", "a"], ["asyncio"]),
        (["lab", "G1", "a"], []),
        (["lab", "--try", ""], ["file"]),
        (["lab", "--html", ""], ["dir"]),
        (["lab", "asyncio", "clean-up-"], ["clean-up-raises", "clean-up-waits"]),
        (["lab", "asyncio", "one"], ["one-hangs", "one-moment"]),
        (["lab", "asyncio", "--open", "gather/dis"], ["gather/disconnect", "gather/disconnect-set"]),
        (["health", "--"], ["--admin-bind", "--workers", "--help"]),
    ],
)
def test_what_is_offered(words: list[str], offered: list[str]) -> None:
    assert completions(*words) == offered


@pytest.mark.parametrize("shell", [pytest.param(shell, marks=needs(shell)) for shell in PRESS_TAB])
@pytest.mark.parametrize(
    ("before", "last", "offered"),
    [
        ("fanout", "upst", ["upstream"]),
        ("fanout serve --log-level", "", ["debug", "info", "warning", "error"]),
        ("fanout demo --fault", "rst_mid_h", ["rst_mid_head=0.1"]),
    ],
)
def test_a_real_shell_offers_it(shell: str, before: str, last: str, offered: list[str]) -> None:
    """With the line that the documentation gives for this shell."""
    script = PRESS_TAB[shell].replace("SOURCE", SOURCE[shell]).replace("BEFORE", before).replace("LAST", last)
    bin_folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    done = subprocess.run(
        [shell, "-c", script], capture_output=True, text=True, timeout=30, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    values = [line.partition("\t")[0].partition(":")[0] for line in done.stdout.splitlines()]
    assert sorted(values) == sorted(offered)


@pytest.mark.parametrize("shell", PRESS_TAB)
def test_the_documentation_and_the_help_have_the_line_for_each_shell(shell: str) -> None:
    assert SOURCE[shell] in (ROOT / "docs/operations.md").read_text("utf-8")
    assert SOURCE[shell] in (cli.help or "")
