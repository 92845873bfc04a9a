"""What the documents show on a console is what happens: README.md and docs/, command by command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lacking import PACKAGES, needs, reason
from tests.project.consoles import (
    DOCUMENTS,
    ROOT,
    Command,
    Interrupt,
    Saved,
    WrongConsole,
    differs,
    fresh_clone,
    has_namespaces,
    run_document,
    steps_in,
)
from tests.project.test_packaging import project_files

NEVER_THERE = {"root", "a browser", "a cluster", "an engine"}
APT = "apt-get install "
pytestmark = [
    needs("curl"),
    pytest.mark.same_on_every_python,
    pytest.mark.skipif(not has_namespaces(), reason=reason("network namespaces", "sudo make test")),
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    fresh_clone(folder, project_files())
    return folder


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.long, id=path.relative_to(ROOT).as_posix()) for path in DOCUMENTS],
)
def test_every_console_block_runs_as_it_stands(path: Path, clone: Path) -> None:
    """In order and in one shell. What takes long has a short form; what needs root or a browser says so."""
    left_out = run_document(path.read_text("utf-8"), clone)
    lacking = sorted({command.needs for command in left_out if command.needs and command.short} - NEVER_THERE)
    if lacking:
        bring = [APT + PACKAGES[each] for each in lacking if each in PACKAGES]
        bring += [f".venv/bin/python -m pip install {each}" for each in lacking if each not in PACKAGES]
        pytest.skip(reason(", ".join(lacking), "; ".join(bring)))


def test_no_other_kind_of_block_holds_a_command() -> None:
    """Nobody would run it."""
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for language, block in re.findall(
            r"^```(\w*)\n(.*?)^```$", path.read_text("utf-8"), re.MULTILINE | re.DOTALL
        ):
            if language != "console":
                found = re.findall(r"^(?:\$|pip|make|fanout|curl|python3?) .*", block, re.MULTILINE)
                assert not found, f"{path.name}: {found}"


def test_a_block_is_read_as_commands_notes_and_output() -> None:
    block = (
        "```console\n$ one --a 'b'\nout\n$ two   # 3 minutes; in short: two -q\n"
        "$ cat <<'E' >f\nx\nE\n$ four  # needs root\n```\n<!-- Ctrl-C -->\n"
    )
    saved = "Save this as `a.py`, here:\n\n```python\nx = 1\n```\n"
    one, two, three, four, stop, file = steps_in(block + saved)
    assert one == Command("one --a 'b'", "", ("out",))
    assert isinstance(two, Command)
    assert (two.text, two.short, two.is_long) == ("two", "two -q", True)
    assert three == Command("cat <<'E' >f\nx\nE", "", ())
    assert isinstance(four, Command)
    assert four.lacks
    assert isinstance(stop, Interrupt)
    assert file == Saved("a.py", "x = 1\n")


@pytest.mark.parametrize(
    ("shown", "printed", "is_other"),
    [
        (['{"time": 160}'], '{"time": 99}', False),
        (['{"time": 160}'], '{"time": "x"}', True),
        (["a", "...", "z"], "a\nb\nc\nz\n", False),
        (["a", "...", "z"], "a\nb\nc\n", True),
        (["a"], "a\nb\n", True),
        ([], "anything", False),
    ],
)
def test_output_is_compared_but_for_its_numbers(shown: list[str], printed: str, *, is_other: bool) -> None:
    assert differs(shown, printed) is is_other


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ("```console\n$ fanout-serve\n```\n", "ended with 127"),
        ("```console\n$ echo b\na\n```\n", "and the document shows"),
        ("```console\n$ fanout serve --nonsense\n```\n", "did not become ready"),
    ],
)
def test_a_console_block_that_does_not_work_is_found(document: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(WrongConsole, match=complaint):
        run_document(document, tmp_path)
