"""What a peer can do at any moment: reset its connection, close it, or do nothing any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from tests.faults.calls import Calls, Point
from tests.faults.peers import Peer
from tests.faults.situations import Situation
from tests.faults.stage import Stage
from tests.faults.sweep import Fault, Net

# The longest that a silent peer may be waited for: handshake, head, race, idle, one after the other.
PATIENCE_S: Final = (0.5, 1.0, 10.0, 10.0, 30.0, 75.0)
STRIKES: Final[dict[str, Callable[[Peer], None]]] = {
    "reset": Peer.reset,
    "close": Peer.close,
    "silence": Peer.fall_silent,
}


def resets(situation: Situation, points: list[Point]) -> Iterator[Fault]:
    """Each of these, at each point, by the victims of the situation."""
    for at in range(1, len(points) + 1):
        for name in STRIKES:
            yield _strike(situation, name, at)


def _strike(situation: Situation, name: str, at: int) -> Fault:
    is_upstream = situation.side == "upstream"

    def do(stage: Stage) -> None:
        victims: Sequence[Peer] = stage.victims
        if is_upstream:
            stage.server.upstream.accept()
            victims = stage.server.upstream.peers
        for victim in victims:
            STRIKES[name](victim)

    return Fault(
        name,
        at,
        do,
        wait_s=PATIENCE_S if name == "silence" else (),
        ends=name == "silence",
        client_lives=is_upstream,
        allowed=frozenset({500}),
    )


RESETS: Final = Net(resets, Calls)
