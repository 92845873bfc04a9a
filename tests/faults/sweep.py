"""The sweep: a situation is run undisturbed, which counts its points; then again for each, with a fault
there."""

from __future__ import annotations

import gc
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

import trio

from fanout.testing.points import repeatable
from tests.faults.bench import Bench
from tests.faults.calls import Act, Point
from tests.faults.clock import HandClock
from tests.faults.server import serving
from tests.faults.situations import Situation
from tests.faults.stage import Stage


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at one point.

    do: returns what is raised instead of the call, if anything is. wait_s: how long nobody does anything
    afterwards. ends: after that the server has closed every connection by itself. client_lives: so it gets an
    answer to each request (G1), with a status that the situation has, or one of `allowed`, or the end of its
    connection where `may_end`. is_a_bug: it may be reported as one (G11). may_leak: it strikes clean-up, so
    the server has to live, and no more.
    """

    name: str
    at: int
    do: Callable[[Stage], BaseException | None]
    wait_s: tuple[float, ...] = ()
    ends: bool = False
    client_lives: bool = False
    allowed: frozenset[int] = frozenset()
    may_end: bool = False
    is_a_bug: bool = False
    may_leak: Callable[[Point | None], bool] = lambda _: False


class Seam(Protocol):
    """Numbers points and calls what it was made with at each, while it is entered."""

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None: ...


Faults = Callable[[Situation, list[Point]], Iterable[Fault]]


@dataclass(frozen=True, slots=True)
class Net:
    """What is done, and at which points."""

    faults: Faults
    seam: Callable[[Act], Seam]


@dataclass(slots=True)
class Swept:
    """points: of the undisturbed run. struck: where the last fault came to happen. runs: by fault. wrong:
    which guarantee was broken, and where.
    """

    seam: Callable[[Act], Seam]
    points: list[Point] = field(default_factory=list)
    struck: Point | None = None
    runs: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def sweep(situation: Situation, net: Net, *, share: float = 1.0, seed: int = 0, first: bool = False) -> Swept:
    """Run it with each of its faults, or with a random share of them; `first`: until something is wrong.

    One server is used as long as nothing goes wrong.
    """
    swept = Swept(net.seam)
    pending: deque[Fault | None] = deque([None])
    _serve(situation, pending, swept, seed)
    draw = random.Random(f"{seed} {situation}")
    pending.extend(fault for fault in net.faults(situation, swept.points) if draw.random() < share)
    while pending and not (first and swept.wrong):
        before = len(swept.wrong)
        _serve(situation, pending, swept, seed)
        if len(swept.wrong) > before:
            gc.collect()  # what this server has left is not the next one's
    return swept


def _serve(situation: Situation, pending: deque[Fault | None], swept: Swept, seed: int) -> None:
    """Take from `pending` what one server survives."""
    current: list[Fault | None] = []

    async def main() -> None:
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, HandClock)
        async with serving(clock, tls_upstream=situation.tls_upstream) as server:
            bench = Bench(server)
            try:
                await bench.prepare()
                wrong: list[str] = []
                while pending and not wrong:
                    current[:] = [pending.popleft()]
                    with repeatable(seed):
                        wrong = await _run(bench, situation, current[0], swept)
                    swept.wrong += [_told(situation, current[0], swept, what) for what in wrong]
                    if situation.drains:
                        return
            finally:
                bench.bystander.close()

    try:
        trio.run(main, clock=HandClock())
    except Exception as error:
        while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if not current:
            raise  # it did not even begin
        fault = current[0]
        swept.wrong.append(_told(situation, fault, swept, f"the server has ended: {error!r}"))


def _told(situation: Situation, fault: Fault | None, swept: Swept, what: str) -> str:
    if fault is None:
        return f"{situation}, undisturbed: {what}"
    return f"{situation}, {fault.name} at {fault.at}, {swept.struck}: {what}"


async def _run(bench: Bench, situation: Situation, fault: Fault | None, swept: Swept) -> list[str]:
    """Play it once, and say what was wrong then."""
    stage = Stage(bench.server)
    bench.server.iterations = 0
    has_struck = False

    def act(n: int, point: Point) -> BaseException | None:
        nonlocal has_struck
        if fault is None:
            swept.points.append(point)
        # The order of tasks may differ a little from the undisturbed run's: then the next call of the same
        # name is meant. A fault of another call, such as the event loop's own wait, is another experiment.
        elif not has_struck and n >= fault.at and point.name == swept.points[fault.at - 1].name:
            has_struck = True
            swept.runs[fault.name] += 1
            swept.struck = point
            return fault.do(stage)
        return None

    try:
        await situation.before(stage)
        with swept.seam(act):
            await situation.script(stage)
        await stage.settle()
        for seconds in () if fault is None else fault.wait_s:
            await stage.wait(seconds)
        wrong = list(_wrong_answers(stage, situation, fault))
        for client in stage.helpers:
            client.close()
        await stage.settle()
        if fault is not None and fault.ends and bench.server.leftovers()["open"]:
            wrong.append("it waits for a silent client for good")
        for client in stage.victims:
            client.close()
        await stage.settle()
        if fault is None and situation.end not in bench.server.ended() | {None}:
            wrong.append(f"its end was {bench.server.ended()}")
        return wrong + await bench.check(
            situation,
            may_have_bugs=fault is not None and fault.is_a_bug,
            may_leak=fault is not None and fault.may_leak(swept.struck),
        )
    finally:
        for client in [*stage.victims, *stage.helpers]:
            client.close()


def _wrong_answers(stage: Stage, situation: Situation, fault: Fault | None) -> Iterator[str]:
    """G1, for a client that lives: each request got one answer, whole, or its connection was closed."""
    client = stage.helpers[-1] if situation.side == "upstream" else stage.victims[0]
    got, usual = client.statuses, situation.statuses
    if fault is None:
        if usual and tuple(got) != usual:
            yield f"{got} instead of {usual}"
    elif fault.client_lives and usual:
        may_end = fault.may_end and client.closed_by_server
        whole = got[:-1] if may_end and got[-1:] == [-1] else got
        is_other = any(a != b and a not in fault.allowed for a, b in zip(whole, usual, strict=False))
        if is_other or (len(got) < len(usual) and not may_end):
            yield f"the client got {got} instead of {usual}"
