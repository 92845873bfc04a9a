"""A real Prometheus scrapes the real program under load, and its rules say whose fault it is.

Skipped without Prometheus (Debian's package `prometheus`). The rules are those of `deploy/observability`
with one change, made by `in_seconds`: their minutes are seconds. What takes five minutes of an
operator's time takes five seconds here; thresholds, labels and expressions are the shipped ones.
"""

from __future__ import annotations

import json
import queue
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from fanout.testing import Program
from tests.blackbox.conftest import request
from tests.bystander import BUSY_SHARE
from tests.bystander_process import waited_s
from tests.forked import running
from tests.lacking import needs

OBSERVABILITY = Path(__file__).parents[2] / "deploy/observability"
FIRES_WITHIN_S = 25
READY = "Server is ready to receive web requests."
RATE_PER_S = 25.0  # about 5 in flight
IN_FLIGHT_LIMIT = 20
NO_ALERT = 'absent(ALERTS{alertstate="firing"})'
OVERLOAD_PER_S = 250.0  # about 50 in flight, if they were let in

pytestmark = [
    pytest.mark.same_on_every_python,
    needs("prometheus"),
]


def in_seconds(rules: str) -> str:
    """The same rules, with every duration in minutes turned into as many seconds."""
    return re.sub(r"\b(\d+)m\b", r"\1s", rules)


class Prometheus:
    """A running Prometheus, and what it says."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of its API. Raises `HTTPError` when it refuses the query."""
        with urllib.request.urlopen(
            f"{self.url}/api/v1/{path}?{urlencode(parameters)}", timeout=10
        ) as answer:
            return json.loads(answer.read())["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The metric and the value of each sample of an instant query."""
        found = self.ask("query", query=expression)["result"]
        return [(sample["metric"], float(sample["value"][1])) for sample in found]

    def wait_for(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Ask until there is an answer."""
        give_up_at = time.monotonic() + FIRES_WITHIN_S
        while time.monotonic() < give_up_at:
            found = self.query(expression)
            if found:
                return found
            time.sleep(0.2)
        alerts = self.ask("alerts")["alerts"]
        raise AssertionError(f"{expression} stayed empty for {FIRES_WITHIN_S} s; alerts: {alerts}")

    def fired(self, since_s: float) -> dict[str, str]:
        """The alerts that have fired in the last seconds, each with whose fault it is."""
        rows = self.query(f'present_over_time(ALERTS{{alertstate="firing"}}[{since_s * 1000:.0f}ms])')
        return {labels["alertname"]: labels["fault"] for labels, _ in rows}


@contextmanager
def prometheus(folder: Path, targets: list[str]) -> Iterator[Prometheus]:
    """Scrape the targets four times a second. Enter when it listens."""
    (folder / "rules.yml").write_text(in_seconds((OBSERVABILITY / "rules/fanout.yml").read_text()))
    config = {
        "global": {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "250ms"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": "fanout", "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    arguments = [
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
        "--enable-feature=exemplar-storage",
        "--log.format=json",
    ]
    with subprocess.Popen(["prometheus", *arguments], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = queue.SimpleQueue[Any]()
        reader = threading.Thread(target=lambda: deque(map(said.put, process.stderr or ()), maxlen=0))
        reader.start()
        try:
            address = ""
            while (line := json.loads(said.get(timeout=FIRES_WITHIN_S))).get("msg") != READY:
                address = line["address"] if line.get("msg") == "Listening on" else address
            yield Prometheus(f"http://{address}")
        finally:
            process.kill()
            reader.join()


@contextmanager
def load(fanout: Program, rate_per_s: float) -> Iterator[None]:
    """Requests at this rate until the block ends."""
    arguments = ["--url", fanout.urls["api"], "--rate", str(rate_per_s), "--duration", "120", "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-m", "fanout", "load", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
        assert process.poll() is None, "the load has ended before the test"
    finally:
        process.kill()
        process.wait()


class World:
    """A simulated upstream, a fanout that calls it, a Prometheus that watches."""

    def __init__(self, simulator: Program, fanout: Program, watch: Prometheus) -> None:
        self.simulator = simulator
        self.fanout = fanout
        self.watch = watch

    def upstream(self, faults: Mapping[str, float]) -> None:
        """From now on, this share of its calls fails so."""
        url = self.simulator.urls["upstream"]
        assert request(url, "/settings", method="PUT", document={"faults": faults}).status == 200

    def waited_s(self) -> float:
        """How long the upstream has waited for a processor."""
        return waited_s([self.simulator.process.pid])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        delays = ["--min-delay-ms", "100", "--max-delay-ms", "300"]
        simulator = stack.enter_context(running("upstream", "--bind", "127.0.0.1:0", "--reliable", *delays))
        arguments = ["--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0"]
        arguments += ["--upstream", simulator.urls["upstream"] + "/api/work"]
        arguments += ["--max-in-flight", str(IN_FLIGHT_LIMIT)]
        fanout = stack.enter_context(running("serve", *arguments))
        targets = [urlsplit(fanout.urls["admin"]).netloc]
        watch = stack.enter_context(prometheus(tmp_path_factory.mktemp("prometheus"), targets))
        yield World(simulator, fanout, watch)


@pytest.mark.long
def test_the_alert_that_fires_says_whose_fault_it_is(world: World) -> None:
    """First the upstream fails six calls of ten; then it hangs, until we must refuse requests for it; then it
    is well, and we get more than we can serve."""
    with load(world.fanout, RATE_PER_S):
        world.watch.wait_for("fanout:upstream_failed:ratio_rate5m == 0")
        world.watch.wait_for(NO_ALERT)
        began = time.monotonic()
        world.upstream({"status": 0.6})
        world.watch.wait_for('ALERTS{alertname="FanoutUpstreamFailing", alertstate="firing"}')
        world.upstream({"hang_before_head": 1.0})
        world.watch.wait_for('ALERTS{alertname="FanoutSheddingForUpstream", alertstate="firing"}')
        world.watch.wait_for('ALERTS{alertname="FanoutUpstreamDown", alertstate="firing"}')
    fired = world.watch.fired(time.monotonic() - began)
    # On a busy machine our loop may be late, or a scrape, while the upstream fails: no mistake of the rules.
    busy_machine = {"FanoutLoopLate", "FanoutGuaranteeBroken", "FanoutNotScraped"}
    assert {fault for name, fault in fired.items() if name not in busy_machine} == {"upstream"}, fired
    exemplars = world.watch.ask(
        "query_exemplars",
        query="http_client_request_duration_seconds_bucket",
        start=str(time.time() - 60),
        end=str(time.time() + 60),
    )
    assert any("request_id" in e["labels"] for series in exemplars for e in series["exemplars"])

    world.upstream({})
    with load(world.fanout, OVERLOAD_PER_S):
        world.watch.wait_for('absent(ALERTS{alertstate="firing", fault="upstream"})')  # rules look back
        began, waited = time.monotonic(), world.waited_s()
        world.watch.wait_for('ALERTS{alertname="FanoutShedding", alertstate="firing"}')
    took_s = time.monotonic() - began
    fired = world.watch.fired(took_s)
    # An upstream that gets no processor is slow, and the rules are right to say so.
    is_machines = world.waited_s() - waited > BUSY_SHARE * took_s
    machines = {"FanoutUpstreamSlow", "FanoutSheddingForUpstream"} if is_machines else set()
    assert {fault for name, fault in fired.items() if name not in machines} == {"ours"}, fired


def dashboard_queries() -> list[str]:
    panels = json.loads((OBSERVABILITY / "grafana/fanout.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def filled_in(query: str) -> str:
    """As Grafana does it."""
    for name, value in (("$__rate_interval", "1m"), ("$__range", "1h"), ("$job", ".*")):
        query = query.replace(name, value)
    return query


def test_every_query_of_the_dashboard_is_one_to_prometheus(world: World) -> None:
    """And all but those about what has not happened have an answer."""
    queries = dashboard_queries()
    assert len(queries) > 30
    with load(world.fanout, RATE_PER_S):
        world.watch.wait_for("fanout:upstream_failed:ratio_rate5m >= 0")
        empty, give_up_at = queries, time.monotonic() + 30
        while len(empty) > 4 and time.monotonic() < give_up_at:  # a rate needs two scrapes
            empty = [query for query in queries if not world.watch.query(filled_in(query))]
    assert len(empty) <= 4, empty
