"""What makes the benchmark fair, on small examples: whole lives, useful answers, remarks, losses, variety.

The figures are changed and the servers are a few lines, so nothing here is measured.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import socket
import sys
import urllib.request
from collections.abc import Callable
from copy import deepcopy
from math import inf
from pathlib import Path
from types import ModuleType
from typing import Any

import httptools
import pytest

from benchmarks import page
from benchmarks.comparison import Comparison
from benchmarks.contenders import AIOHTTP_NAME, FANOUT_NAME, GO_NAME, UVLOOP_NAME
from benchmarks.life import Life, Unasked, Watched, requests_s, unasked, us_per_useful
from benchmarks.programs import PEERS, VARIED, Server, has_nginx, running, upstream
from benchmarks.sections import cpu
from benchmarks.varied import VariedDraw
from fanout.api.timeouts import read_timeout
from fanout.process import run as process_run
from fanout.tools.load.plan import LoadPlan, parsed_target
from tests.lacking import reason

pytestmark = pytest.mark.same_on_every_python

FIGURES = page.load()
CORES = ",".join(map(str, os.sched_getaffinity(0)))


# --- CPU over the whole life, for each useful answer

# For each request it works in a thread, which then ends, and as long again when it exits.
SERVER = """
import signal, socket, sys, threading, time

def work(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass

def end(*_):
    work(0.1 + 0.05 * requests)
    sys.exit()

requests = 0
signal.signal(signal.SIGTERM, end)
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    connection, _ = listener.accept()
    requests += 1
    thread = threading.Thread(target=work, args=[0.05])
    thread.start()
    thread.join()
    connection.close()
"""


def lived(requests: int) -> Life:
    with running(Server("late", (sys.executable, "-c", SERVER, "{port}")), "", CORES) as program:
        watched = Watched(program)
        for _ in range(requests):
            host, _, port = program.url.removeprefix("http://").partition(":")
            with socket.create_connection((host, int(port))) as client:
                assert client.recv(1) == b""
        watched.ends()
    return watched.life()


def test_work_that_is_put_off_until_the_exit_and_threads_that_have_ended_are_counted() -> None:
    """Three requests work for 50 ms at once and for 50 ms at the end, which no window would see."""
    without = unasked(lived(0))
    asked = lived(3)
    assert without.exit_s == pytest.approx(0.1, abs=0.05)
    assert asked.end_cpu_s - asked.ready_cpu_s == pytest.approx(0.15, abs=0.05)
    assert requests_s(asked, without) == pytest.approx(0.3, abs=0.1)


def test_what_a_process_uses_without_requests_is_not_theirs() -> None:
    """0.5 s until it was ready, 0.1 s idle in 10 s, 0.2 s for its exit: the rest of 2.8 s is theirs."""
    without = unasked(Life(ready_cpu_s=0.5, lived_s=10, end_cpu_s=0.6, whole_cpu_s=0.8))
    assert without.idle_share == pytest.approx(0.01)
    assert without.exit_s == pytest.approx(0.2)
    life = Life(ready_cpu_s=0.5, lived_s=10, end_cpu_s=2.3, whole_cpu_s=2.8)
    assert requests_s(life, without) == pytest.approx(2.0)
    assert requests_s(Life(0.5, 20, 2.3, 2.8), without) == pytest.approx(1.9)


def test_the_cost_is_divided_by_the_useful_answers_and_not_by_what_was_offered() -> None:
    life, without = Life(0.0, 1.0, 1.0, 1.0), Unasked(0.0, 0.0)
    assert us_per_useful(life, without, 1000) == pytest.approx(1000)
    assert us_per_useful(life, without, 10) == pytest.approx(100_000)
    assert us_per_useful(life, without, 0) == inf


def test_the_page_computes_the_cost_from_the_raw_life_and_the_useful_answers() -> None:
    """Half as many useful answers for the same processor time cost twice as much."""
    found = deepcopy(FIGURES["cpu"]["found"])
    load = next(iter(found["rounds"]))
    before = cpu.compared(found)[0].value(FANOUT_NAME)
    for one in found["rounds"][load]:
        one[FANOUT_NAME]["useful"] /= 2
    assert cpu.compared(found)[0].value(FANOUT_NAME) == pytest.approx(2 * before)


# --- the best peer, and what is better or worse


def compared(fanout: list[float], **others: Any) -> Comparison:
    samples = {FANOUT_NAME: fanout, **others.pop("peers")}
    return Comparison("cost", "µs", samples, **others)


def test_the_best_peer_is_chosen_among_those_in_python_whose_figure_is_trusted() -> None:
    peers = {AIOHTTP_NAME: [4.0], UVLOOP_NAME: [3.0], "fanout, bare": [1.0], GO_NAME: [2.0]}
    assert compared([5], peers=peers).best_peer() == UVLOOP_NAME
    doubted = {UVLOOP_NAME: "not trusted: only 10% useful"}
    assert compared([5], peers=peers, remarks=doubted).best_peer() == AIOHTTP_NAME
    limited = {UVLOOP_NAME: "limited by the generator"}
    assert compared([5], peers=peers, remarks=limited).best_peer() == UVLOOP_NAME
    assert compared([5], peers=peers, more_is_better=True).best_peer() == AIOHTTP_NAME
    assert compared([5], peers={}).best_peer() is None


@pytest.mark.parametrize(
    ("mine", "its", "verdict"),
    [
        ([1.10, 1.11, 1.12], [1.0, 1.0, 1.0], "worse"),
        ([0.90, 0.91, 0.92], [1.0, 1.0, 1.0], "better"),
        ([1.0, 1.3, 1.0, 1.1], [1.0, 1.0, 1.0, 1.0], "no clear difference"),  # 1.05 ± 0.07
        ([1.01, 1.01, 1.01], [1.0, 1.0, 1.0], "no clear difference"),  # too little to tell, however exact
        ([1.04], [1.0], "no clear difference"),
        ([1.06], [1.0], "worse"),
        ([5.0], [0.0], "worse"),
        ([0.0], [0.0], "no clear difference"),
    ],
)
def test_a_difference_within_two_standard_errors_is_none(
    mine: list[float], its: list[float], verdict: str
) -> None:
    assert compared(mine, peers={AIOHTTP_NAME: its}).verdict(AIOHTTP_NAME) == verdict
    opposite = {"worse": "better", "better": "worse"}.get(verdict, verdict)
    more = compared(mine, peers={AIOHTTP_NAME: its}, more_is_better=True)
    assert more.verdict(AIOHTTP_NAME) == opposite


def test_a_ratio_is_taken_round_by_round_of_the_rounds_that_both_have() -> None:
    one = compared([10, 40, 90], peers={AIOHTTP_NAME: [10, 20, 30], GO_NAME: [5]})
    assert one.cell(AIOHTTP_NAME)[1] == "2.00 ± 0.58"
    assert one.cell(GO_NAME)[1] == "2.00"


def test_nothing_is_concluded_from_a_figure_that_is_not_trusted() -> None:
    for doubted in (FANOUT_NAME, AIOHTTP_NAME):
        one = compared([9], peers={AIOHTTP_NAME: [1]}, remarks={doubted: "not trusted: only 10% useful"})
        assert one.verdict(AIOHTTP_NAME) == "not known"
        assert "not trusted: only 10% useful" in one.against(AIOHTTP_NAME)


# --- remarks and losses on the page


def changed(change: Callable[[Any], None]) -> page.Figures:
    figures: page.Figures = deepcopy(FIGURES)
    for entry in figures.values():  # whether the figures of today are of a short run is not the question here
        entry["measured"]["short"] = False
        entry["measured"].pop("changed", None)
    change(figures)
    return figures


def too_few_useful(figures: page.Figures) -> None:
    for one in figures["cpu"]["found"]["rounds"]["first 500"]:
        one[FANOUT_NAME]["useful_share"] = 0.5
        one[FANOUT_NAME]["late_launches"] = 0.25


def short(figures: page.Figures) -> None:
    figures["cpu"]["measured"]["short"] = True


def one_not_committed(figures: page.Figures) -> None:
    figures["cpu"]["measured"]["changed"] = ["fanout/cli.py"]


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        (too_few_useful, "not trusted: only 50% useful, 25% sent late"),
        (short, page.SHORT_RUN),
        (one_not_committed, "of files that are not committed"),
    ],
)
def test_a_remark_is_repeated_wherever_the_figure_is_quoted(
    change: Callable[[Any], None], remark: str
) -> None:
    """In the table of all comparisons, the summary, the README, and in prose of this page and of others."""
    figures, plain = changed(change), changed(lambda _: None)
    summary = " ".join(page.QUOTED["summary"].value(figures).split())
    rows = [
        row for row in page.QUOTED["glance"].value(figures).splitlines() if row.startswith(f"| {page.CPU} ")
    ]
    quotes = [
        page.quoted(f"<!-- figure: {name} -->x<!-- end -->", figures) for name in ("cpu_us", "rate_a_core")
    ]
    assert len(rows) == 1
    assert len(re.findall(r"`first` at 500/s [\d.]+[^;]*? \([^)]*" + re.escape(remark), summary)) >= 1
    for text in (*rows, *quotes, page.page(figures)):
        assert remark in text
    assert remark not in page.QUOTED["glance"].value(plain) + page.QUOTED["summary"].value(plain)


def test_a_server_that_was_not_its_own_limit_says_so_in_the_summary_too() -> None:
    def by_the_generator(figures: page.Figures) -> None:
        for one in figures["peak"]["found"]["rounds"]:
            for its in one["servers"].values():
                its["server_core"], its["other_core"] = 0.5, 1.0

    figures = changed(by_the_generator)
    for name in ("summary", "glance"):
        assert "limited by generator" in page.QUOTED[name].value(figures)
    assert "(limited by generator" in page.quote("peak", figures)


@pytest.mark.parametrize(
    ("factor", "words"),
    [(3.0, "worse than"), (1.0, "neither clearly better nor clearly worse than"), (0.3, "better than")],
)
def test_the_summary_says_in_which_sections_fanout_loses_and_in_which_it_wins(
    factor: float, words: str
) -> None:
    """All figures of fanout are made so many times those of its best peer. More is better for goodput."""

    def change(figures: page.Figures) -> None:
        servers = figures["memory"]["found"]["servers"]
        best = min(
            one["kib_a_request"] for name, one in servers.items() if name not in (FANOUT_NAME, GO_NAME)
        )
        servers[FANOUT_NAME]["kib_a_request"] = best * factor
        for one in servers.values():
            one["hang"] = 1000

    summary = page.QUOTED["summary"].value(changed(change))
    paragraphs = dict(re.findall(r"\*\*fanout is ([\w ]+):\*\*\n\n(.+?)(?=\n\n|\Z)", summary, re.DOTALL))
    lines = " ".join(paragraphs[f"{words} the best peer in Python"].split())
    memory = re.search(
        r"\[Memory of a request in flight\]\(#memory-of-a-request-in-flight\): (.*?)(?: \* |$)", lines
    )
    assert memory
    assert f" {factor:.2f}" in memory[1]


def test_every_comparison_stands_in_the_summary_once_for_the_best_peer_and_once_for_go() -> None:
    figures = changed(lambda _: None)
    summary = " ".join(page.QUOTED["summary"].value(figures).split())
    of_python, _, of_go = summary.partition(" Go:**")
    comparisons = [one for _, one in page.compared(figures)]
    assert len(comparisons) > 20
    for peer_of, lines in ((Comparison.best_peer, of_python), (Comparison.go, of_go)):
        for one in comparisons:
            if peer := peer_of(one):
                what = one.label.removeprefix("CPU per useful answer, ")
                assert lines.count(f"{what} {one.against(peer)}") == 1, one.label


def test_what_a_text_says_of_winning_and_losing_is_computed() -> None:
    """No ratio and no verdict against a peer is typed into the prose."""
    prose = page.PROSE.read_text("utf-8")
    assert "<!-- summary -->" in prose
    assert not re.findall(
        r"fanout (?:is|takes) (?:less|more|better|worse|faster|slower)[^.]*(?:aiohttp|Go|FastAPI)", prose
    )
    assert not re.findall(r"\d\.\d\d ±|\d+ times (?:as|less|more)", prose)


# --- variety


def shots(seed: int = 1) -> list[Any]:
    plan = LoadPlan(target=parsed_target("http://127.0.0.1:80"), seed=seed)
    draw = VariedDraw(plan)
    return [draw.shot() for _ in range(3000)]


class Head:
    """What a parser in C reads of a request."""

    def __init__(self, request: bytes) -> None:
        self.fields: list[tuple[str, str]] = []
        self.url, self.complete = b"", False
        httptools.HttpRequestParser(self).feed_data(request)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.decode(), value.decode()))

    def on_message_complete(self) -> None:
        self.complete = True


def test_no_two_requests_are_alike_and_every_server_gets_the_same() -> None:
    requests = [shot.request for shot in shots()]
    assert len(set(requests)) == len(requests)
    assert requests == [shot.request for shot in shots()]
    assert requests[:10] != [shot.request for shot in shots(seed=2)][:10]


def test_the_requests_vary_in_all_that_a_server_could_remember() -> None:
    """Names, order and spelling of headers, the query, and the timeout; each can be parsed."""
    drawn = shots()
    heads = [Head(shot.request) for shot in drawn]
    for shot, head in zip(drawn, heads, strict=True):
        query = head.url.partition(b"?")[2]
        assert head.complete
        assert 950 <= shot.timeout_ms <= 1000
        assert read_timeout(query, 1, 30_000, "", ()).ms == shot.timeout_ms
        assert [name.lower() for name, _ in head.fields].count("host") == 1
    assert len({shot.timeout_ms for shot in drawn}) > 40
    assert len({tuple(name.lower() for name, _ in head.fields) for head in heads}) > 200
    assert {name for head in heads for name, _ in head.fields} >= {"Host", "host", "HOST"}
    assert len({head.url.partition(b"timeout=")[0] for head in heads}) > 3


@pytest.mark.skipif(
    not has_nginx(), reason=reason("nginx with Lua", "apt-get install nginx-light libnginx-mod-http-lua")
)
def test_no_two_answers_are_alike_and_every_server_gets_the_same(tmp_path: Path) -> None:
    """Real nginx. It begins again for each server that is started."""
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    idle = Server("idle", (sys.executable, "-c", SERVER, "{port}"))
    with upstream(tmp_path, os.sched_getaffinity(0).pop()) as (url, what):
        assert what == VARIED
        with running(idle, url, CORES):
            first = [answer_of(f"{url}?delay_ms={number}") for number in range(40)]
        with running(idle, url, CORES):
            second = [answer_of(f"{url}?delay_ms={number}") for number in range(40)]
    assert first == second
    payloads, heads = [body for body, _ in first], [head for _, head in first]
    assert [json.loads(body)["time"] for body in payloads] == list(range(40))
    assert len({tuple(json.loads(body)) for body in payloads}) > 20  # members and their order
    assert len({re.sub(r"\w", "", body[:12]) for body in payloads}) > 2  # their spacing
    assert len({re.sub(r'"(time|call)":\s*\d+', "", body) for body in payloads}) > 30
    assert len({tuple(name.lower() for name, _ in head) for head in heads}) > 20
    names = [name.lower() for head in heads for name, _ in head]
    assert 0 < names.count("transfer-encoding") < names.count("content-length")


def answer_of(url: str) -> tuple[str, list[tuple[str, str]]]:
    with urllib.request.urlopen(url) as answer:
        fields = [(name, value) for name, value in answer.headers.items() if name.lower() != "date"]
        return answer.read().decode(), fields


# --- the same tuning


def rules() -> ModuleType:
    """The module of the peers, which run as scripts."""
    spec = importlib.util.spec_from_file_location("rules", PEERS / "rules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_best_peer_is_tuned_as_fanout_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The collector: what is alive is frozen, and the same threshold. It is all that fanout does."""
    done: list[Any] = []
    monkeypatch.setattr("gc.freeze", lambda: done.append("freeze"))
    monkeypatch.setattr("gc.set_threshold", done.append)
    process_run.freeze_what_stays()
    of_fanout, done[:] = list(done), []
    rules().tune_process()
    assert done == of_fanout == ["freeze", process_run.GC_THRESHOLD]
