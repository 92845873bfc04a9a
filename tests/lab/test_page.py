"""The page of the lab in a real browser, opened from a folder: no server, no network, a strict policy."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fanout.lab import command
from fanout.lab.experiments import EXPERIMENTS as EXPERIMENTS_BY_ID
from fanout.lab.page import html
from fanout.lab.page.html import FolderError, check_folder, write_pages
from fanout.lab.page.site import MODULES, pages_of
from fanout.lab.report import Report, Seen
from fanout.lab.run import Result
from fanout.lab.side_by_side import matrix
from fanout.lab.side_by_side.cells import Matrix
from fanout.process.exits import NO, REFUSED
from tests.admin.chromium import Page, open_page
from tests.admin.live_page import look, press, text_of
from tests.lab.page_results import EXPERIMENTS, MARKUP, MATRIX, VARIANTS
from tests.lab.test_command import lab
from tests.lab.test_record import SHIPPED
from tests.lacking import needs
from tests.pictures import picture

in_browser = pytest.mark.same_on_every_python
STATIC = Path(html.__file__).parent / "static"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as `fanout lab --html` writes it, with the races that are shipped."""
    folder = tmp_path_factory.mktemp("page") / "lab page"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html, "record_all", lambda races: SHIPPED["races"])
        written = write_pages(folder, EXPERIMENTS, MATRIX)
    assert [path.relative_to(folder).as_posix() for path in written] == [
        *("index.html", "lab/base.css", "lab/lab.css", "lab/lab.js", "lab/results.json")
    ]
    return folder


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Page]:
    """At the end nothing was red, and nothing but files of the folder was asked for."""
    async with open_page() as page:
        await look(page, 1280, 900)
        await page.open((folder / "index.html").as_uri())
        assert await page.evaluate("document.body.dataset.state") == "ready", page.complaints
        yield page
        assert page.complaints == []
        assert [url for url in page.requested if not url.startswith((folder.as_uri(), "data:"))] == []


async def where(page: Page) -> str:
    return await text_of(page, "#player output")


# --- what it shows


@in_browser
@needs("chromium")
async def test_twelve_tiles_say_claim_and_verdict_and_open_to_the_evidence(folder: Path) -> None:
    async with opened(folder) as page:
        tiles: list[str] = await page.evaluate(
            "[...document.querySelectorAll('.tile')].map(each => each.innerText)"
        )
        await page.evaluate("document.querySelector('#tiles li:nth-child(9) button').focus()")
        await press(page, "Enter")
        await page.wait_until("document.querySelector('#sheet').open")
        await page.click("#sheet summary")
        sheet = await text_of(page, "#sheet")
        codes = await page.evaluate("document.querySelectorAll('#sheet details code').length")
        await press(page, "Escape")
        focused = await page.evaluate("document.activeElement.innerText")
        injected = await page.evaluate("document.querySelectorAll('#injected').length")
    assert len(tiles) == 12
    assert ["✓" in tile for tile in tiles] == [number != 9 for number in range(1, 13)]
    assert all(MARKUP in tile and "call 0" in tile for tile in tiles)
    assert "3 of 3 observations hold · partly in virtual time" in " ".join(tiles[1].split())
    assert "and 2 more" in tiles[0]
    assert "✕ G9 first success" in sheet
    assert "call 0 answers after 50 ms, call 1 after 700 ms" in sheet
    assert "wire call 1 client_closed" in sheet
    assert "connection reset · call 0 settled the race" in sheet
    assert "fanout lab --break losers_not_cancelled" in sheet
    assert "tests/race/test_race.py::test_the_first_success_wins" in sheet
    assert " ".join(EXPERIMENTS_BY_ID["G9"].article.split()).replace("`", "")[:400] in sheet
    assert codes > 0
    assert focused == "G9 first success"
    assert injected == 0


@in_browser
@needs("chromium")
async def test_arrow_keys_move_in_the_grid_and_enter_opens_a_cell_with_the_line_that_leaks(
    folder: Path,
) -> None:
    async with opened(folder) as page:
        await page.evaluate("document.querySelector('#matrix td button').focus()")
        for key in ("ArrowDown", "ArrowRight", "ArrowLeft", "ArrowUp", "ArrowUp", "ArrowRight"):
            await press(page, key)
        label = await page.evaluate("document.activeElement.ariaLabel")
        reachable = await page.evaluate(
            "document.querySelectorAll('#matrix td button[tabindex=\"0\"]').length"
        )
        await press(page, "Enter")
        await page.wait_until("document.querySelector('#sheet').open")
        sheet = await text_of(page, "#sheet")
        leaks = await text_of(page, "#sheet .leaks code")
        await press(page, "Escape")
        await page.wait_until("!document.querySelector('#sheet').open")
        cells = await page.evaluate("document.querySelectorAll('#matrix td button').length")
    assert label == f"{VARIANTS[1]}: broken, 1 task left"
    assert reachable == 2, "one for each grid"
    assert "Call 1 is slow when call 0 has won." in sheet
    assert "tasks at 50 ms 1" in sheet
    assert "Code: line 2 leaks or waits" in sheet
    assert leaks == "done, pending = await asyncio.wait(calls, return_when=FIRST_COMPLETED)"
    assert cells == 3 * len(VARIANTS) + 3


@in_browser
@needs("chromium")
async def test_the_page_says_when_and_with_which_versions_it_was_made(folder: Path) -> None:
    async with opened(folder) as page:
        made = await text_of(page, "#made")
    assert re.search(r"recorded on \d{4}-\d\d-\d\d, \w+ versions fanout \S+, Python 3\S+, trio \S+", made)
    assert "aiohttp 3.14.0 make it again fanout lab --html DIR" in made


# --- the player


@in_browser
@needs("chromium")
async def test_arrow_keys_step_through_a_race_and_its_end_is_said(folder: Path) -> None:
    async with opened(folder) as page:
        first = await where(page)
        await page.evaluate("document.querySelector('#iteration').focus()")
        for _ in range(4):
            await press(page, "ArrowRight")
        fifth, scopes = await where(page), await text_of(page, "#player .scopes")
        await press(page, "ArrowLeft")
        fourth = await where(page)
        await page.evaluate("document.querySelector('#player').focus()")
        await press(page, "ArrowRight")
        again, tasks = await where(page), await text_of(page, "#player .tasks")
        await page.click("#player [aria-label='One iteration on']")
        sixth, ending = await where(page), await text_of(page, "#ending")
    assert first == "iteration 1 of 7, 0 ms"
    assert fourth == "iteration 4 of 7, 5 ms"
    assert fifth == again == "iteration 5 of 7, 57 ms"
    assert sixth == "iteration 6 of 7, 57 ms"
    assert "race deadline at 990 ms nursery no deadline; cancelled: call 0 settled the race" in scopes
    assert "call 0 ran ended: success" in tasks
    assert "exchange, fanout/upstream/transport.py:" in tasks
    assert "await wire.receive()" in tasks
    assert ending.startswith("This run ends with 200 after 57 ms; call 0 success, call 1 cancelled.")


@in_browser
@needs("chromium")
async def test_a_disconnect_at_a_checkpoint_leads_to_the_run_in_which_it_was_recorded(folder: Path) -> None:
    async with opened(folder) as page:
        await page.evaluate("document.querySelector('#iteration').focus()")
        for _ in range(3):
            await press(page, "ArrowRight")
        await page.click("#player [data-point='11']")
        at, ending, said = await where(page), await text_of(page, "#ending"), await text_of(page, ".said")
        cut = await page.evaluate("document.querySelector('#cut').selectedOptions[0].text")
        await press(page, "ArrowRight")
        scopes = await text_of(page, "#player .scopes")
        await press(page, "ArrowRight")
        tasks = await text_of(page, "#player .tasks")
        await page.click("#undisturbed")
        back = await text_of(page, "#ending")
    assert at.startswith("iteration 4 of ")
    assert "the client's FIN arrives" in said
    assert cut == "as call 0 begins to wait (11)"
    assert "no answer: the client has gone; call 0 cancelled, call 1 cancelled." in ending
    assert "every guarantee kept" in ending
    assert scopes.startswith("connection no deadline; cancelled: the client disconnected")
    assert "call 0 ran ended: cancelled the client disconnected" in tasks
    assert "200 after 57 ms" in back


@pytest.mark.long
@in_browser
@needs("chromium")
async def test_every_recorded_run_can_be_chosen_and_drawn(folder: Path) -> None:
    async with opened(folder) as page:
        seen = await page.evaluate(
            """(() => {
              const change = (id, value) => {
                const select = document.querySelector(id);
                select.value = value;
                select.dispatchEvent(new Event('change'));
              };
              const seen = [];
              for (const race of document.querySelectorAll('#race option')) {
                change('#race', race.value);
                for (const cut of document.querySelectorAll('#cut option')) {
                  change('#cut', cut.value);
                  seen.push([document.querySelectorAll('.recorded .cut').length,
                    document.querySelectorAll('.recorded .call').length]);
                }
              }
              return seen;
            })()"""
        )
    races = SHIPPED["races"]
    assert len(seen) == sum(1 + len(race["cuts"]) for race in races)
    assert sum(cuts for cuts, _ in seen) == sum(len(race["cuts"]) for race in races)
    assert {lanes for _, lanes in seen} == {3, 5}


@pytest.mark.long
@in_browser
@needs("chromium")
async def test_play_goes_on_by_itself_and_pauses(folder: Path) -> None:
    async with opened(folder) as page:
        await page.click("#player .steps button:last-of-type")
        await page.wait_until("document.querySelector('#iteration').value === '1'")
        await page.click("#player .steps button:last-of-type")
        label = await text_of(page, "#player .steps button:last-of-type")
    assert label == "▶ Play"


# --- how it looks


@in_browser
@needs("chromium")
async def test_nothing_sticks_out_of_a_phone_and_what_is_pressed_is_large_enough(folder: Path) -> None:
    """Contrast and names: see tests/blackbox/test_pages.py."""
    async with opened(folder) as page:
        await look(page, 360, 740, scale=2)
        await page.evaluate("document.querySelector('#player [data-point]').click()")
        width = await page.evaluate("document.documentElement.scrollWidth")
        small = await page.evaluate(
            "[...document.querySelectorAll('button, select')].map(each => each.getBoundingClientRect())"
            ".filter(box => box.height < 24 || box.width < 24).length"
        )
        sheets = []
        for opens in ("#tiles button", "#matrix td button"):
            await page.click(opens)
            await page.wait_until("document.querySelector('#sheet').open")
            sheets.append(await page.evaluate("document.querySelector('#sheet').scrollWidth"))
            await press(page, "Escape")
        scrolls = await page.evaluate(
            "[...document.querySelectorAll('.scrolls')].map(box => box.scrollWidth > box.clientWidth)"
        )
    assert (width, small) == (360, 0)
    assert max(sheets) <= 360
    assert scrolls == [True, True], "the grid scrolls within its own box"


@in_browser
@needs("chromium")
async def test_the_policy_holds_in_a_folder(folder: Path) -> None:
    """A script that comes into the page does not run, by the policy of its element: no header came."""
    async with open_page() as page:
        await page.open((folder / "index.html").as_uri())
        await page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), {textContent: 'ran = 1'}))"
        )
        assert await page.evaluate("typeof ran") == "undefined"
        assert "Content Security Policy" in " ".join(page.complaints)


# --- the files


def test_the_page_needs_no_address_of_its_own(folder: Path) -> None:
    """Every reference is relative, and to a file that is there; no element has a script or a style in it."""
    page = (folder / "index.html").read_text("utf-8")
    paths = re.findall(r'(?:href|src)="([^"#][^"]*)"', page)
    assert len(paths) >= 4
    for path in paths:
        assert path == "data:," or (folder / path).is_file()
    assert not re.search(r"<style|<script(?! defer src| type=\"application/json\")|\sstyle=|\son\w+=", page)
    assert "//" not in "".join(re.findall(r"url\([^)]*\)|@import[^;]*", (folder / "lab/lab.css").read_text()))
    shown = json.loads((folder / "lab/results.json").read_text("utf-8"))
    assert [{**each, "article": None} for each in shown["experiments"]] == [
        {**each, "article": None} for each in json.loads(json.dumps(EXPERIMENTS))
    ]


def test_a_name_means_the_same_in_all_modules_of_the_script() -> None:
    """They become one script: of two functions of one name, the first would be lost without a word."""
    names = [
        name
        for module in MODULES
        if module != "dom"
        for name in re.findall(
            r"^(?:export )?(?:const|function|class) (\w+)", (STATIC / f"{module}.js").read_text("utf-8"), re.M
        )
    ]
    assert len(names) > 20
    assert sorted(names) == sorted({*names} - {"html", "svg", "find", "fill", "SVG"})
    assert {path.stem for path in STATIC.glob("*.js")} == {*MODULES} - {"dom"}


@pytest.mark.parametrize("kind", ["a file", "not empty", "below a file"])
def test_a_folder_that_cannot_be_used_is_named_with_what_to_do(tmp_path: Path, kind: str) -> None:
    (tmp_path / "taken").write_text("precious", "utf-8")
    folder = {"a file": tmp_path / "taken", "not empty": tmp_path, "below a file": tmp_path / "taken/page"}[
        kind
    ]
    with pytest.raises(FolderError, match=r"name a(nother| new)? ?folder$") as error:
        check_folder(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_the_command_writes_what_it_has_run_and_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = Report(["nothing"], [], [Seen("client", "nothing", False)])
    results = [Result(EXPERIMENTS_BY_ID["G4"], report, 1.0)]
    monkeypatch.setattr(command, "run_experiments", lambda *_, **__: results)
    monkeypatch.setattr(matrix, "measure", lambda: Matrix({"Python": "3"}, ()))
    monkeypatch.setattr(html, "record_all", lambda races: SHIPPED["races"])

    done = lab("G4", "--html", str(tmp_path / "page"))

    shown = json.loads((tmp_path / "page/lab/results.json").read_text("utf-8"))
    assert done.exit_code == NO, done.output
    assert done.stdout.splitlines()[-1] == f"open {tmp_path}/page/index.html"
    assert [(each["id"], each["kept"]) for each in shown["experiments"]] == [("G4", False)]
    assert shown["matrix"]["versions"] == {"Python": "3"}


def test_a_wrong_folder_is_told_before_anything_is_run(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    folder = str(tmp_path)
    done = lab("G4", "--html", folder)
    assert done.exit_code == REFUSED
    assert done.stderr == (
        f"fanout lab: --html: '{folder}' is not empty, and nothing is overwritten: name a new folder\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_matrix_that_was_not_measured_is_said_so() -> None:
    pages = pages_of({**SHIPPED, "matrix": None})
    assert '"matrix":null' in pages["/lab"][1].decode()


@in_browser
@needs("chromium")
async def test_the_pictures_of_the_lab(folder: Path, tmp_path: Path) -> None:
    shown = {path: content for path, (_, content) in pages_of(SHIPPED).items()}
    for path, content in shown.items():
        file = tmp_path / "page" / ("index.html" if path == "/lab" else path[1:])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    async with opened(tmp_path / "page") as page:
        await look(page, 1180, 650)
        await picture(page, tmp_path, "lab")
        await page.evaluate("document.querySelector('#cut').value = '11'")
        await page.evaluate("document.querySelector('#cut').dispatchEvent(new Event('change'))")
        await page.evaluate("document.querySelector('#player').scrollIntoView({behavior: 'instant'})")
        await picture(page, tmp_path, "lab-player")
