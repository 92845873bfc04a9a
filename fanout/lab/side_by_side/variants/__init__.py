"""The same two functions, once per library, as its own documentation recommends.

Each module has `first(calls, timeout)`, which returns the first success and wants nothing more of the other
calls, and `all_(calls, timeout)`, which returns every success in call order. What all of them are given:

calls: functions without arguments. Each call returns its payload or raises `ConnectionError` if the upstream
    failed; anything else that it raises is a bug.
timeout: seconds from now.

Both raise `TimeoutError` when the time is over, and `ConnectionError` if no call succeeded. The lines are
meant to be read, and run as they stand: nothing of the lab is in them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal

Call = Callable[[], Awaitable[Any]]
Fanout = Callable[[Sequence[Call], float], Awaitable[Any]]
"""The signature of both functions, and of what `fanout lab --try` runs."""

Runtime = Literal["asyncio", "trio", "threads", "trio_asyncio"]
"""The kind of its calls: coroutine functions of asyncio or of Trio, or plain functions that block (threads).
trio_asyncio: of asyncio, run by Trio's loop, which needs an extra."""

ENDPOINTS: Final = {"first": "first", "all": "all_"}  # of a row: the function of a variant


@dataclass(frozen=True, slots=True)
class Variant:
    """name: of its module. title: its name for readers. why: whose recommendation it is.

    needs: a module that an extra brings, without which it is not measured.
    """

    name: str
    title: str
    runtime: Runtime
    why: str
    needs: str = ""

    @property
    def lacks(self) -> str:
        """What it needs and this installation has not; empty if nothing."""
        if self.runtime == "trio_asyncio" and sys.version_info >= (3, 14):
            return "Python below 3.14"  # it can be installed, and not imported
        return self.needs if self.needs and find_spec(self.needs) is None else ""

    @property
    def module(self) -> ModuleType:
        """Imported when asked for: asyncio's process never imports Trio, nor the other way round."""
        return importlib.import_module(f"{__name__}.{self.name}")

    def function(self, endpoint: str) -> Any:
        return getattr(self.module, ENDPOINTS[endpoint])

    @property
    def path(self) -> Path:
        return Path(__file__).with_name(f"{self.name}.py")

    @property
    def source(self) -> str:
        """Read, not imported."""
        return self.path.read_text()


VARIANTS: Final = (
    Variant("taskgroup", "TaskGroup + timeout", "asyncio", "asyncio's documentation, its best practice"),
    Variant("wait_cancel_await", "wait, cancel, await", "asyncio", "the same, before there were task groups"),
    Variant("gather", "gather", "asyncio", "asyncio's documentation, to run calls at the same time"),
    Variant("gather_exceptions", "gather, exceptions", "asyncio", "the same with return_exceptions=True"),
    Variant("wait", "wait", "asyncio", "asyncio's documentation of asyncio.wait"),
    Variant("wait_cancel", "wait, cancel", "asyncio", "the same, and the rest is cancelled"),
    Variant("as_completed", "as_completed", "asyncio", "asyncio's documentation of asyncio.as_completed"),
    Variant("anyio_group", "anyio task group", "asyncio", "anyio's documentation of cancel scopes", "anyio"),
    Variant("threads", "threads", "threads", "the documentation of concurrent.futures"),
    Variant("trio_nursery", "Trio nursery", "trio", "Trio's documentation of nurseries and cancel scopes"),
    Variant("ours", "fanout", "trio", "this server: its handlers' own run_race"),
    Variant(
        "bridge",
        "bridge",
        "trio_asyncio",
        "this server, its calls made by an asyncio library",
        "trio_asyncio",
    ),
)
BY_NAME: Final = {variant.name: variant for variant in VARIANTS}
