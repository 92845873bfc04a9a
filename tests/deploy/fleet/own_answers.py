"""What HAProxy says itself, when no replica does: problem documents in the form of fanout's."""

from __future__ import annotations

import http.client
import json
import signal
from collections.abc import Iterator

from fanout.api import problems
from tests.deploy.fleet.fleet import BALANCER, WITHIN_S, Fleet, wait_until
from tests.deploy.fleet.haproxy import Change, haproxy
from tests.deploy.fleet.row import Row

SHORT_TIMEOUT: Change = ("timeout server 31s", "timeout server 100ms")
REQUEST_ID = 'a "quoted" id'


def own_answers(fleet: Fleet) -> Iterator[Row]:
    """With replicas that hang, that die with a request in flight, and that are not there."""
    with haproxy(SHORT_TIMEOUT):
        for replica in fleet.replicas:
            replica.program.process.send_signal(signal.SIGSTOP)
        yield _row("replicas hang", 504, _asked())
        for replica in fleet.replicas:
            replica.program.process.send_signal(signal.SIGCONT)
    fleet.wait_until_quiet()
    with haproxy():
        client = _asked()
        wait_until(lambda: any(each["admission"]["in_flight"] for each in fleet.statistics()))
        for replica in fleet.replicas:
            replica.kill()
        yield _row("replicas die", 502, client)
        yield _row("no replica", 503, _asked())
    for replica in fleet.replicas:
        replica.start()


def _asked() -> http.client.HTTPConnection:
    client = http.client.HTTPConnection(BALANCER, timeout=WITHIN_S)
    client.request("GET", "/api/first?timeout=30000", headers={"X-Request-Id": REQUEST_ID})
    return client


def _row(variant: str, status: int, client: http.client.HTTPConnection) -> Row:
    response = client.getresponse()
    body = response.read().decode()
    client.close()
    ours = json.loads(problems.OVERLOADED.body("an id"))
    try:
        document = json.loads(body)
    except ValueError:
        document = {}
    reason = document.get("reason")
    holds = (
        list(document) == list(ours)
        and response.status == document["status"] == status
        and document["type"] == f"urn:fanout:problem:{reason}"
        and document["request_id"] == response.getheader("X-Request-Id") == REQUEST_ID
        and response.getheader("Content-Type") == problems.CONTENT_TYPE
        and response.getheader("Cache-Control") == "no-store"
        and (status != 503 or response.getheader("Retry-After") == "1")
    )
    why = "" if holds else f"{response.status}\n{response.headers}\n{body}"
    return Row("own-answers", variant, {"status": response.status}, f"{status}, as a problem", holds, why)
