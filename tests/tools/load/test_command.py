"""The command as a user runs it: a process of its own, its output, its exit code."""

from __future__ import annotations

import json
import signal
import sys
from functools import partial
from pathlib import Path
from subprocess import PIPE, CompletedProcess

import pytest
import trio
from click.testing import CliRunner

from fanout.tools.load.command import load
from fanout.tools.load.report import Report
from tests.tools.load.scripted import Stream, always, answer, of_fanout, problem, serving
from tests.tools.load.shape import misfits

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "fanout.tools.load"]
FEW = ["--requests", "20", "--rate", "500"]


async def run_command(*arguments: str, command: list[str] = COMMAND) -> CompletedProcess[bytes]:
    """The finished process."""
    with trio.fail_after(20):
        return await trio.run_process(
            [*command, *arguments], check=False, capture_stdout=True, capture_stderr=True, cwd=ROOT
        )


async def test_kept_guarantees_exit_0_with_a_table() -> None:
    """The outcomes, the latencies, the generator's own state and the verdict."""
    async with serving(of_fanout(always(answer(200)))) as (url, _):
        done = await run_command("--url", url, *FEW)
    table = done.stdout.decode()
    assert done.returncode == 0, done.stderr
    assert "useful (200 in time)           20    100.00%" in table
    assert table.rstrip().endswith("every guarantee kept")
    assert "µs a request" in table


async def test_broken_guarantees_exit_1_and_are_named() -> None:
    """The reason to stop a pipeline is in the last line."""
    async with serving(of_fanout(always(answer(200, b"{}")))) as (url, _):
        done = await run_command("--url", url, *FEW, "--quiet")
    assert done.returncode == 1
    assert done.stdout.decode().rstrip().endswith("GUARANTEES BROKEN: 20 wrong body")
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (problem(503, "overloaded"), "20 refused (503): lower --rate"),
        (problem(500, "deadline"), "20 500 deadline: raise --timeout-ms"),
        (problem(500, "no_success"), "20 500 no success: look at the upstream"),
        (problem(400, "invalid_timeout"), "20 other status: look at the reasons"),
    ],
)
async def test_nothing_useful_exits_1_and_says_what_there_was(data: bytes, says: str) -> None:
    """No guarantee is broken, and none is said to be kept."""
    async with serving(of_fanout(always(data))) as (url, _):
        done = await run_command("--url", url, *FEW, "--quiet")
    assert done.returncode == 1
    table = done.stdout.decode()
    assert table.splitlines()[-1].startswith(f"NO USEFUL ANSWER, only {says}")
    assert "guarantee" not in table


async def test_json_is_one_object_of_the_documented_shape_and_html_one_page(tmp_path: Path) -> None:
    """Every documented key, no other; the page needs nothing from elsewhere."""
    page = tmp_path / "load.html"
    async with serving(of_fanout(always(answer(200)))) as (url, _):
        done = await run_command("--url", url, *FEW, "--json", "--html", str(page))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert misfits(report, Report) == []
    assert report["outcomes"] == {"useful": 20}
    assert "every guarantee kept" in page.read_text(encoding="utf-8")


async def test_ctrl_c_ends_early_and_still_reports() -> None:
    """SIGINT to the process once load arrives: a whole report, and the exit code of its verdict."""
    arrived = trio.Event()

    async def script(target: str, stream: Stream) -> None:
        arrived.set()
        await stream.send_all(answer(200))

    async with serving(of_fanout(script)) as (url, _), trio.open_nursery() as nursery:
        arguments = [*COMMAND, "--url", url, "--duration", "600", "--json"]
        run = partial(trio.run_process, arguments, stdout=PIPE, cwd=ROOT, check=False)
        process: trio.Process = await nursery.start(run)
        assert process.stdout is not None
        with trio.fail_after(20):
            await arrived.wait()
            process.send_signal(signal.SIGINT)
            output = b"".join([chunk async for chunk in process.stdout])
            assert await process.wait() == 0
    report = json.loads(output)
    assert report["ended_early"] is True
    assert report["offered"] == report["useful"] > 0


async def test_nothing_listening_exits_3_with_one_line() -> None:
    """What is wrong and what to do, no traceback."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    done = await run_command("--url", f"http://127.0.0.1:{port}")
    assert done.returncode == 3
    assert done.stdout == b""
    assert done.stderr.startswith(b"fanout load: nothing answers at http://127.0.0.1:")
    assert done.stderr.count(b"\n") == 1


async def test_a_missing_extra_exits_3_with_the_command_that_installs_it() -> None:
    """The package hdrhistogram is an extra; here it is hidden from the process."""
    hide = "import sys; sys.modules['hdrh'] = None; from fanout.tools.load.command import load; load()"
    done = await run_command(command=[sys.executable, "-c", hide])
    assert done.returncode == 3
    assert (
        done.stderr == b"fanout load: it needs the package hdrhistogram: pip install 'fanout-server[load]'\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rate", "0"],
        ["--rate", "nan"],
        ["--rate", "fast"],
        ["--duration", "-1"],
        ["--duration", "inf"],
        ["--requests", "0"],
        ["--mix", "last=1"],
        ["--timeout-ms", "soon"],
        ["--url", "ftp://a"],
        ["--hang-up", "2"],
        ["--connections", "100000000"],
        ["--insecure"],
        ["--html", "/nonexistent/load.html"],
        ["--nonsense"],
    ],
)
def test_bad_usage_exits_2(arguments: list[str]) -> None:
    """Before anything is sent, with a line that says what is wrong."""
    result = CliRunner().invoke(load, arguments)
    assert result.exit_code == 2
    assert "Error: " in result.output


def test_help_teaches_by_example_and_tells_the_exit_codes() -> None:
    """What a newcomer needs is in `--help`."""
    text = CliRunner().invoke(load, ["--help"]).output
    for words in (
        "fanout load --rate 500 --duration 60 --ramp 10",
        "Exit codes",
        "open loop",
        "intended start",
    ):
        assert words in text
    assert max(map(len, text.splitlines())) <= 100
