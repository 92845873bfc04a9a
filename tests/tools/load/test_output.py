"""Table, page and progress, drawn from reports made by hand or by a small run."""

from __future__ import annotations

import re
import socket
from datetime import UTC, datetime
from xml.etree import ElementTree

import pytest
import trio
import trio.testing

from fanout.tools.load.generator import Generator
from fanout.tools.load.histogram import Latencies
from fanout.tools.load.html import html_of
from fanout.tools.load.outcome import Outcome
from fanout.tools.load.plan import LoadPlan, parsed_mix, parsed_target
from fanout.tools.load.progress import progress_lines, show_block, show_lines
from fanout.tools.load.report import Report
from fanout.tools.load.reporting import Course, report_of
from fanout.tools.load.svg import Chart, Line, svg_of
from fanout.tools.load.text import text_of, verdict_line
from fanout.tools.load.wire import Wire
from tests.tools.load.scripted import GOOD, Stream, answer, loaded, problem, serving


async def mixed_report() -> Report:
    """A run with useful answers, refusals and wrong bodies on two endpoints."""
    count = 0

    async def script(target: str, stream: Stream) -> None:
        nonlocal count
        count += 1
        body = b"[%s]" % GOOD if "all" in target else GOOD
        await stream.send_all((problem(503, "overloaded"), answer(200, body), answer(200, b"{}"))[count % 3])

    async with serving(script) as (url, _):
        return await loaded(url, mix=parsed_mix("first,all"), requests=30, rate_per_s=1000.0)


async def test_the_table_is_aligned_and_fits_the_screen() -> None:
    """Every row of outcomes ends in the same column; no line is longer than 100."""
    text = text_of(await mixed_report())
    assert max(map(len, text.splitlines())) <= 100
    rows = [line for line in text.splitlines() if line.endswith("%") and ":" not in line and "," not in line]
    assert len(rows) == 3
    assert len({len(row) for row in rows}) == 1
    assert re.search(r"! wrong body +\d+ +\d+ +10 +33\.33%", text)
    assert "reasons: overloaded 10" in text
    assert text.endswith("GUARANTEES BROKEN: 10 wrong body")


@pytest.mark.parametrize(
    ("late", "held_back", "is_kept"), [(0, 0, True), (1, 0, True), (2, 0, False), (0, 1, False)]
)
async def test_a_schedule_is_kept_when_hardly_a_launch_was_late_and_none_was_held_back(
    late: int, held_back: int, is_kept: bool
) -> None:
    """Held back for a moment is too late for nobody to see, and still not what the plan says."""
    plan = LoadPlan(target=parsed_target("http://a"))
    async with trio.open_nursery() as nursery:
        generator = Generator(plan, nursery, lambda: Wire(socket.AF_INET, ("127.0.0.1", 1)), started_at=0.0)
    generator.launched, generator.late_launches, generator.held_back = 100, late, held_back
    course = Course(datetime.now(UTC), elapsed_s=1.0, cpu_s=0.5, span_s=1.0, ended_early=False)
    client = report_of(generator, course)["client"]
    assert (client["kept_schedule"], client["late_launches"], client["held_back"]) == (
        is_kept,
        late,
        held_back,
    )


async def test_a_request_that_is_held_back_counts_from_its_intended_start() -> None:
    """In its second, and when it is cut, too."""
    plan = LoadPlan(target=parsed_target("http://a"), max_connections=0)
    began_at = trio.current_time() - 10
    async with trio.open_nursery() as nursery:
        generator = Generator(plan, nursery, lambda: Wire(socket.AF_INET, ("127.0.0.1", 1)), began_at)
        generator.launch(began_at + 3.5)
        assert (generator.held_back, generator.in_flight) == (1, 1)
        generator.abandon()
    assert {number: dict(second.outcomes) for number, second in generator.tally.seconds.items()} == {
        3: {Outcome.ABANDONED: 1}
    }


async def test_the_page_is_well_formed_and_self_contained() -> None:
    """Three drawings, light and dark, nothing loaded, no script."""
    page = html_of(await mixed_report())
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) == 3
    for drawing in drawings:
        assert ElementTree.fromstring(drawing).findall("polyline")
    assert "prefers-color-scheme:dark" in page
    assert not re.search(r"<script|<link|src=|@import|url\(", page)
    assert "90 %" in page


def test_a_chart_scales_to_its_highest_point_and_escapes_its_words() -> None:
    """The highest point never leaves the frame; names are text, not markup."""
    drawing = svg_of(Chart("a<b", "x", "y", [Line("p&q", [(0.0, 0.0), (7.0, 93.0)])]))
    assert "a&lt;b" in drawing
    assert "<title>p&amp;q</title>" in drawing
    points = re.search(r'points="([^"]*)"', drawing)
    assert points is not None
    assert points[1].startswith("64.0,260.0 ")
    assert all(0 <= float(number) <= 860 for number in re.split(r"[ ,]", points[1]))
    assert "Nothing to show" in svg_of(Chart("empty", "x", "y", []))


async def test_a_report_of_nothing_can_be_shown() -> None:
    """A run that was ended before its first measured request has a table and a page too."""
    report = await mixed_report()
    report |= {"offered": 0, "outcomes": {}, "latency_ms": {}, "spectrum": {}, "endpoints": {}, "seconds": [],
               "verdict": "useless", "reasons": {}}  # fmt: skip
    assert verdict_line(report) == "NO USEFUL ANSWER: nothing was measured: let the run take longer"
    assert "nothing was measured" in html_of(report)


def test_latencies_come_back_as_recorded_within_three_digits() -> None:
    """Milliseconds out of seconds; the mean is exact; what is out of range is kept at its edge."""
    latencies = Latencies()
    assert (latencies.at(99), latencies.max_ms(), list(latencies.spectrum())) == (0.0, 0.0, [])
    for number in range(1, 1001):
        latencies.record(number / 1000)
    assert latencies.at(50) == pytest.approx(500, rel=1e-3)
    assert latencies.at(99) == pytest.approx(990, rel=1e-3)
    assert latencies.mean_ms() == pytest.approx(500.5)
    other = Latencies()
    other.record(-1.0)
    other.record(1e9)
    latencies.add(other)
    assert latencies.count == 1002
    assert latencies.min_ms() == 0.001
    assert latencies.max_ms() == pytest.approx(600_000, rel=1e-3)


def idle_generator(nursery: trio.Nursery) -> Generator:
    """A generator that has launched nothing, with some accounts filled in by hand."""
    generator = Generator(
        LoadPlan(target=parsed_target("http://127.0.0.1:1"), duration_s=30.0),
        nursery,
        lambda: Wire(2, ("127.0.0.1", 1)),
        trio.current_time(),
    )
    start = generator.tally.started_at
    for outcome, status in (
        (Outcome.USEFUL, 200),
        (Outcome.USEFUL, 200),
        (Outcome.REFUSED, 503),
        (Outcome.LATE, 200),
    ):
        generator.tally.record("first", outcome, start, start, start + 0.1, status, "")
    return generator


async def test_progress_tells_what_matters_in_two_lines(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """Elapsed, sent, in flight, useful a second, on time, refused, broken guarantees, latencies."""
    generator = idle_generator(nursery)
    lines = progress_lines(generator, trio.current_time() + 12, 2.0)
    assert lines == [
        "12.0 of 30 s  sent 0  in flight 0  useful 2/s  on time 75.00%",
        "refused 1  broken guarantees 1  p50 100.0 ms  p99 100.0 ms",
    ]
    assert progress_lines(generator, trio.current_time() - 1, 0.0)[0].startswith("warming up  sent 0")


async def test_without_a_terminal_a_plain_line_comes_every_five_seconds(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """No control characters in a log file."""
    with trio.move_on_after(11):
        await show_lines(idle_generator(nursery))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["5.0 of 30 s", "10.0 of 30 s"]
    assert all(line.isprintable() for line in lines)


async def test_on_a_terminal_the_block_is_drawn_over_itself(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two lines, then up two lines before they are drawn again."""
    drawn: list[str] = []
    monkeypatch.setattr("click.echo", lambda text, **_: drawn.append(text))
    with trio.move_on_after(1.2):
        await show_block(idle_generator(nursery))
    assert len(drawn) == 2
    assert not drawn[0].startswith("\x1b[2A")
    assert drawn[1].startswith("\x1b[2A\r\x1b[2K1.0 of 30 s")
