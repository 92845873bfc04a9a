"""`fanout` with nothing observed: the cost of observation is measured from here.

    python benchmarks/bare_server.py serve --upstream URL

No receipts, so no log lines, metrics, counts, spans or rows; and no leak check. There is no setting for this.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from fanout.__main__ import main
from fanout.observe.receipt import Receipt
from fanout.process import observation
from fanout.race.events import Event


class NoReceipts:
    latest: Sequence[Receipt] = ()
    interests: frozenset[type[Event]] = frozenset()

    def __init__(self, consumers: Any) -> None:
        """They are never told anything."""

    def notify(self, event: Event) -> None:
        """Nothing."""


if __name__ == "__main__":
    os.environ.update(FANOUT_LEAK_CHECK="off", FANOUT_LOG_REQUESTS="none")
    with patch.object(observation, "Receipts", NoReceipts):
        main()
