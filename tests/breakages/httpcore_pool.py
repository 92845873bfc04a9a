"""`make httpcore-leak`: httpx's own pool in the place of ours, in simulation runs and in the sweep.

A slot that is neither idle nor closed when every request is over is lost for the life of the pool. httpcore
loses one when a call is cancelled between the last send of its TLS handshake, whose checkpoint is shielded,
and the next checkpoint, which is the lock of the new connection: the client disconnects in that one
iteration, or the sibling succeeds. Nothing here aims at that: the simulation runs are those of
`make simulate`, and the runs of the sweep come in their usual order.

Prints a table, with our pool in the same runs next to it; with `--json`, the samples of
docs/guarantees.md. Exit code 1 when httpcore loses no slot (then a reason for a pool of our own is gone), or
ours does.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Any, Final
from unittest.mock import patch

import click
import httpcore
import httpx
from loguru import logger

from fanout.process import composition
from fanout.testing.world.draw import draw_plan
from fanout.testing.world.ended import Ended
from fanout.testing.world.plan import CallScript, Plan
from fanout.testing.world.world import run_plan
from fanout.upstream.transport import PoolTransport
from tests.breakages.httpcore_transport import HttpcoreTransport
from tests.sweep import stack
from tests.sweep.situations import ENDPOINTS, SITUATIONS
from tests.sweep.sweep import runs

WORLDS: Final = 300
REQUESTS: Final = 100  # a world
_WITHOUT_LIMIT: Final = frozenset(  # httpx reads them on and on: some for ever, in virtual time
    {"gzip_bomb", "huge_head", "huge_body", "huge_chunked", "endless_head", "endless_informational"}
)

Pool = Callable[..., httpx.AsyncBaseTransport]


@dataclass(frozen=True, slots=True)
class Search:
    """tried: requests of worlds or runs of the sweep, up to where a slot was seen to be lost.

    rounds: how many worlds or runs were begun. lost: what was seen, and where; empty: nothing was.
    """

    tried: int
    rounds: int
    lost: str = ""


def search_worlds(pool: Pool, worlds: int) -> Search:
    """Try simulation runs until one has lost a slot. Its own oracle sees it, at the next answer."""
    asked = 0
    for seed in range(worlds):
        ended = run_on(pool, _taken_out(draw_plan(seed, REQUESTS)), seed)
        lost = lost_in(ended)
        if lost:
            return Search(asked + _asked_until_seen(ended), seed + 1, f"world {seed}: {lost}")
        asked += len(ended.requests)
    return Search(asked, worlds)


def run_on(pool: Pool, plan: Plan, seed: int) -> Ended:
    """The world of this plan, with that pool."""
    with patch.object(composition, "PoolTransport", pool):
        return run_plan(plan, seed)


def lost_in(ended: Ended) -> str:
    """What was still in use at the end of the world, as a sentence; empty: nothing was."""
    return next((what for what in ended.wrong if what.startswith("G7: the pool has")), "")


def search_sweep(pool: Pool, at_most: float = inf) -> Search:
    """Sweep until a run has lost a slot."""
    tried = 0
    with patch.object(stack, "PoolTransport", pool):
        for situation, endpoint in itertools.product(SITUATIONS, ENDPOINTS):
            for action, n, wrong in runs(situation, endpoint):
                tried += 1
                lost = [what for what in wrong if what.startswith("slots: ")]
                if lost:
                    where = f"{situation.name}, {endpoint}, {action} at point {n}"
                    return Search(tried, tried, f"{where}: {lost[0]}")
                if tried >= at_most:
                    return Search(tried, tried)
    return Search(tried, tried)


def _taken_out(plan: Plan) -> Plan:
    """The plan without what httpx has no limit for, and without bugs: they cancel calls, but are no use."""
    clients = []
    for client in plan.clients:
        requests = tuple(replace(r, calls=tuple(map(_tame, r.calls))) for r in client.requests)
        clients.append(replace(client, requests=requests))
    return replace(plan, clients=tuple(clients))


def _tame(call: CallScript) -> CallScript:
    dials = tuple(replace(dial, how="refuse") if dial.how == "crash" else dial for dial in call.dials)
    return replace(call, dials=dials, fault=None if call.fault in _WITHOUT_LIMIT else call.fault)


def _asked_until_seen(ended: Ended) -> int:
    """How many requests had been asked when an answer began while more was in use than calls ran."""
    seen = [
        answer.first_at
        for request in ended.requests
        if any(what.startswith("G7: ") for what in request.bad)
        and (answer := request.connection.answer_to(request)) is not None
    ]
    return sum(request.sent_at <= min(seen, default=inf) for request in ended.requests)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print each search as JSON.")
def main(as_json: bool) -> None:
    """Search, and the same again with our pool."""
    logger.disable("fanout")  # the leak_check sees it, too, and says so
    theirs = search_worlds(HttpcoreTransport, WORLDS), search_sweep(HttpcoreTransport)
    ours = search_worlds(PoolTransport, theirs[0].rounds), search_sweep(PoolTransport, theirs[1].rounds)
    samples = {
        name: {"simulation": asdict(worlds), "sweep": asdict(sweep)}
        for name, (worlds, sweep) in (
            (f"httpx's, httpcore {httpcore.__version__}", theirs),
            ("fanout's", ours),
        )
    }
    if as_json:
        click.echo(json.dumps(samples))
    else:
        for line in (["pool", "simulation", "sweep"], ["---"] * 3, *rows(samples)):
            click.echo(f"| {' | '.join(line)} |")
    for search in (*theirs, *ours):
        if search.lost:
            click.echo(search.lost, err=True)
    raise SystemExit(not all(search.lost for search in theirs) or any(search.lost for search in ours))


def rows(samples: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Those of the table, from what `--json` prints."""
    return [
        [name, _cell(of["simulation"], "requests"), _cell(of["sweep"], "runs")]
        for name, of in samples.items()
    ]


def _cell(search: Mapping[str, Any], measure: str) -> str:
    how = "a slot lost after" if search["lost"] else "none in"
    return f"{how} {search['tried']:,} {measure}"


if __name__ == "__main__":
    main()
