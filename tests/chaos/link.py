"""A link between two namespaces that loses, delays, reorders and refuses packets as it is told.

Real: the packets, the TCP stacks at both ends and their timers. Ours: what happens in between, because
`tc netem` is a kernel module that many machines do not have, and because a firewall of our own needs
neither nft nor iptables. The link is a TUN device at each end and a task that carries packets from one to
the other.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from typing import Final

import trio

from tests.chaos.packets import Flow, read_segment, reset_for

_LARGEST: Final = 65536
_AT_A_TIME: Final = 64  # packets, before other tasks have a turn


@dataclass(frozen=True, slots=True)
class Conditions:
    """How the link is, in both directions. As it is made here: healthy.

    jitter_ms: each packet's own additional delay, so packets overtake each other. silent: nothing passes
    and nobody is told. resets: a firewall answers every TCP segment with a reset. forgets: a firewall
    silently drops the segments of every connection whose beginning it has not seen, as after its restart
    or after its timeout.
    """

    loss: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    silent: bool = False
    resets: bool = False
    forgets: bool = False

    @property
    def cuts(self) -> bool:
        """Whether a connection may end, or stand still, through no fault of its ends."""
        return self.silent or self.resets or self.forgets


@dataclass(slots=True)
class Counts:
    """Packets, for the report."""

    carried: int = 0
    lost: int = 0
    reset: int = 0


class Link:
    """Owns the two devices' file descriptors. `conditions` may change at any time."""

    def __init__(self, ends: tuple[int, int], random: Random) -> None:
        self.conditions = Conditions()
        self.counts = Counts()
        self._ends = ends
        self._random = random
        self._flows: set[Flow] = set()  # whose beginning was seen

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for source, target in (self._ends, self._ends[::-1]):
                nursery.start_soon(self._carry, source, target)

    def close(self) -> None:
        for end in self._ends:
            os.close(end)

    def forget_flows(self) -> None:
        """What a firewall knows of connections is gone; `forgets` makes that felt."""
        self._flows.clear()

    async def _carry(self, source: int, target: int) -> None:
        waiting: list[tuple[float, int, bytes]] = []
        arrived = trio.Event()

        async def deliver() -> None:
            nonlocal arrived
            while True:
                if not waiting:
                    arrived = trio.Event()
                    await arrived.wait()
                await trio.sleep_until(waiting[0][0])  # an earlier one may come meanwhile: as late as this
                while waiting and waiting[0][0] <= trio.current_time():
                    self._write(target, heappop(waiting)[2])

        number = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(deliver)
            while True:
                await trio.lowlevel.wait_readable(source)
                for packet in _read(source):
                    number += 1
                    if not self._iterations(packet, source):
                        continue
                    delay_ms = self.conditions.delay_ms + self._random.uniform(0, self.conditions.jitter_ms)
                    if delay_ms == 0 and not waiting:
                        self._write(target, packet)
                    else:
                        heappush(waiting, (trio.current_time() + delay_ms / 1000, number, packet))
                        arrived.set()

    def _iterations(self, packet: bytes, source: int) -> bool:
        now = self.conditions
        segment = read_segment(packet)
        if segment is not None and now.resets:
            self.counts.reset += 1
            self._write(source, reset_for(segment))
            return False
        if segment is not None and segment.opens:
            self._flows.add(segment.flow)
        forgotten = now.forgets and segment is not None and segment.flow not in self._flows
        if now.silent or forgotten or self._random.random() < now.loss:
            self.counts.lost += 1
            return False
        return True

    def _write(self, end: int, packet: bytes) -> None:
        if not self.conditions.silent:
            with suppress(OSError):  # a full queue or a device that is going down: the packet is lost
                os.write(end, packet)
                self.counts.carried += 1


def _read(end: int) -> list[bytes]:
    packets: list[bytes] = []
    with suppress(BlockingIOError):
        while len(packets) < _AT_A_TIME:
            packets.append(os.read(end, _LARGEST))
    return packets
