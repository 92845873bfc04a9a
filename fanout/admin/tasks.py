"""The tree of tasks as it is now: of the process, or of one request: its scopes, nursery and calls.

Made only when somebody asks, by walking `child_nurseries` of Trio's public task API. The context of a task,
which Quart fills, tells its request, so a request pays nothing for being shown.

Rule 1: an answer is bounded: so many tasks, and so many of each nursery. What is left out is counted.
Rule 2: the walk is split into pieces, each at its turn. A task may end between two of them: then it is shown
        as it was.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any, Final

import trio
from quart import has_request_context, request

import fanout
from fanout.api.exchange import Exchange, exchange_of
from fanout.race.ledger import CallRecord
from fanout.race.outcome import Cancelled, Failure
from fanout.race.race import Race
from fanout.race.verdict import word_of

MAX_TASKS: Final = 300
MAX_PER_NURSERY: Final = 20
MAX_PLACES: Final = 12  # of one task: the innermost
TASKS_PER_TURN: Final = 20  # about 0.3 ms
LOOKED_AT_PER_TURN: Final = 100  # when a request is searched
_PACKAGE: Final = str(Path(fanout.__file__).parent) + "/"

Task = trio.lowlevel.Task
Node = dict[str, Any]


class TaskTrees:
    """Makes trees, of JSON's own types; times in milliseconds.

    A task: `task` (its name), `places` (what it runs, from the outside to where it waits), and `nurseries`.
    The outermost task of a request has `request` and `scopes`, too.
    A nursery: `scope`, `tasks`, `more` (how many tasks are left out), `ended` (calls of a request).
    A scope: `name`, `deadline_in_ms` (`None`: it has none), `cancelled`, `reason` (what cancels it, or has).
    """

    def __init__(self, turn: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint) -> None:
        """turn: awaited before each piece of work."""
        self._turn = turn

    async def of_process(self) -> Node:
        """All tasks of this run of Trio, from its root."""
        root = trio.lowlevel.current_root_task()
        assert root is not None
        return await self._tree(root)

    async def of_request(self, request_id: str) -> Node | None:
        """The tasks of a request that races now; `None`: there is none with this id."""
        await self._turn()
        root = trio.lowlevel.current_root_task()
        for number, task in enumerate([] if root is None else _all_tasks(root), 1):
            if number % LOOKED_AT_PER_TURN == 0:
                await self._turn()
            exchange = _exchange_of(task) if task.child_nurseries else None
            if exchange is not None and exchange.request_id == request_id:
                return await self._tree(task)
        return None

    async def _tree(self, root: Task) -> Node:
        """Level by level, so that what is left out is what is deepest."""
        await self._turn()
        tree: Node = {}
        level: list[tuple[Task, Exchange | None, Node]] = [(root, None, tree)]
        shown = 1
        for number, (task, outer, node) in enumerate(level, 1):  # it grows while it is read
            if number % TASKS_PER_TURN == 0:
                await self._turn()
            exchange = outer or _exchange_of(task)
            node.update(_task(task, exchange if outer is None else None))
            of_race = exchange if outer is None else None  # else it is deeper inside
            for nursery in task.child_nurseries:
                all_of_them = nursery.child_tasks
                children = sorted(islice(all_of_them, 10 * MAX_PER_NURSERY), key=_order)
                children = children[: min(MAX_PER_NURSERY, MAX_TASKS - shown)]
                shown += len(children)
                below: list[Node] = [{} for _ in children]
                node["nurseries"].append(
                    {
                        "scope": _scope("nursery", nursery.cancel_scope, _settles(of_race)),
                        "tasks": below,
                        "more": len(all_of_them) - len(children),
                        "ended": [] if of_race is None else _ended(of_race),
                    }
                )
                level += [(child, exchange, place) for child, place in zip(children, below, strict=True)]
        return tree


def _all_tasks(root: Task) -> Iterator[Task]:
    """From the outside to the inside."""
    found = [root]
    for task in found:  # it grows while it is read
        yield task
        for nursery in task.child_nurseries:
            found += nursery.child_tasks


def _order(task: Task) -> tuple[bool, str]:
    """The tasks that have children first; then by name."""
    return not task.child_nurseries, task.name


def _exchange_of(task: Task) -> Exchange | None:
    """The request to which a task belongs. The asking task belongs to none."""
    if task is trio.lowlevel.current_task():
        return None
    return task.context.run(_current_exchange)


def _current_exchange() -> Exchange | None:
    return exchange_of(request.scope) if has_request_context() else None


def _task(task: Task, exchange: Exchange | None) -> Node:
    """exchange: of the request whose outermost task this is."""
    node: Node = {"task": task.name, "places": _places(task), "nurseries": []}
    race = None if exchange is None else exchange.race
    if exchange is not None and race is not None:
        budget, now = race.budget, trio.current_time()
        node["request"] = {
            "request_id": exchange.request_id,
            "timeout_ms": budget.timeout_ms,
            "elapsed_ms": _ms(now - exchange.arrived_at),
        }
        node["scopes"] = list(_scopes(exchange, race))
    return node


def _scopes(exchange: Exchange, race: Race) -> Iterator[Node]:
    """Those around the nursery of a race, from the outside to the inside."""
    connection = getattr(exchange.client, "scope", None)  # HTTP/2 has one for each stream
    if isinstance(connection, trio.CancelScope):
        yield _scope("connection", connection, "cancelled if the client disconnects")
    ends_in_s = race.budget.race_ends_at - trio.current_time()
    timeout_ms, reserve_ms = race.budget.timeout_ms, race.budget.reserve_ms
    yield {
        "name": "race",
        "deadline_in_ms": _ms(ends_in_s),
        "cancelled": ends_in_s <= 0,
        "reason": f"the timeout of {timeout_ms} ms, less a time reserve of {reserve_ms:.1f} ms",
    }


def _settles(exchange: Exchange | None) -> str | None:
    """What cancels the nursery of a race."""
    if exchange is None or exchange.race is None:
        return None
    settled_at = exchange.race.record().settled_at
    if settled_at is None:
        return "cancelled when a call settles the race"
    return f"the race was settled {_ms(settled_at - exchange.arrived_at)} ms after the arrival"


def _scope(name: str, scope: trio.CancelScope, reason: str | None) -> Node:
    in_s = scope.deadline - trio.current_time()
    deadline_in_ms = None if in_s == inf else _ms(in_s)
    return {
        "name": name,
        "deadline_in_ms": deadline_in_ms,
        "cancelled": scope.cancel_called,
        "reason": reason,
    }


def _ended(exchange: Exchange) -> list[Node]:
    if exchange.race is None:
        return []
    ended = [record for record in exchange.race.ledger.ended if record.ended_at is not None]
    return [_ended_call(record, exchange.arrived_at) for record in ended]


def _ended_call(record: CallRecord, arrived_at: float) -> Node:
    outcome, at = record.outcome, record.ended_at
    reason = None
    if isinstance(outcome, Failure):
        reason = outcome.error if outcome.status is None else f"{outcome.error} {outcome.status}"
    elif isinstance(outcome, Cancelled):
        reason = outcome.reason or outcome.source
    after_ms = None if at is None else _ms(at - arrived_at)
    return {
        "task": f"call {record.call}",
        "outcome": word_of(record, None),
        "reason": reason,
        "ended_ms": after_ms,
    }


def _places(task: Task) -> list[str]:
    """What of our code it runs, from the outside to the inside: where it waits is the last."""
    found = []
    for frame, line in task.iter_await_frames():
        code = frame.f_code
        if code.co_filename.startswith(_PACKAGE):
            found.append(f"{code.co_qualname} ({code.co_filename.removeprefix(_PACKAGE)}:{line})")
    return found[-MAX_PLACES:]


def as_text(tree: Node) -> str:
    """A tree as lines, for a terminal."""
    return "\n".join(_lines(tree, "")) + "\n"


def _lines(node: Node, indent: str) -> Iterator[str]:
    if "request" in node:
        about = node["request"]
        yield (
            f"{indent}request {about['request_id']}: within {about['timeout_ms']} ms, "
            f"{about['elapsed_ms']} ms after the arrival"
        )
    where = f"  waits in {node['places'][-1]}" if node["places"] else ""
    yield f"{indent}task {node['task']}{where}"
    for scope in node.get("scopes", ()):
        indent += "  "
        yield f"{indent}{_scope_line(scope)}"
    for nursery in node["nurseries"]:
        yield f"{indent}  {_scope_line(nursery['scope'])}"
        for ended in nursery["ended"]:
            why = f": {ended['reason']}" if ended["reason"] else ""
            end = f"{ended['ended_ms']} ms, {ended['outcome']}{why}"
            yield f"{indent}    {ended['task']} has ended after {end}"
        for child in nursery["tasks"]:
            yield from _lines(child, indent + "    ")
        if nursery["more"]:
            yield f"{indent}    and {nursery['more']} more"


def _scope_line(scope: Node) -> str:
    parts = [scope["name"] if scope["name"] == "nursery" else f"scope of the {scope['name']}"]
    if scope["deadline_in_ms"] is not None:
        parts.append(f"deadline in {scope['deadline_in_ms']} ms")
    if scope["cancelled"]:
        parts.append("cancelled")
    said = ", ".join(parts)
    return said if scope["reason"] is None else f"{said}: {scope['reason']}"


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
