"""`/live` in a real browser: what it shows, its controls, keyboard and voice. Nothing leaves this host."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta

import pytest
import trio

from tests.admin.chromium import open_page
from tests.admin.live_page import FREE, SLOW, fire, live_page, look, press, text_of
from tests.blackbox.conftest import request
from tests.forked import running
from tests.lacking import needs

pytestmark = [pytest.mark.same_on_every_python, needs("chromium")]


# --- what it shows


async def test_a_running_race_then_its_winner_and_why_the_other_call_was_cancelled() -> None:
    async with live_page("demo", *SLOW) as (program, page):
        await page.click("#controls .primary")
        await page.wait_until("document.querySelector('#rows tr.running')")
        rect = "document.querySelector('#rows .call.running rect')"
        bar = f"Number.parseFloat({rect}?.getAttribute('width') ?? 0)"
        narrow = await page.evaluate(bar)
        await page.wait_until(f"!document.querySelector('tr.running') || {bar} > {narrow}")
        await page.wait_until("document.querySelector('#rows tr.answered')")
        story = await text_of(page, "#rows .story")
        marks = await page.evaluate(
            "['won', 'cancelled'].map(word => document.querySelectorAll(`#rows .call.${word} .mark`).length)"
        )
        label = await page.evaluate("document.querySelector('#rows button').ariaLabel")
        await page.click("#rows tr.answered .story")
        receipt = await text_of(page, "#receipt")
        trace = await page.evaluate(
            "fetch(document.querySelector('#receipt a').href).then(answer => answer.json())"
        )
        # Not any guarantee's: they come as they are known, in one batch or in two.
        kept = r"/G2\s*on time\s*1 request/"
        await page.wait_until(f"{kept}.test(document.querySelector('#guarantees').textContent)")
        board = await text_of(page, "#guarantees")
    winner, loser = ("0", "1") if "call 0 won" in story else ("1", "0")
    assert f"call {winner} won call {loser} cancelled, ended in" in story
    assert marks == [1, 1]
    assert label.startswith("first within 1000 ms: 200 after ")
    assert f"because call {winner} settled the race" in receipt
    assert "explicit" not in receipt
    assert receipt.count(f"upstream {program.urls['upstream']}/api/work") == 2
    assert f"cancelled: call {winner} settled the race" in [event["name"] for event in trace["traceEvents"]]
    assert "G2 on time 1 request" in board
    assert "G8 shed at once no request yet" in board
    assert "G9 graceful shutdown held by tests" in board


async def test_rows_and_receipts_say_the_time_of_day() -> None:
    before = datetime.now().astimezone()
    async with live_page("demo", *SLOW) as (_, page):
        await fire(page)
        await page.wait_until("document.querySelector('#rows tr.answered')")
        shown = await text_of(page, "#rows td.at")
        exact = await page.evaluate("document.querySelector('#rows time').dateTime")
        await page.click("#rows tr.answered .story")
        arrived = await text_of(page, "#receipt dd")
    at = datetime.fromisoformat(exact)
    assert before < at + timedelta(milliseconds=5) < datetime.now().astimezone()
    assert shown == at.astimezone().strftime("%H:%M:%S")
    assert arrived.startswith(f"{at.astimezone():%Y-%m-%d %H:%M:%S}.")


async def test_nothing_is_drawn_as_running_beyond_what_the_server_has_told() -> None:
    async with live_page("demo", *SLOW) as (_, page):
        drawn: list[float] = await page.evaluate(
            "import('/live/clock.js?another').then(async ({restart, heard, drawnUntil}) => {"
            " restart({now_ms: 1000, unix_ms: 0}); const found = [];"
            " for (const now of [1000, 1100]) { heard({now_ms: now, unix_ms: 0});"
            " await new Promise(done => setTimeout(done, 400)); found.push(drawnUntil()); } return found; })"
        )
    assert drawn == [1000, 1100]


async def test_a_running_request_shows_its_tasks_and_then_its_receipt() -> None:
    """And asks the server for the tasks only while somebody looks at them."""
    slow = ["--reliable", "--min-delay-ms", "1500", "--max-delay-ms", "1600"]
    async with live_page("demo", *slow) as (_, page):
        await fire(page, endpoint="all", timeout_ms=5000)
        await page.wait_until("document.querySelector('#rows tr.running')")
        await page.click("#rows tr.running .story")
        await page.wait_until("document.querySelectorAll('#receipt .tree li').length >= 6")
        tree = await text_of(page, "#receipt .tree")
        await page.wait_until("document.querySelector('#receipt.answered')")
        receipt = await text_of(page, "#receipt")
        await press(page, "Escape")

        await fire(page, endpoint="all", timeout_ms=5000)
        await page.wait_until("document.querySelector('#rows tr.running')")
        await page.click("#rows tr.running .story")
        await page.wait_until("document.querySelectorAll('#receipt .tree li').length >= 6")
        await press(page, "Escape")
        await page.wait_until("!document.querySelector('#receipt').open")
        asked = [url for url in page.requested if "/tasks?request=" in url]
        await trio.sleep(0.5)
        assert [url for url in page.requested if "/tasks?request=" in url] == asked
        assert await page.evaluate("document.querySelector('#rows tr.running') !== null")
    assert re.search(
        r"task connection waits in run_race .* scope of the connection cancelled if the client disconnects "
        r"scope of the race deadline in \d+ ms; the timeout of 5000 ms, less a time reserve of .* "
        r"nursery cancelled when a call settles the race task call 0 waits in .* task call 1 waits in ",
        tree,
    )
    assert receipt.startswith("✓ 200 in")
    assert "Its tasks, as last seen task connection" in receipt


async def test_the_page_links_to_what_else_there_is() -> None:
    with running("serve", *FREE, "--workers", "2", "--upstream", "http://127.0.0.1:1/x") as program:
        async with open_page() as page:
            await page.open(f"{program.urls['live']}/live")
            await page.wait_until("document.querySelectorAll('#links a').length === 7")
            links: dict[str, str] = await page.evaluate(
                "Object.fromEntries([...document.querySelectorAll('#links a')]"
                ".map(each => [each.innerText, each.href]))"
            )
            current = await page.evaluate("document.querySelector('#links [aria-current]').href")
            document = await page.evaluate("document.querySelector('#guarantees a').href")
        admin, other = program.urls["admin"], program.urls["admin-1"]
        assert links["API"] == f"{program.urls['docs']}/docs"
        assert current == links["worker 0"] == f"{admin}/live"
        assert links["worker 1"] == f"{other}/live"
        assert {links[name] for name in ("metrics", "statistics", "tasks")} == {
            f"{admin}/metrics",
            f"{admin}/statistics",
            f"{admin}/tasks",
        }
        for url in (*links.values(), document):
            base, _, path = url.removeprefix("http://").partition("/")
            assert request(f"http://{base}", f"/{path}").status == 200, url
        assert request(admin, "/live/guarantees.md").body.startswith(b"# Guarantees\n")


@pytest.mark.alone
async def test_a_flood_lasts_two_seconds_is_shed_and_lights_up_no_rows() -> None:
    """An overload is one: clients wait neither for the server nor for each other."""
    lit = (
        "window.lit = 0; const look = () => { window.lit = Math.max(window.lit, document.getAnimations()"
        ".filter(each => each.effect.target.closest('#rows')).length); requestAnimationFrame(look); };"
        " look();"
    )
    flood = {"count": 2000, "over_ms": 2000}
    async with live_page("demo", "--log-requests", "none") as (program, page):
        assert json.dumps(flood) in await page.evaluate(
            "document.querySelector('#controls button:last-child').dataset.order.replaceAll(/([:,])/g, '$1 ')"
        )
        await page.evaluate(lit)
        await page.click("#controls .buttons button:last-child")

        def ended() -> int:
            said = request(program.urls["admin"], "/statistics").json
            return int(said["overload"]["refused"] + sum(said["requests"]["answers"].values()))

        while ended() == 0:
            await trio.sleep(0.02)
        began = trio.current_time()
        await page.wait_until("/; [\\d,]+ shed before/.test(document.querySelector('#shown').innerText)")
        while ended() < 1900:
            await trio.sleep(0.05)
        took_s = trio.current_time() - began
        statistics = request(program.urls["admin"], "/statistics").json
        assert await page.evaluate("document.querySelectorAll('#rows tr').length") > 10
        assert await page.evaluate("window.lit") <= 3
    assert 1.0 < took_s < 5.0
    assert statistics["overload"]["refused"] > 0
    assert statistics["requests"]["answers"]["200"] > 0


# --- the charts


async def test_a_chart_says_no_more_than_its_most_has_an_axis_and_answers_a_pointer() -> None:
    sample = {
        "at_ms": 1000, "answered_rate": 30, "failed_rate": 4, "refused_rate": 2, "left_rate": 10,
        "refused_unread": 0, "p50_ms": 100, "p99_ms": 200, "in_flight": 1, "limit": 2, "late_ms": 1,
        "pool_in_use": 3, "pool_idle": 4,
    }  # fmt: skip
    async with live_page("serve", "--upstream", "http://127.0.0.1:1/x") as (_, page):
        await look(page, 1280, 800)
        await page.evaluate(
            "import('/live/charts.js').then(({Charts}) => new Charts().begin("
            f"Array.from({{length: 60}}, (_, at) => ({{...{json.dumps(sample)}, at_ms: 500 * at}}))))"
        )
        value = await text_of(page, "#vitals figure .value")
        axes = await page.evaluate(
            "[...document.querySelectorAll('#vitals .u-axis')].filter(axis => axis.clientWidth > 20).length"
        )
        middle = await page.evaluate(
            "(() => { const box = document.querySelector('#vitals .u-over').getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        await page.command("Input.dispatchMouseEvent", type="mouseMoved", x=middle[0], y=middle[1])
        await page.wait_until("!document.querySelector('#vitals .tip').hidden")
        tip = await text_of(page, "#vitals .tip")
        await page.command("Input.dispatchMouseEvent", type="mouseMoved", x=5, y=5)
        await page.wait_until("document.querySelector('#vitals .tip').hidden")
    assert value == "46 /s max 46"
    assert axes == 5
    assert re.fullmatch(r"\d\d:\d\d:\d\d all 46 answered 30 failed 4 rejected 2", tip)


# --- what runs


async def test_only_the_bars_of_calls_that_run_grow_and_none_beyond_the_deadline() -> None:
    """The news of an end is up to a batch old; until it comes nothing late is claimed."""
    calls = [
        {"upstream": 0, "outcome": "running", "started_ms": 0, "phases": []},
        {"upstream": 1, "outcome": "failed", "started_ms": 0, "ended_ms": 100, "phases": [["wait", 0]]},
    ]
    row = {"reason": "running", "timeout_ms": 600, "reserve_ms": 20, "calls": calls}
    async with live_page("demo", *SLOW) as (_, page):
        widths = await page.evaluate(
            "import('/live/timeline.js').then(({drawing, grow}) => {"
            f" const row = {json.dumps(row)}; const line = document.createElement('tr');"
            " line.className = 'running'; line.append(drawing(row, 1000, 200));"
            " const look = () => [...line.querySelectorAll('rect[data-from]')]"
            ".map(bar => bar.getAttribute('width'));"
            " const found = [look()]; for (const now of [400, 900]) { grow(line, row, 1000, now);"
            " found.push(look()); } return found; })"
        )
    assert widths == [["20%", "10%"], ["40%", "10%"], ["60%", "10%"]]


async def test_deadlines_hang_ups_and_failures_each_say_what_they_are() -> None:
    very_slow = ("--reliable", "--min-delay-ms", "3000", "--max-delay-ms", "4000")
    async with live_page("demo", *very_slow, "--fault", "status=0.0") as (_, page):
        # Long enough that both calls have begun by then, on any machine.
        await fire(page, endpoint="all", timeout_ms=1000)
        await page.wait_until("document.querySelector('#rows tr.failed')")
        deadline = await text_of(page, "#rows tr.failed")
        await page.click("#controls .buttons button:nth-child(3)")
        await page.wait_until("document.querySelector('#rows tr.left')")
        left = await text_of(page, "#rows tr.left")
        await page.evaluate(
            "for (const name of ['status', 'max_delay_ms']) {"
            " const slider = document.querySelector(`[name=${name}]`); slider.value = 100;"
            " slider.dispatchEvent(new Event('input', {bubbles: true})); }"
        )
        await page.wait_until("document.querySelector('[name=min_delay_ms]').value === '100'")
        await trio.sleep(0.1)
        await page.click("#controls .primary")
        await page.wait_until("document.querySelectorAll('#rows tr.failed').length === 2")
        failed = await text_of(page, "#rows tr.failed")
    assert "500" in deadline
    assert "the deadline came both cancelled, ended in" in deadline
    assert "the client disconnected after" in left
    assert "both cancelled" in left
    assert "call 0 failed: bad_status" in failed


async def test_the_filter_and_freezing() -> None:
    far_apart = (
        "--seed",
        "1082",
        "--max-delay-ms",
        "900",
    )  # the first seven calls by 53 ms: each race has a loser
    async with live_page("demo", *SLOW[:-2], *far_apart) as (_, page):
        await fire(page, count=3, timeout_ms=20_000)
        await fire(page, endpoint="all", timeout_ms=100)
        await page.wait_until("document.querySelectorAll('#rows tr:not(.running)').length === 4")
        rows = "document.querySelectorAll('#rows tr').length"
        choose = (
            "(name, value) => { const field = document.querySelector('#filter').elements[name];"
            " field.value = value; field.dispatchEvent(new Event('input', {bubbles: true})); }"
        )
        found = []
        for name, value in (("endpoint", "first"), ("endpoint", ""), ("kind", "failed"), ("kind", "")):
            await page.evaluate(f"({choose})({name!r}, {value!r})")
            found.append(await page.evaluate(rows))
        for text in ("deadline", "settled the race", "no such thing", ""):
            await page.evaluate(f"({choose})('text', {text!r})")
            found.append(await page.evaluate(rows))
        await page.click("#freeze")
        await fire(page, count=2)
        await page.wait_until("document.querySelector('#freeze').innerText === 'Resume (2 new)'")
        frozen = await page.evaluate(rows)
        await page.click("#freeze")
        going_on = await page.evaluate(rows)
    assert found == [3, 4, 1, 4, 1, 3, 0, 4]
    assert (frozen, going_on) == (4, 6)


async def test_above_the_rate_it_says_how_many_it_leaves_out() -> None:
    async with live_page("demo", *SLOW, "--max-loop-lag-ms", "1000") as (
        _,
        page,
    ):  # else a busy machine sheds
        await fire(page, count=300, over_ms=500)
        await page.wait_until("/of \\d+ in the last second/.test(document.querySelector('#shown').innerText)")
        assert await page.evaluate("document.querySelectorAll('#rows tr').length") <= 40


async def test_a_new_viewer_sees_what_was_before_and_hostile_ids_are_only_text() -> None:
    """What a client sends is shown as text, never as a part of the page."""
    with running("demo", *FREE, *SLOW) as program:
        assert request(program.urls["api"], "/api/first?timeout=<b>").status == 400
        async with open_page() as page:
            await page.open(f"{program.urls['live']}/live")
            await page.wait_until("document.querySelector('#rows tr.refused')")
            story = await text_of(page, "#rows .story")
    assert story.startswith("invalid timeout, answered in")


async def test_a_rejected_request_says_what_was_asked_for() -> None:
    async with live_page("demo", *SLOW, "--max-in-flight", "1") as (_, page):
        await fire(page, count=2, endpoint="all")
        await page.wait_until("document.querySelector('#rows tr.refused')")
        asked = await text_of(page, "#rows tr.refused .asked")
        await page.click("#rows tr.refused .story")
        receipt = await text_of(page, "#receipt dl")
        await page.wait_until(
            "/G8\\s*shed at once\\s*1 request/.test(document.querySelector('#guarantees').innerText)"
        )
    assert asked == "/api/all"
    assert "request GET /api/all " in receipt


async def test_it_says_when_the_server_drains_and_comes_back_by_itself() -> None:
    async with open_page() as page:
        with running("demo", *FREE, *SLOW) as program:
            await page.open(f"{program.urls['live']}/live")
            await page.wait_until("document.querySelector('#connection').dataset.state === 'live'")
            port = program.urls["live"].rpartition(":")[2]
            program.stop()
        await page.wait_until("document.querySelector('#connection').dataset.state === 'stopped'")
        said = await text_of(page, "#connection")
        with running("demo", "--bind", "127.0.0.1:0", "--admin-bind", f"127.0.0.1:{port}"):
            await page.wait_until("document.querySelector('#connection').dataset.state === 'live'")
    assert said == "the server has stopped; waiting for it to start again"


async def test_outside_the_demo_there_are_no_controls() -> None:
    async with live_page("serve", "--upstream", "http://127.0.0.1:1/x") as (_, page):
        assert await page.evaluate("getComputedStyle(document.querySelector('#controls')).display") == "none"


# --- keyboard, and those who do not see it


async def test_the_keyboard_reaches_opens_and_closes_a_receipt() -> None:
    async with live_page("demo", *SLOW) as (_, page):
        await fire(page, count=2)
        await page.wait_until("document.querySelectorAll('#rows tr.answered').length === 2")
        await press(page, "Tab")
        assert await page.evaluate("document.activeElement.className") == "skip"
        await press(page, "Enter")
        for _ in range(10):
            await press(page, "Tab")
            if await page.evaluate("Boolean(document.activeElement.closest('#rows'))"):
                break
        here = "[...document.querySelectorAll('#rows button')].indexOf(document.activeElement)"
        places = [await page.evaluate(here)]
        for key in ("ArrowDown", "ArrowUp", "ArrowDown"):
            await press(page, key)
            places.append(await page.evaluate(here))
        await press(page, "Enter")
        await page.wait_until("document.querySelector('#receipt').open")
        await press(page, "Escape")
        await page.wait_until("!document.querySelector('#receipt').open")
        places.append(await page.evaluate(here))
        outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert places == [0, 1, 0, 1, 1]
    assert outline == "solid"


async def test_focus_stays_on_its_row_while_others_come_in() -> None:
    async with live_page("demo", *SLOW) as (_, page):
        await fire(page, count=1)
        await page.wait_until("document.querySelector('#rows tr.answered')")
        await page.evaluate("document.querySelector('#rows button').focus()")
        label = await page.evaluate("document.activeElement.ariaLabel")
        await fire(page, count=5)
        await page.wait_until("document.querySelectorAll('#rows tr.answered').length === 6")
        assert await page.evaluate("document.activeElement.ariaLabel") == label


async def test_it_has_landmarks_names_and_a_real_table() -> None:
    """As assistive technology sees it: the browser's own accessibility tree."""
    async with live_page("demo", *SLOW) as (_, page):
        await fire(page, count=1)
        await page.wait_until("document.querySelector('#rows tr.answered')")
        tree = await page.command("Accessibility.getFullAXTree")
        nodes = [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in tree["nodes"]
            if not node["ignored"]
        ]
        await page.wait_until("document.querySelector('#announcer').innerText !== ''")
        announced = await text_of(page, "#announcer")
    roles = [role for role, _ in nodes]
    for role in ("banner", "main", "search", "table", "row", "columnheader", "cell", "status"):
        assert role in roles, role
    for region in ("Requests", "Guarantees", "Try it", "Vital signs, last 30 seconds"):
        assert ("region", region) in nodes, region
    unnamed = [role for role, name in nodes if not name and role in ("button", "slider", "combobox", "radio")]
    assert unnamed == []
    assert re.match(r"In the last \d+ seconds: 1 answered, 0 failed", announced)
