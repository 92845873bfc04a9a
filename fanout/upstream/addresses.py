"""The addresses of one name: in which order to try them, and what attempts to connect say about that.

Rule 1: an address that was waited for, for 250 ms in all, without a word from it, is tried last. In one call
        or in many: calls that end sooner, because their time is up or another call has won, would come to the
        same dead address for ever. Time in which several calls wait for it counts once.
Rule 2: one that fails while another connects is tried last, too. One that connects is forgiven its silence.
Rule 3: "last" is an order and no verdict. No address is left out, when all would be last none is, and every
        look-up begins again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import trio

from fanout.upstream.wire import Address

HEAD_START_S: Final = 0.25  # RFC 8305: how long an address has before the next one is tried beside it
_ROUNDING_S: Final = 1e-6


@dataclass(slots=True, eq=False)
class Attempt:
    """One attempt to connect. Neither `connected` nor `failed`: the address has not said a word."""

    address: Address
    began_at: float
    connected: bool = False
    failed: bool = False


@dataclass(slots=True)
class _Silence:
    """For how long an address was waited for in vain, in all, and until when that was counted."""

    lasted_s: float = 0.0
    counted_until: float = -math.inf


class Addresses:
    """known: all of them, as looked up. passed_over: how often one was put last."""

    def __init__(self) -> None:
        self.known: Sequence[Address] = ()
        self.passed_over = 0
        self._healthy: list[Address] = []
        self._last: list[Address] = []
        self._silences: dict[Address, _Silence] = {}

    @property
    def tried_last(self) -> Sequence[Address]:
        return self._last

    def renew(self, found: Sequence[Address]) -> None:
        """A look-up has found these."""
        self.known = tuple(dict.fromkeys(found))
        self._healthy, self._last = list(self.known), []
        self._silences = {address: _Silence() for address in self.known}

    def in_turn(self) -> Sequence[Address]:
        """Each connection begins with another of the healthy addresses of the preferred family."""
        healthy = self._healthy
        if len(healthy) > 1:
            preferred = healthy[0][0]
            turn = [address for address in healthy if address[0] == preferred]
            others = [address for address in healthy if address[0] != preferred]
            self._healthy = turn[1:] + turn[:1] + others
            # The second attempt is of the other family: a family that does not work costs one delay.
            healthy = [turn[0], *others[:1], *turn[1:], *others[1:]]
        return [*healthy, *self._last]

    def learn(self, attempts: Sequence[Attempt]) -> None:
        """What became of them, in the order of trying, when their call was connected or gave up."""
        winner = next((n for n, attempt in enumerate(attempts) if attempt.connected), None)
        for attempt in attempts[:winner]:
            if attempt.failed:
                had_its_chance = winner is not None  # else none is better
            else:
                had_its_chance = self._add_silence(attempt) >= HEAD_START_S - _ROUNDING_S
            if had_its_chance:
                self._try_last(attempt.address)
        if winner is not None:
            self._forgive(attempts[winner].address)

    def _add_silence(self, silent: Attempt) -> float:
        """How long it has lasted now, in seconds."""
        silence = self._silences.get(silent.address)
        if silence is None:  # the name no longer has it
            return 0.0
        now = trio.current_time()
        silence.lasted_s += now - max(silent.began_at, silence.counted_until)
        silence.counted_until = now
        return silence.lasted_s

    def _forgive(self, address: Address) -> None:
        self._silences[address] = _Silence(counted_until=trio.current_time())

    def _try_last(self, address: Address) -> None:
        self._forgive(address)
        if address in self._healthy:
            self._healthy.remove(address)
            self._last.append(address)
            self.passed_over += 1
            if not self._healthy:
                self._healthy, self._last = self._last, []
